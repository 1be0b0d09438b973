"""What a dynamic loader knows by itself: its default folders, ld.so.conf, musl's path file.

Read from the loader's own bytes where it is there: a distribution compiles its folders in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from minid.formats.elf import Elf
from minid.formats.elf_reading import Source
from minid.formats.file_view import Walker, join, normalize
from minid.formats.globs import compile_globs, is_glob

Flavour = Literal["glibc", "musl"]

_MAX_CONF = 1 << 20
_MAX_INCLUDES = 1000
_MAX_DEPTH = 16
_MAX_LOADER = 4 << 20
_GLIBC_DIRS = re.compile(rb"\0((?:/[!-.0-~][!-~]{0,200}/\0){1,16})")
_MUSL_DIRS = re.compile(rb"\0((?:/[!-9;-~]{1,200}:){1,16}/[!-9;-~]{1,200})\0")


@dataclass(frozen=True, slots=True)
class Machine:
    """The names of one machine: `$PLATFORM`, the multiarch tuple, musl's name, glibc's loader."""

    platform: str
    multiarch: str
    musl: str
    loader: str


_MACHINES = {
    (3, 32): Machine("i686", "i386-linux-gnu", "i386", "lib/ld-linux.so.2"),
    (21, 64): Machine("ppc64le", "powerpc64le-linux-gnu", "powerpc64le", "lib64/ld64.so.2"),
    (22, 64): Machine("s390x", "s390x-linux-gnu", "s390x", "lib/ld64.so.1"),
    (40, 32): Machine("v7l", "arm-linux-gnueabihf", "armhf", "lib/ld-linux-armhf.so.3"),
    (62, 32): Machine("x86_64", "x86_64-linux-gnux32", "x32", "libx32/ld-linux-x32.so.2"),
    (62, 64): Machine("x86_64", "x86_64-linux-gnu", "x86_64", "lib64/ld-linux-x86-64.so.2"),
    (183, 64): Machine("aarch64", "aarch64-linux-gnu", "aarch64", "lib/ld-linux-aarch64.so.1"),
    (243, 64): Machine(
        "riscv64", "riscv64-linux-gnu", "riscv64", "lib/ld-linux-riscv64-lp64d.so.1"
    ),
}
_UNKNOWN = Machine("unknown", "unknown-linux-gnu", "unknown", "lib/ld.so.1")


@dataclass(frozen=True, slots=True)
class Loader:
    """One dynamic loader and where it searches after the object's own paths.

    `interpreter` is the path that programs name, as an image path; `image_path` is the file there
    in the view, empty where there is none. `conf_dirs` come from files that an image does not
    have; `default_dirs` are compiled in. `lib` is what `$LIB` stands for.
    """

    interpreter: str
    image_path: str
    flavour: Flavour
    elf_class: int
    machine: int
    platform: str
    lib: str
    default_dirs: tuple[str, ...]
    conf_dirs: tuple[str, ...] = ()

    @property
    def default_folders(self) -> tuple[str, ...]:
        """The default folders as image paths."""
        return tuple(normalize(path) for path in self.default_dirs)


def machine_of(elf: Elf) -> Machine:
    """The names of the machine that an object is for."""
    return _MACHINES.get((elf.machine, elf.elf_class), _UNKNOWN)


def make_loader(walker: Walker, interpreter: str, elf: Elf, *, conf: bool) -> Loader:
    """The loader at `interpreter`, for objects like `elf`. `conf` False: as in a bare image."""
    machine, name = machine_of(elf), interpreter.rpartition("/")[2]
    flavour: Flavour = "musl" if name.startswith("ld-musl") else "glibc"
    found = walker.find(interpreter)
    dirs: tuple[str, ...] = ()
    if found:
        with walker.view.open(found[0].image_path) as source:
            dirs = compiled_dirs(source, flavour)
    dirs = dirs or _usual_dirs(machine, flavour, elf.elf_class)
    first = dirs[0].removeprefix("/usr/").strip("/")
    conf_dirs: tuple[str, ...] = ()
    if flavour == "musl":  # which reads its file when a program starts, in an image as well
        conf_dirs = read_musl_path(walker, interpreter)
    elif conf:
        conf_dirs = read_ld_so_conf(walker)
    return Loader(
        interpreter=normalize(interpreter),
        image_path=found[0].image_path if found else "",
        flavour=flavour,
        elf_class=elf.elf_class,
        machine=elf.machine,
        platform=machine.platform,
        lib=first if first.startswith("lib") else "lib",
        default_dirs=dirs,
        conf_dirs=conf_dirs,
    )


def compiled_dirs(source: Source, flavour: Flavour) -> tuple[str, ...]:
    """The default folders among a loader's own strings; empty where none look like it."""
    data = bytes(source[0:_MAX_LOADER])
    pattern, separator = (_MUSL_DIRS, ":") if flavour == "musl" else (_GLIBC_DIRS, "\0")
    for match in pattern.finditer(data):
        dirs = match[1].decode("ascii").split(separator)
        libraries = tuple(part.rstrip("/") for part in dirs if "lib" in part)
        if libraries:
            return libraries
    return ()


def _usual_dirs(machine: Machine, flavour: Flavour, elf_class: int) -> tuple[str, ...]:
    if flavour == "musl":
        return ("/lib", "/usr/local/lib", "/usr/lib")
    wide = ("/lib64", "/usr/lib64") if elf_class == 64 else ()
    return (f"/lib/{machine.multiarch}", f"/usr/lib/{machine.multiarch}", *wide, "/lib", "/usr/lib")


def read_musl_path(walker: Walker, interpreter: str) -> tuple[str, ...]:
    """The folders of musl's own file, `/etc/ld-musl-ARCH.path` under the loader's prefix."""
    folder, _, name = normalize(interpreter).rpartition("/")
    prefix = folder.rpartition("/")[0]
    path = join(prefix, f"etc/{name.partition('.')[0]}.path")
    text = _read_text(walker, path)
    return tuple(part for part in re.split(r"[:\n]", text) if part.startswith("/"))


def read_ld_so_conf(walker: Walker) -> tuple[str, ...]:
    """The folders that ld.so.conf names, with its includes, each once and in order."""
    return tuple(dict.fromkeys(_read_conf(walker, "etc/ld.so.conf", set())))


def _read_conf(walker: Walker, path: str, seen: set[str], depth: int = 0) -> Iterator[str]:
    if path in seen or len(seen) >= _MAX_INCLUDES or depth > _MAX_DEPTH:
        return
    seen.add(path)
    for raw in _read_text(walker, path).splitlines():
        line = raw.partition("#")[0].strip()
        words = line.split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                for included in _expand(walker, pattern, path.rpartition("/")[0]):
                    yield from _read_conf(walker, included, seen, depth + 1)
        elif words[:1] != ["hwcap"]:
            yield from (
                name.partition("=")[0] for name in re.split(r"[\s:,]+", line) if name[:1] == "/"
            )


def _expand(walker: Walker, pattern: str, folder: str) -> list[str]:
    path = normalize(pattern, folder)
    if not is_glob(path):
        return [path]
    parent, _, name = path.rpartition("/")
    try:
        matches = compile_globs((name,)).fullmatch
    except ValueError:
        return []
    names = {
        each
        for real in walker.folders(parent)
        for each in walker.view.names_in(real.image_path)
        if matches(each)
    }
    return [join(parent, each) for each in sorted(names)]


def _read_text(walker: Walker, path: str) -> str:
    for found in walker.find(path):
        with walker.view.open(found.image_path) as source:
            return bytes(source[0:_MAX_CONF]).decode("utf-8", "surrogateescape")
    return ""
