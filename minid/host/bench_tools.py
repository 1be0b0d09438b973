"""Programs of elsewhere at hand in a workbench: strace, gdb and others, with their own libraries.

Each is a small script that starts the program with the loader and the libraries of the root that it
comes from, whatever the workbench has of these. The scripts need a shell: a static busybox comes
along where the machine or the environment has one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minid.errors import HostError
from minid.formats.elf import ElfDamaged, parse_elf
from minid.host.view import HostFile

TOOLS = "/dev/minid/tools"  # in the container: /dev is its own, so that nothing of it is a change

_NAMES = (
    *("strace", "ltrace", "gdb", "file", "readelf", "objdump", "nm", "strings", "lsof", "ss"),
    *("ip", "ps", "top", "pstree", "less", "hexdump", "xxd", "curl", "wget", "tcpdump", "bash"),
)
_FOLDERS = ("usr/local/bin", "usr/bin", "bin", "usr/sbin", "sbin", "usr/local/sbin")
_LIBRARIES = ("lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib")
_SHOWN = ("usr", "lib", "lib32", "lib64", "bin", "sbin")
_MAX_LINKS = 40
_BINDS = "binds.json"

_LDD = """\
# Which libraries does a program get? The loader that it names says so: nothing of it is run.
status=0
for file; do
  case $file in */*) ;; *) file=$(command -v "$file" || echo "$file") ;; esac
  [ $# -gt 1 ] && echo "$file:"
  if [ ! -f "$file" ]; then echo "ldd: $file: no such file" >&2; status=1; continue; fi
  loader=$(head -c 4096 "$file" | tr -c ' -~' '\\n' | grep -m1 '^/.*ld.*[.]so')
  if [ -z "$loader" ]; then
    for one in /lib64/ld-linux*.so.* /lib/ld-linux*.so.* /lib/ld-musl-*.so.1; do
      [ -x "$one" ] && [ "${file%.so*}" != "$file" ] && loader=$one && break
    done
  fi
  if [ -z "$loader" ]; then echo "	statically linked"
  elif [ ! -x "$loader" ]; then echo "	$loader => not found"; status=1
  else "$loader" --list "$file" || status=$?
  fi
done
exit $status
"""


@dataclass(frozen=True, slots=True)
class ToolRoot:
    """A root that programs come from. `whole`: all of it is shown, not only programs' folders."""

    path: Path
    whole: bool


def lay_tools(
    folder: Path, roots: Sequence[ToolRoot], *, has_shell: bool
) -> tuple[tuple[str, str], ...]:
    """Write the scripts into `folder`; what has to be shown below it, as (source, path).

    Of a tool the first root counts. HostError where the workbench has no shell and no busybox is
    found to bring along.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    shell = _bring_busybox(programs, roots)
    if shell is None and not has_shell:
        raise HostError(
            "--tools: expected a shell in the root or a static busybox to bring, got neither",
            hint="apt-get install busybox-static",
        )
    head = f"#!{shell or '/bin/sh'}\n"
    for name in _NAMES:
        for number, root in enumerate(roots):
            text = _start_text(root.path, name, f"{TOOLS}/root{number}")
            if text is not None:
                _write_program(programs / name, head + text)
                break
    _write_program(programs / "ldd", head + (f"PATH=$PATH:{TOOLS}/bin\n" if shell else "") + _LDD)
    binds = tuple(_binds(folder, roots))
    (folder / _BINDS).write_text(json.dumps(binds))
    return binds


def read_tools(folder: Path) -> tuple[tuple[str, str], ...] | None:
    """What `lay_tools` gave for a folder; None where it was not called."""
    try:
        rows = json.loads((folder / _BINDS).read_bytes())
    except FileNotFoundError:
        return None
    return tuple((str(source), str(path)) for source, path in rows)


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _bring_busybox(programs: Path, roots: Sequence[ToolRoot]) -> str | None:
    """Copy a static busybox; what to write behind `#!`, or None where there is none."""
    for root in roots:
        found = _find(root.path, "busybox")
        if found is not None and _interpreter(found) == "":
            shutil.copyfile(found, programs / "busybox")
            (programs / "busybox").chmod(0o755)
            for name in ("sh", "head", "tr", "grep", "ls", "cat"):
                (programs / name).symlink_to("busybox")
            return f"{TOOLS}/bin/busybox sh"
    return None


def _start_text(root: Path, name: str, shown: str) -> str | None:
    """A script's text that becomes a program of a root that is shown at `shown`."""
    found = _find(root, name)
    interpreter = _interpreter(found) if found else None
    if found is None or interpreter is None:
        return None
    words = f"{shown}/{found.relative_to(root)}"
    if interpreter:
        loader = resolve_in(root, interpreter)
        if loader is None:
            return None
        libraries = ":".join(f"{shown}/{path}" for path in _library_folders(root, loader))
        words = f"{shown}/{loader.relative_to(root)} --library-path {libraries} {words}"
    if name == "gdb":  # its Python and its scripts are found from where it was installed
        words += f" --data-directory={shown}/usr/share/gdb -iex 'unset environment PYTHONHOME'"
        return f'export PYTHONHOME={shown}/usr\nexec {words} "$@"\n'
    if name == "file":
        words = f"export MAGIC={shown}/usr/share/misc/magic.mgc\nexec {words}"
        return f'{words} "$@"\n'
    return f'exec {words} "$@"\n'


def _find(root: Path, name: str) -> Path | None:
    for folder in _FOLDERS:
        found = resolve_in(root, f"{folder}/{name}")
        if found is not None and found.is_file() and _is_shown(root, found):
            return found
    return None


def _is_shown(root: Path, path: Path) -> bool:
    return path.relative_to(root).parts[0] in _SHOWN


def _interpreter(path: Path) -> str | None:
    """The loader that a program names, empty for a static one; None for what is no program."""
    try:
        with path.open("rb") as file:
            elf = parse_elf(HostFile(file.fileno(), path.stat().st_size))
    except (OSError, ElfDamaged):
        return None
    return None if elf is None else elf.interpreter or ""


def _library_folders(root: Path, loader: Path) -> list[str]:
    """Where the loader's own libraries lie, and the usual folders, as paths in the root."""
    folders = [loader.parent]
    for name in _LIBRARIES:
        for path in (f"{name}/{os.uname().machine}-linux-gnu", name):
            found = resolve_in(root, path)
            if found is not None and found.is_dir() and _is_shown(root, found):
                folders.append(found)
    return list(dict.fromkeys(str(folder.relative_to(root)) for folder in folders))


def _binds(folder: Path, roots: Sequence[ToolRoot]) -> Iterator[tuple[str, str]]:
    for number, root in enumerate(roots):
        place = folder / f"root{number}"
        place.mkdir()
        if root.whole:
            yield str(root.path), f"/root{number}"
            continue
        for name in _SHOWN:
            source = root.path / name
            if source.is_dir() and not source.is_symlink():
                (place / name).mkdir()
                yield str(source), f"/root{number}/{name}"


def resolve_in(root: Path, path: str) -> Path | None:
    """Where a path of a root leads, following links inside it; None where nothing is there."""
    todo, done, links = [part for part in path.split("/") if part], root, 0
    while todo:
        part = todo.pop(0)
        if part == ".":
            continue
        if part == "..":
            done = done.parent if done != root else root
            continue
        try:
            target = str((done / part).readlink())
        except FileNotFoundError:
            return None
        except OSError:
            done = done / part
            continue
        links += 1
        if links > _MAX_LINKS:
            return None
        todo = [piece for piece in target.split("/") if piece] + todo
        done = root if target.startswith("/") else done
    return done if done.exists() else None
