"""A new release of the base of ten images: what is compiled, and what is made anew.

    python benchmarks/service_base.py [--images 10]

The base stands for busybox: a small static program that this machine's compiler makes in a second.
The program ends with status 1 where more than the base is compiled, or an image is not made,
checked and tagged anew.
"""

from __future__ import annotations

import argparse
import sys
import time

from common import describe_machine
from service_common import wait_until

from tests.support.base_change import BaseChange
from tests.support.daemon import daemon_of
from tests.support.line import Line, line_folder


def main() -> None:
    """Build all, move the base, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=10)
    options = parser.parse_args()
    print(describe_machine())
    with line_folder() as folder:
        change = BaseChange(Line(folder), options.images)
        with daemon_of(change.line) as daemon:
            wait_until(daemon.over, 300, every_s=0.1)
            before = change.begin()
            began = time.perf_counter()
            change.release()
            wait_until(lambda: change.moved(before), 300, every_s=0.02)
            wait_until(daemon.over, 60, every_s=0.02)
            seconds = time.perf_counter() - began
        counts = change.counts(before)
    print(f"new release of the base → all {options.images} images tagged: {seconds:.1f} s")
    for what, number in counts.items():
        print(f"{what:32} {number:6}")
    if counts != change.expected():
        sys.exit(f"expected {change.expected()}")


if __name__ == "__main__":
    main()
