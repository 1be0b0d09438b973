"""File events by the hundred in a folder of recipes: saves of every kind, and as much noise."""

from __future__ import annotations

import json
import random
import time

from tests.support.daemon import RunningDaemon
from tests.support.line import Line

EVENTS = 500


class Storm:
    """Saves recipes of `line` again and again. `final` has the number that each ends with, 0 for
    those that end as they began; `quiet` are saved too, and never mean anything else."""

    def __init__(self, line: Line, names: list[str], quiet: list[str], seed: int = 1) -> None:
        self.line = line
        self.final = dict.fromkeys(names, 0)
        self.quiet = quiet
        self._random = random.Random(seed)
        self._texts = {name: line.recipe(name).read_text() for name in [*names, *quiet]}

    def blow(self, seconds: float) -> float:
        """Make the events, evenly over so many seconds; how many it took. Every other one is
        noise. The first half of the recipes end changed, the others as they were."""
        began = time.monotonic()
        for number in range(EVENTS):
            if number % 2:
                self._make_noise(number)
            elif number % 10 == 0:
                name = self._random.choice(self.quiet)
                self._save(name, self._texts[name] + "\n" * (number % 7) + f"# {number}\n")
            else:
                self._edit(self._random.choice(list(self.final)), number)
            time.sleep(max(0.0, began + (number + 1) * seconds / EVENTS - time.monotonic()))
        for number, name in enumerate(self.final):
            self._edit(name, 0 if number % 2 else 10_000 + number)
        return time.monotonic() - began

    def _edit(self, name: str, number: int) -> None:
        self.final[name] = number
        text = self._texts[name]
        if number:
            text = text.replace("\n[image]\n", f'\n[image]\nenv = {{ NUMBER = "{number}" }}\n')
        self._save(name, text)

    def _save(self, name: str, text: str) -> None:
        """As editors and other programs do: in place, in halves, by a rename, or anew."""
        path = self.line.recipe(name)
        how = self._random.randrange(4)
        if how == 0:
            path.write_text(text)
        elif how == 1:
            with path.open("w") as file:
                file.write(text[: len(text) // 2])
                file.flush()
                file.write(text[len(text) // 2 :])
        elif how == 2:
            other = path.with_name(f".{path.name}.new")
            other.write_text(text)
            other.replace(path)
        else:
            path.replace(path.with_name(f"{path.name}~"))
            path.write_text(text)

    def _make_noise(self, number: int) -> None:
        """Swap, lock and backup files, an editor's trial, a note, an empty folder."""
        folder = self.line.folder / "recipes"
        name = self._random.choice(list(self._texts))
        path = folder / self._random.choice(
            [f".{name}.toml.swp", f"{name}.toml~", "4913", f".#{name}.toml", f"#{name}.toml#", "N"]
        )
        path.write_text(str(number))
        if number % 4 == 1:
            path.unlink()

    # what came of it

    def faults(self, daemon: RunningDaemon, first_run: int) -> list[str]:
        """What is not as it should be, once all is over: `first_run` is the first id after the
        storm began."""
        rows = [row for row in daemon.rows() if row.id >= first_run]
        found = [f"{row.recipe}: a run" for row in rows if row.recipe in self.quiet]
        found += [f"{row.recipe}: {row.error}" for row in rows if row.status not in _GOOD]
        found += [f"{name}: not built as it is" for name in self.unbuilt()]
        for name in self.final:
            own = [row for row in rows if row.recipe == name and row.status == "ok"]
            if own and sum(row.key == own[-1].key for row in own) != 1:
                found.append(f"{name}: built more than once as it is")
        return found

    def unbuilt(self) -> list[str]:
        """The recipes whose tag leads to another state than the last."""
        tags = self.line.tags()
        return [
            name
            for name, number in self.final.items()
            if self._built(tags[f"{name}:latest"]) != number
        ]

    def _built(self, manifest: str) -> int:
        config = json.loads(self.line.blob(manifest))["config"]["digest"]
        environ = json.loads(self.line.blob(config))["config"].get("Env", [])
        numbers = [int(text.partition("=")[2]) for text in environ if text.startswith("NUMBER=")]
        return numbers[0] if numbers else 0


# Skipped: it waited while its file was away.
_GOOD = ("ok", "unchanged", "skipped")
