"""How fast an edit becomes an image: whole processes of minid, beside BuildKit with a warm cache.

    python benchmarks/incremental.py FOLDER [--runs 7] [--json]

FOLDER becomes a working folder and is kept: the first time busybox and nginx are compiled in it,
from wherever MINID_MIRRORS or the network gives their archives. minid's figures include the smoke
tests of what was edited; BuildKit's are the edit alone, on an image that has nginx already.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from common import (
    PREFIX,
    describe_machine,
    docker_build,
    find_buildkit,
    minid,
    prepare_folder,
    remove_images,
    replace_line,
    set_docker,
    show,
)

PAGE = 'files = [{ path = "/var/www/html/index.html", content = "<h1>hello nginx</h1>\\n" }]'
EDITS: dict[str, Callable[[str, str], str]] = {
    "nothing changed": lambda text, _: text,
    "a file of [rootfs] changed": lambda text, stamp: replace_line(
        text, "files", PAGE.replace("</h1>", f"</h1> {stamp}")
    ),
    "[image] comment changed": lambda text, stamp: replace_line(
        text, "comment", f'comment = "nginx {stamp}"'
    ),
    "[image] cmd changed": lambda text, stamp: replace_line(
        text, "cmd", f'cmd = ["nginx", "-g", "env STAMP={stamp};"]'
    ),
}


def measure_minid(folder: Path, rows: dict[str, list[float]], label: str) -> None:
    """Make each edit once, and measure the build that follows it."""
    recipe = folder / "recipes" / "nginx.toml"
    for name, edit in EDITS.items():
        recipe.write_text(edit(recipe.read_text(), str(time.time_ns())))
        rows.setdefault(f"minid{label}, {name}", []).append(minid(folder, "build", "nginx")[0])


def measure_buildkit(docker: str, context: Path, rows: dict[str, list[float]]) -> None:
    """The same edits in a Dockerfile on the finished image."""
    tag = f"{PREFIX}-edited:latest"
    begin = f"FROM {PREFIX}-nginx:latest\n"
    stamp = str(time.time_ns())
    (context / "Dockerfile").write_text(begin + "COPY index.html /var/www/html/\n")
    docker_build(docker, context, tag)
    (context / "index.html").write_text(f"<h1>hello nginx</h1> {stamp}\n")
    rows.setdefault("BuildKit, a file of COPY changed", []).append(
        docker_build(docker, context, tag)
    )
    (context / "Dockerfile").write_text(
        f'{begin}COPY index.html /var/www/html/\nCMD ["nginx", "-g", "env STAMP={stamp};"]\n'
    )
    rows.setdefault("BuildKit, CMD changed", []).append(docker_build(docker, context, tag))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = options.folder.resolve()
    machine = describe_machine()
    docker = find_buildkit()
    rows: dict[str, list[float]] = {}
    prepare_folder(folder, docker=docker is not None)
    minid(folder, "build", "nginx")
    context = folder / "context"
    context.mkdir(exist_ok=True)
    (context / "index.html").write_text("<h1>hello nginx</h1>\n")
    # Each round has every row once, so that a noisy moment falls on all of them alike.
    for _ in range(options.runs):
        set_docker(folder, docker=False)
        measure_minid(folder, rows, "")
        if docker is not None:
            set_docker(folder, docker=True)
            minid(folder, "build", "nginx")
            measure_minid(folder, rows, " and Docker")
            measure_buildkit(docker, context, rows)
    if docker is not None:
        remove_images(docker)
    show(machine, rows, as_json=options.json)


if __name__ == "__main__":
    main()
