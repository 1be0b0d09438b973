"""The closure of the distribution's own programs against the loader, and the parser's oracle."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.formats.dlopen_rules import DEFAULT_NSSWITCH
from minid.formats.elf import Elf, ElfDamaged, parse_elf
from minid.formats.elf_closure import (
    Closure,
    ClosureOptions,
    ElfCache,
    check_versions,
    resolve_closure,
)
from minid.formats.elf_parts import dlopen_notes, imported_symbols, read_sections, so_strings
from minid.host.view import DirectoryView
from minid.model import Content, Entry, Tree
from minid.recipe import Contents
from minid.steps.pack import audit_rootfs, pack_payload
from tests.support.elf_files import read_nothing
from tests.support.require import require

pytestmark = pytest.mark.integration

FOLDERS = ("usr/bin", "usr/sbin", "usr/lib/x86_64-linux-gnu", "usr/lib")


def _objects(folders: tuple[str, ...], limit: int) -> list[str]:
    found = []
    for folder in folders:
        for path in sorted(Path("/", folder).iterdir()):
            if len(found) >= limit or path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    found.append(str(path)[1:])
    return found


def _programs(limit: int) -> Iterator[tuple[str, Elf]]:
    count = 0
    for path in _objects(FOLDERS[:2], 5000):
        elf = parse_elf(Path("/", path).read_bytes())
        privileged = Path("/", path).stat().st_mode & 0o6000  # the loader refuses to trace these
        if elf is not None and elf.interpreter and elf.needed and not privileged:
            count += 1
            if count > limit:
                return
            yield path, elf


def _traced(program: str) -> set[str]:
    """The files that the loader binds, with symlinks followed."""
    run = subprocess.run(
        [f"/{program}"],
        env={"LD_TRACE_LOADED_OBJECTS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    found = set()
    for line in run.stdout.splitlines():
        words = line.split()
        path = words[2] if "=>" in words and len(words) > 2 else words[0]
        assert path != "not", line
        if path.startswith("/"):
            found.add(os.path.realpath(path))
    return found


def _bound(closure: Closure) -> set[str]:
    return {os.path.realpath("/" + path) for path in closure.objects}


def test_closure_equals_the_loaders() -> None:
    view = DirectoryView(Path("/"), ("usr", "lib", "lib64", "bin", "sbin", "etc"))
    cache = ElfCache(view)
    differences = {}
    programs = [path for path, _ in _programs(300)]
    if len(programs) < 200:
        pytest.skip(f"only {len(programs)} dynamic programs here, 200 are wanted")
    for path in programs:
        closure = resolve_closure([path], view, ClosureOptions(dlopen_rules=False), cache)
        assert closure.missing == ()
        expected = _traced(path) | {os.path.realpath("/" + path)}
        if _bound(closure) != expected:
            differences[path] = _bound(closure) ^ expected
    assert differences == {}


RUN = (
    ("usr/bin/bash", "--version"),
    ("usr/bin/curl", "--version"),
    ("usr/bin/gpg", "--version"),
    ("usr/bin/openssl", "version"),
    ("usr/bin/perl", "-v"),
    ("usr/bin/getent", "passwd", "root"),
    ("usr/sbin/ldconfig", "--version"),
)


@pytest.mark.parametrize("argv", RUN, ids=lambda argv: argv[0].rpartition("/")[2])
def test_a_payload_runs_alone(tmp_path: Path, argv: tuple[str, ...]) -> None:
    """Only the payload is there: no cache, no merged /usr, nothing of the machine."""
    require("bwrap")
    if not Path("/", argv[0]).is_file():
        pytest.skip(f"/{argv[0]} is not here")
    content = Content.inline(Path("/", argv[0]).read_bytes())
    passwd = Content.inline(b"root:x:0:0::/:/bin/sh\n")
    install = Tree(
        (
            Entry("etc/passwd", "file", 0o644, 0, content=passwd),
            Entry(argv[0], "file", 0o755, 0, content=content),
        )
    )
    payload = pack_payload(
        install,
        (),
        DirectoryView(Path("/"), ("usr", "lib", "lib64", "etc/ld.so.conf", "etc/ld.so.conf.d")),
        Contents(strip=False),
        read=read_nothing,
        strip=lambda _: {},
        nsswitch=DEFAULT_NSSWITCH,
        clamp_mtime=0,
    )
    assert audit_rootfs(payload.tree, read_nothing) == ()
    _lay(payload.tree, tmp_path / "root")
    run = subprocess.run(
        ["bwrap", "--ro-bind", tmp_path / "root", "/", "--clearenv", f"/{argv[0]}", *argv[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout


def _lay(tree: Tree, root: Path) -> None:
    root.mkdir()
    for entry in tree.entries:
        path = root / entry.image_path
        if entry.kind == "directory":
            path.mkdir()
        elif entry.kind == "symlink":
            path.symlink_to(entry.target)
        elif entry.kind == "hardlink":
            path.hardlink_to(root / entry.target)
        else:
            assert entry.content is not None
            path.write_bytes(entry.content.data or b"")
            path.chmod(entry.mode)


def test_versions_of_the_distribution_fit() -> None:
    view = DirectoryView(Path("/"), ("usr", "lib", "lib64", "bin", "sbin", "etc"))
    closure = resolve_closure([path for path, _ in _programs(300)], view)
    assert check_versions(closure) == ()


def _oracle(path: str) -> dict[str, object]:
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
    from elftools.elf.segments import InterpSegment

    values: dict[str, object] = {"interpreter": None, "soname": None, "rpath": None}
    values |= {"runpath": None, "needed": [], "needs": [], "defines": [], "imports": set()}
    with Path("/", path).open("rb") as file:
        elf = ELFFile(file)
        values["class"], values["machine"] = elf.elfclass, elf.header["e_machine"]
        for segment in elf.iter_segments():
            if isinstance(segment, InterpSegment):
                values["interpreter"] = segment.get_interp_name()
            if isinstance(segment, DynamicSegment):
                _oracle_tags(segment, values)
        for section in elf.iter_sections():
            if isinstance(section, GNUVerNeedSection):
                for need, auxes in section.iter_versions():
                    values["needs"] += [
                        (need.name, aux.name) for aux in auxes if not aux.entry["vna_flags"] & 2
                    ]
            if isinstance(section, GNUVerDefSection):
                values["defines"] += [
                    next(auxes).name
                    for definition, auxes in section.iter_versions()
                    if not definition.entry["vd_flags"] & 1
                ]
        symbols = elf.get_section_by_name(".dynsym")
        if symbols is not None:
            values["imports"] = {
                symbol.name
                for symbol in symbols.iter_symbols()
                if symbol["st_shndx"] == "SHN_UNDEF"
            } - {""}
    return values


def _oracle_tags(segment: object, values: dict[str, object]) -> None:
    for tag in segment.iter_tags():  # type: ignore[attr-defined]
        name = tag.entry.d_tag
        if name == "DT_NEEDED":
            values["needed"].append(tag.needed)  # type: ignore[attr-defined]
        elif name in ("DT_SONAME", "DT_RPATH", "DT_RUNPATH"):
            values[name[3:].lower()] = getattr(tag, name[3:].lower())


def test_fields_equal_pyelftools() -> None:
    pytest.importorskip("elftools")
    objects = _objects(("usr/bin",), 120) + _objects(("usr/lib/x86_64-linux-gnu",), 130)
    assert len(objects) >= 200
    for path in objects:
        data = Path("/", path).read_bytes()
        elf = parse_elf(data)
        assert elf is not None, path
        expected = _oracle(path)
        assert expected.pop("machine") in ("EM_X86_64", "EM_386") or elf.machine not in (3, 62)
        assert {
            "class": elf.elf_class,
            "interpreter": elf.interpreter,
            "soname": elf.soname,
            "rpath": elf.rpath,
            "runpath": elf.runpath,
            "needed": list(elf.needed),
            "needs": list(elf.needs_versions),
            "defines": list(elf.defines_versions),
            "imports": set(imported_symbols(elf, data)),
        } == expected, path


def test_ten_thousand_mutants_raise_nothing_else() -> None:
    require("ls")
    original = Path("/usr/bin/ls").read_bytes()
    library = Path(os.path.realpath("/lib64/ld-linux-x86-64.so.2")).read_bytes()
    rng = random.Random(7)
    verdicts = {"damaged": 0, "none": 0, "elf": 0}
    for number in range(10_000):
        data = bytearray(original if number % 2 else library)
        span = len(data) if number % 3 else 4096
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(span)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if number % 10 == 0:
            del data[rng.randrange(len(data)) :]
        verdicts[_judge(bytes(data))] += 1
    assert verdicts["damaged"] > 500
    assert verdicts["elf"] > 500


def _judge(data: bytes) -> str:
    try:
        elf = parse_elf(data)
    except ElfDamaged:
        return "damaged"
    if elf is None:
        return "none"
    imported_symbols(elf, data)
    dlopen_notes(elf, data)
    read_sections(elf, data)
    so_strings(elf, data)
    return "elf"
