"""How long an edit of an image's command takes, beside a build of a one-line Dockerfile.

Whole processes: `minid set` into the store alone, `minid set` with Docker as a target, and
`docker build` of FROM and CMD, in turn. Give a working folder in which the image is built.

    python benchmarks/set_image.py FOLDER nginx:1.26.3 [ROUNDS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def minid(folder: Path, config: Path, *words: str) -> None:
    program = "import sys; from minid.cli.main import main; sys.exit(main())"
    argv = [sys.executable, "-c", program, "-C", str(config), *words]
    subprocess.run(argv, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def configured(folder: Path, docker: str, into: Path) -> Path:
    """A configuration of the folder with Docker on or off."""
    paths = f'[paths]\nrecipes = "{folder / "recipes"}"\nstate = "{folder / "var"}"\n'
    into.write_text(f'{paths}[publish]\ndocker = "{docker}"\n')
    return into


def timed(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    folder, name = Path(sys.argv[1]).absolute(), sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 15
    with tempfile.TemporaryDirectory() as place:
        off, on = (configured(folder, word, Path(place) / f"{word}.toml") for word in ("off", "on"))
        took: dict[str, list[float]] = {"store alone": [], "with Docker": [], "docker build": []}
        for number in range(rounds):
            words = ("set", name, "--cmd", "nginx", "--comment")
            took["store alone"].append(timed(lambda: minid(folder, off, *words, f"a {number}")))  # noqa: B023
            took["with Docker"].append(timed(lambda: minid(folder, on, *words, f"b {number}")))  # noqa: B023
            text = f'FROM {name}\nCMD ["nginx", "{number}"]\n'
            took["docker build"].append(timed(lambda: build(text)))  # noqa: B023
        subprocess.run(
            ["docker", "rmi", "-f", "minid-bench-set"], check=True, stdout=subprocess.DEVNULL
        )
    base = statistics.median(took["docker build"])
    for label, values in took.items():
        middle = statistics.median(values)
        print(f"{label:14} {middle:6.3f} s (max {max(values):.3f}), {middle / base:.2f} of a build")


def build(text: str) -> None:
    argv = ["docker", "build", "-q", "-t", "minid-bench-set", "-"]
    subprocess.run(argv, input=text.encode(), check=True, capture_output=True)


if __name__ == "__main__":
    main()
