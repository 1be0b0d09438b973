"""How fast closures are: 300 programs of this machine, beside `ldd` and auditwheel's lddtree.

    python benchmarks/closure.py [--programs 300] [--json]

One process for minid, its start included; one `ldd` for each program, which is how it is used.
Everything runs twice and the second, warm run counts, so that disks do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

MINID = """
import sys
from pathlib import Path
from minid.formats.elf_closure import resolve_closure, check_versions
from minid.host.view import DirectoryView
view = DirectoryView(Path("/"), ("usr", "lib", "lib64", "bin", "sbin", "etc"))
closure = resolve_closure([line.strip("/\\n") for line in sys.stdin], view)
check_versions(closure)
print(len(closure.objects))
"""
LDDTREE = """
import sys
from pathlib import Path
from auditwheel.lddtree import ldd, load_ld_paths
from auditwheel.libc import Libc
paths = load_ld_paths(Libc.GLIBC)
found = set()
for line in sys.stdin:
    found |= set(ldd(Path(line.strip()), ldpaths=paths).libraries)
print(len(found))
"""


def find_programs(limit: int) -> list[str]:
    """The first programs of /usr/bin that name a loader, in the order of their names."""
    from minid.formats.elf import ElfDamaged, parse_elf

    found: list[str] = []
    for path in sorted(Path("/usr/bin").iterdir()):
        if len(found) == limit or path.is_symlink() or not path.is_file():
            continue
        try:
            elf = parse_elf(path.read_bytes())
        except (ElfDamaged, OSError):
            continue
        if elf is not None and elf.interpreter:
            found.append(str(path))
    return found


def time_python(script: str, programs: list[str]) -> tuple[float, int]:
    """Seconds of one interpreter that gets the programs as lines, and the number it prints."""
    text = "".join(f"{path}\n" for path in programs)
    began = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", script], input=text, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - began, int(run.stdout)


def time_ldd(programs: list[str]) -> tuple[float, int]:
    """Seconds of one ldd for each program, and the number of libraries that they named."""
    found: set[str] = set()
    began = time.perf_counter()
    for path in programs:
        run = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        found.update(line.split()[2] for line in run.stdout.splitlines() if "=> /" in line)
    return time.perf_counter() - began, len(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    programs = find_programs(options.programs)
    rows: dict[str, tuple[float, int]] = {}
    for _ in range(2):
        rows["minid, one process"] = time_python(MINID, programs)
        if importlib.util.find_spec("auditwheel"):
            rows["auditwheel lddtree, one process"] = time_python(LDDTREE, programs)
        if shutil.which("ldd"):
            rows["ldd, one process each"] = time_ldd(programs)
    own = rows["minid, one process"][0]
    if options.json:
        table = {
            name: {"seconds": round(seconds, 3), "objects": count, "ratio": round(seconds / own, 2)}
            for name, (seconds, count) in rows.items()
        }
        print(json.dumps({"programs": len(programs), "rows": table}))
        return
    print(f"{len(programs)} programs of /usr/bin")
    for name, (seconds, count) in rows.items():
        print(f"{name:34} {seconds:8.2f} s  {seconds / own:7.1f} x  {count:5} objects")


if __name__ == "__main__":
    main()
