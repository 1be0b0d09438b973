"""Five hundred file events in two seconds, half of them noise: what the service builds of it.

    python benchmarks/service_storm.py [--recipes 10] [--seconds 2] [--seed 1]

Of the recipes half end changed, half as they were; as many others are only saved with another
comment. The program ends with status 1 where a recipe's last state is not what is built, or is
built more than once, or where a comment had something built.
"""

from __future__ import annotations

import argparse
import sys
import time

from common import describe_machine
from service_common import wait_until

from tests.support.daemon import add_ground, add_tools, daemon_of, set_daemon_options
from tests.support.line import Line, line_folder
from tests.support.storm import EVENTS, Storm


def main() -> None:
    """Blow, wait, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--recipes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(describe_machine())
    with line_folder() as folder:
        line = Line(folder)
        line.write_config()
        set_daemon_options(line, ['min_free = "1 kB"'])
        add_ground(line)
        add_tools(line, 2 * options.recipes)
        names = [f"tool{number}" for number in range(2 * options.recipes)]
        with daemon_of(line) as daemon:
            wait_until(daemon.over, 300, every_s=0.1)
            storm = Storm(line, names[::2], names[1::2], options.seed)
            first = len(daemon.rows()) + 1
            took = storm.blow(options.seconds)
            ended = time.perf_counter()
            wait_until(daemon.answers, 60)
            time.sleep(1)
            wait_until(daemon.over, 300, every_s=0.02)
            settled = time.perf_counter() - ended
            rows = daemon.rows()[first - 1 :]
            faults = storm.faults(daemon, first)
    print(f"{EVENTS} events in {took:.2f} s, all built {settled:.1f} s after the last")
    print(f"runs {len(rows)}, of them ok {sum(row.status == 'ok' for row in rows)}")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
