"""Rounds of builds, collections and kills on one working folder, and what must hold after each."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from minid.cli.main import main
from minid.config import Config
from minid.config_reader import load_config
from minid.line.workshop import open_guest
from minid.recipe_reader import load_recipes
from minid.store.collect import find_dead
from minid.store.lock import lock_holder
from minid.store.reach import find_reached
from minid.store.records import Records
from minid.workbench.collecting import collect, retention_of
from minid.workbench.proof import Finding
from minid.workbench.verifying import open_case, verify
from tests.support.line import Line, line_folder

# An edit says this where a build moved the tag meanwhile.
_MOVED = 26
# What a kill may leave for the next writer.
PASSING = {"database", "quiescence", "tags"}
MAKEFILE = "all:\ninstall:\n\tmkdir -p $(DESTDIR)/data\n\tcp text $(DESTDIR)/data/text\n"
TABLES = """
[rootfs]
base = "{base}"
files = [{{ path = "/etc/note", content = "{note}" }}]

[image]
comment = "{note}"
tags = ["latest"]
"""
CONFIG = """\
mirrors = ["file:archives"]

[fetch]
distro = false

[publish]
docker = "off"

[keep]
images = 1
age = 0
logs = 0
"""


def prepare(line: Line) -> None:
    """Two recipes, the second on the first, that are built by copying a file."""
    (line.folder / "config.toml").write_text(CONFIG)
    for name in ("under", "over"):
        write_recipe(line, name, 0, "first")


def write_recipe(line: Line, name: str, content: int, note: str) -> None:
    """A recipe of that content; the note shapes its image alone."""
    base = "scratch" if name == "under" else "under"
    files = {"Makefile": MAKEFILE, "text": f"{name} {content}\n" * 200}
    tables = TABLES.format(base=base, note=note)
    line.add_recipe(name, files, tables, version=f"1.{content}")


@dataclass
class Rounds:
    """What happened so far, and what went wrong."""

    line: Line
    chance: random.Random
    builds: int = 0
    collections: int = 0
    kills: int = 0
    freed: int = 0
    lost: list[Finding] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    longest_hold_s: float = 0.0
    span_s: float = 0.12

    @property
    def config(self) -> Config:
        return load_config(self.line.folder / "config.toml", {}, start=self.line.folder)

    def run(self, number: int) -> None:
        """One round: an edit, then builds and collections side by side, some of them killed."""
        chance = self.chance
        name = chance.choice(("under", "over"))
        write_recipe(self.line, name, chance.randrange(3), f"note {number}")
        words: list[tuple[str, ...]] = [("gc",)] * chance.choice((1, 1, 2))
        if number % 4 == 0:
            words.append(("set", "over:latest", "--comment", f"by hand {number}"))
        children = {self._start("build", "-q"): "build"}
        for item in words:
            time.sleep(chance.uniform(0, self.span_s / 2))
            children[self._start(*item)] = item[0]
        self.builds += 1
        self.collections += sum(word == "gc" for word in children.values())
        self._end(children)
        found = len(self.left)
        before = lock_holder(self.config.paths.state / "lock")
        self._judge()
        # Timing decides: what was there is not seen a second time.
        told = f"round {number}, killed {self.killed}, lock of {before or 'nobody'}"
        self.left[found:] = [f"{told}: {text}" for text in self.left[found:]]

    def _start(self, *words: str) -> int:
        """A process of its own that runs `minid WORDS`; forked, as starting Python takes longer
        than all it does here."""
        pid = os.fork()
        if pid:
            return pid
        status = 99
        try:
            quiet = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(quiet, descriptor)
            status = main(["-C", str(self.line.folder / "config.toml"), *words])
        finally:
            os._exit(status)

    def _end(self, children: Mapping[int, str]) -> None:
        self.killed = []
        doomed = [pid for pid in children if self.chance.random() < 0.5]
        self.chance.shuffle(doomed)
        for pid in doomed:
            time.sleep(self.chance.uniform(0, self.span_s))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid, word in children.items():
            _, status = os.waitpid(pid, 0)
            if os.WIFSIGNALED(status):
                self.kills += 1
                self.killed.append(f"{word} {pid}")
            elif os.WEXITSTATUS(status) and (word != "set" or os.WEXITSTATUS(status) != _MOVED):
                self.left.append(f"{word} ended with status {os.WEXITSTATUS(status)}")

    def _judge(self) -> None:
        """Nothing that a record names is lost; one collection frees all that is dead."""
        config = self.config
        self.lost += [item for item in self.prove() if item.invariant not in PASSING]
        recipes, _ = load_recipes(config.paths.recipes)
        with open_guest(config, recipes) as shop:
            done = collect(shop, complete=True)
            self.freed += done.blobs
            self.longest_hold_s = max(self.longest_hold_s, done.longest_hold_s)
            reached = find_reached(shop.records.database, retention_of(shop, complete=True))
            dead = find_dead(shop.records.database, shop.blobs, reached, shop.clock())
            self.left += [f"dead after a collection: {digest}" for digest, _ in dead.blobs]
            self.left += [f"dead after a collection: {row}" for row in dead.results]
        self.left += [str(item) for item in self.prove()]

    def prove(self) -> list[Finding]:
        """All that is wrong with the store."""
        config = self.config
        records = Records(config.paths.records, writable=False)
        try:
            recipes, _ = load_recipes(config.paths.recipes)
            return verify(lambda: open_case(config, records, recipes, contents=True))
        finally:
            records.close()


def play(seed: int, count: int) -> Rounds:
    """So many rounds in a folder of their own; at the end all is built and sound."""
    with line_folder() as folder:
        line = Line(folder)
        prepare(line)
        line.build()
        rounds = Rounds(line, random.Random(seed))
        for number in range(count):
            rounds.run(number)
        line.build()
        rounds.left += [str(item) for item in rounds.prove()]
        ended = {item["status"] for item in line.build().values()}
        rounds.left += [f"built again for nothing: {status}" for status in ended - {"unchanged"}]
        return rounds
