"""Killing the service at random moments while five recipes build, again and again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.daemon import (
    RunningDaemon,
    add_tools,
    left_over,
    open_records,
    set_daemon_options,
    store_faults,
    traces,
)
from tests.support.line import Line, new_line, wait_for

# Between a kill and its effect on the last grandchild.
GONE_S = 5.0


@contextmanager
def five_recipes() -> Iterator[Line]:
    """A folder with a base, a library, and three that stand on them."""
    with new_line() as line:
        add_tools(line, 2, compile_s=0.3)
        set_daemon_options(line, ['min_free = "1 kB"'])
        yield line


class Killer:
    """Kills a service of `line`, and looks at what is left. `hits` counts what it hit."""

    def __init__(self, line: Line, seed: int) -> None:
        self.line = line
        self.daemon = RunningDaemon(line)
        self.hits: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._edits = 0

    def kill(self, longest_s: float) -> None:
        """Start, kill within `longest_s` of the start of a run, or one time in four of the start
        of the service, and see that nothing lives on."""
        for _ in range(self._random.randint(1, 3)):
            self._edit_one()
        self.daemon.start()
        if self._random.random() > 0.25:
            wait_for(lambda: not self.daemon.alive or self._runs(), 60)
        time.sleep(self._random.uniform(0.0, longest_s))
        assert self.daemon.alive, self.daemon.log.read_text()[-5000:]
        self.daemon.kill()
        wait_for(lambda: not traces(self.line), GONE_S)
        self._note()

    def finish(self) -> None:
        """Let a last service come to its end, and see that all is well and nothing left."""
        self.daemon.start_ready()
        wait_for(self.daemon.over, 120)
        assert self.daemon.stop() == 0
        last = {row.recipe: row for row in self.daemon.rows()}
        assert {name: row.status for name, row in last.items()} == dict.fromkeys(
            ("ground", "words", "hello", "tool0", "tool1"), "ok"
        ), [(row.id, row.recipe, row.status, row.error) for row in last.values()]
        assert not store_faults(self.line)
        assert not left_over(self.line)
        assert not traces(self.line)
        built = self.line.build()
        assert {item["status"] for item in built.values()} == {"unchanged"}

    def _edit_one(self) -> None:
        """A recipe that has been built is to be built again, so that there is work."""
        self._edits += 1
        name = self._random.choice(["ground", "tool0", "tool1", "hello"])
        text = self.line.recipe(name).read_text()
        head, _, rest = text.partition("steps = [")
        step = f'steps = ["echo {self._edits}", "make'
        self.line.recipe(name).write_text(head + step + rest[rest.index("make") + 4 :])

    def _note(self) -> None:
        hit = [row for row in self.daemon.rows() if row.status == "running"]
        self.hits[f"{len(hit)} running"] += 1

    def _runs(self) -> bool:
        """Whether a run has begun in this life of the service."""
        assert self.daemon.process is not None
        if not self.daemon.answers():
            return False
        with open_records(self.line) as records:
            return records.has_running()
