"""What the benchmarks share: a working folder of their own, processes with their time, figures."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# Names that no other image has: what a benchmark loads into the engine must not move anybody's tag.
PREFIX = "minid-benchmark"
LABEL = "minid.benchmark"


def minid(folder: Path, *words: str) -> tuple[float, str]:
    """Seconds of one `minid` process in the working folder, and what it printed."""
    program = Path(sys.executable).parent / "minid"
    return timed([str(program), *words], cwd=folder)


def timed(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[float, str]:
    """Seconds of one process, and what it printed. Ends the benchmark where it fails."""
    began = time.perf_counter()
    ran = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if ran.returncode:
        sys.exit(f"{' '.join(argv)}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return seconds, ran.stdout


def prepare_folder(folder: Path, *, docker: bool) -> None:
    """A working folder with the project's busybox and nginx, under tags of the benchmarks' own."""
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    for name in ("busybox", "nginx"):
        text = (REPOSITORY / "recipes" / f"{name}.toml").read_text()
        tags = f'tags = ["{PREFIX}-{name}:{{version}}", "{PREFIX}-{name}:latest"]'
        labels = f'labels = {{ "{LABEL}" = "yes" }}'
        text = replace_line(text, "tags", f"{tags}\n{labels}")
        write_text(folder / "recipes" / f"{name}.toml", text)
    set_docker(folder, docker=docker)


def set_docker(folder: Path, *, docker: bool) -> None:
    """Whether publishing includes Docker Engine."""
    write_text(folder / "config.toml", f'[publish]\ndocker = "{"on" if docker else "off"}"\n')


def replace_line(text: str, key: str, line: str) -> str:
    """`text` with its one line that sets `key` replaced."""
    found, count = re.subn(rf"^{key} = .*$", lambda _: line, text, flags=re.MULTILINE)
    if count != 1:
        sys.exit(f"recipe: expected one line that sets {key}, got {count}")
    return found


def write_text(path: Path, text: str) -> None:
    """Write only what differs, so that a second benchmark finds everything as it was."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def find_buildkit() -> str | None:
    """A docker client that can build with BuildKit; newer ones cannot without their plug-in."""
    for candidate in ("/usr/bin/docker", shutil.which("docker") or ""):
        if candidate and Path(candidate).exists():
            tried = subprocess.run(
                [candidate, "build", "-q", "-"],
                input="FROM scratch\nLABEL is=a-try\n",
                env={**os.environ, "DOCKER_BUILDKIT": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            if tried.returncode == 0:
                return candidate
    return None


def docker_build(docker: str, context: Path, tag: str, *options: str) -> float:
    """Seconds of one build with BuildKit."""
    argv = [docker, "build", "--quiet", "--tag", tag, *options, str(context)]
    return timed(argv, environ={"DOCKER_BUILDKIT": "1"})[0]


def remove_images(docker: str) -> None:
    """Remove what the benchmarks left in the engine: by name, and by label what lost its name."""
    for filtered in (f"reference={PREFIX}*", f"label={LABEL}"):
        found = timed([docker, "images", "--quiet", "--filter", filtered])[1].split()
        if found:
            subprocess.run(
                [docker, "rmi", "--force", *dict.fromkeys(found)], capture_output=True, check=False
            )


def describe_machine() -> str:
    """The machine, without its name."""
    release = {}
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        release[key] = value.strip('"')
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {release.get('PRETTY_NAME', 'Linux')}, load {load:.1f} at the start"


def show_figures(machine: str, figures: Mapping[str, float], *, as_json: bool) -> None:
    """Print figures of different kinds, each under its name, which has the unit."""
    if as_json:
        print(json.dumps({"machine": machine, **figures}))
        return
    print(machine)
    for key, value in figures.items():
        print(f"{key:28} {value:10.3f}" if isinstance(value, float) else f"{key:28} {value:6}")


def show(
    machine: str, rows: Mapping[str, Sequence[float]], *, as_json: bool, **more: object
) -> None:
    """Print the median, the least and the number of seconds of each row."""
    if as_json:
        table = {
            name: {
                "median": round(statistics.median(seconds), 3),
                "least": round(min(seconds), 3),
                "seconds": [round(value, 3) for value in seconds],
            }
            for name, seconds in rows.items()
        }
        print(json.dumps({"machine": machine, "rows": table, **more}, indent=2))
        return
    print(machine)
    for name, seconds in rows.items():
        print(
            f"{name:48} {statistics.median(seconds):8.3f} s  least {min(seconds):8.3f} s  "
            f"of {len(seconds)}"
        )
    for key, value in more.items():
        print(f"{key.replace('_', ' ')}: {value}")
