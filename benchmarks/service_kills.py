"""The service killed at random moments while five recipes build: what is left, and what is built.

    python benchmarks/service_kills.py [--kills 50] [--longest 1.5] [--seed 1]

Each life of the service is ended with SIGKILL within `--longest` seconds of the start of a run,
or one time in four of the service's own start. Recipes are edited before each, so that there is
always work. The program ends at the first thing
that is not as it should be: a process or mount that lives on, and at the end a recipe that is not
built, a blob that is not what its name says, a tag that leads nowhere, a file that was left.
"""

from __future__ import annotations

import argparse
import sys
import time

from common import REPOSITORY, describe_machine

sys.path.insert(0, str(REPOSITORY))  # the tests' recipes, which take a second to build

from tests.support.kills import Killer, five_recipes


def main() -> None:
    """Kill, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=1.5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(describe_machine())
    began = time.monotonic()
    with five_recipes() as line:
        killer = Killer(line, options.seed)
        try:
            for _ in range(options.kills):
                killer.kill(options.longest)
            killer.finish()
        finally:
            killer.daemon.remove()
        rows = killer.daemon.rows()
    for what, times in sorted(killer.hits.items()):
        print(f"kills with {what:30} {times:6}")
    for status in ("interrupted", "ok", "failed", "infra"):
        print(f"runs that ended {status:25} {sum(row.status == status for row in rows):6}")
    print(f"seconds in all {time.monotonic() - began:26.0f}")


if __name__ == "__main__":
    main()
