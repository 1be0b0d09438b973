"""What only all programs of an image together tell to lints: whether each finds its libraries."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from minid.formats.closure_values import Closure, ClosureOptions, Missing
from minid.formats.dlopen_rules import glibc_minor
from minid.formats.elf import Elf
from minid.formats.elf_closure import check_versions, resolve_closure
from minid.formats.file_view import FileView

_GLIBC, _MUSL = "glibc", "musl"


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """Rows of (rule, image path, detail), and the minor version of the image's glibc: 36 for 2.36,
    0 where there is none."""

    rows: tuple[tuple[str, str, str], ...] = ()
    glibc: int = 0

    def as_json(self) -> dict[str, object]:
        """The facts as JSON values."""
        return {"rows": [list(row) for row in self.rows], "glibc": self.glibc}


def parse_program_facts(value: Mapping[str, object]) -> ProgramFacts:
    """Read what `ProgramFacts.as_json` gave."""
    rows = value["rows"]
    assert isinstance(rows, list)
    return ProgramFacts(tuple((r[0], r[1], r[2]) for r in rows), int(str(value["glibc"])))


def read_programs(files: frozenset[str], view: FileView) -> ProgramFacts:
    """The facts of an image with these files, looked up inside `view` only, as its own loader will:
    without ld.so.conf, unless the image has a cache."""
    options = ClosureOptions(present=files, conf="etc/ld.so.cache" in files, dlopen_rules=False)
    closure = resolve_closure(files, view, options)
    flavours = _flavours(closure)
    known = set(flavours.values())
    rows = [_missing_row(missing, closure, known) for missing in closure.missing]
    rows += [("symbol-version", row.image_path, _needs(row)) for row in check_versions(closure)]
    told = {path for rule, path, _ in rows if rule == "foreign-libc"}
    for path, detail in _find_foreign(closure, flavours):
        if path not in told:
            told.add(path)
            rows.append(("foreign-libc", path, detail))
    libcs = [elf for elf in closure.objects.values() if elf.soname == "libc.so.6"]
    minors = [glibc_minor(elf.defines_versions) or 0 for elf in libcs]
    return ProgramFacts(tuple(dict.fromkeys(row for row in rows if row[0])), max(minors, default=0))


def _missing_row(
    missing: Missing, closure: Closure, flavours: Collection[str]
) -> tuple[str, str, str]:
    elf = closure.objects.get(missing.image_path)
    if elf is not None and missing.needs == elf.interpreter:
        return "", "", ""  # told by the rule about interpreters
    wanted = _libc_of(elf, missing.needs) if elf is not None else ""
    if wanted and flavours and wanted not in flavours:
        detail = f"is for {wanted}, and every program runs with {' or '.join(sorted(flavours))}"
        return "foreign-libc", missing.image_path, detail
    return "missing-library", missing.image_path, _needs(missing)


def _needs(missing: Missing) -> str:
    searched = f", which is not in {missing.searched}" if missing.searched else ""
    return f"needs {missing.needs!r}{searched}"


def _libc_of(elf: Elf, needed: str = "") -> str:
    """The C library that an object was linked with, by the names that it needs."""
    names = (needed,) if needed else elf.needed
    if "libc.so.6" in names:
        return _GLIBC
    return _MUSL if any(n == "libc.so" or n.startswith("libc.musl-") for n in names) else ""


def _flavour(elf: Elf) -> str:
    """The C library whose loader a program names; empty for what is no program."""
    if not elf.interpreter:
        return ""
    return _MUSL if elf.interpreter.rpartition("/")[2].startswith("ld-musl") else _GLIBC


def _flavours(closure: Closure) -> dict[str, str]:
    """The C library of each program. glibc's own library can be started, and is none."""
    found = {p: _flavour(elf) for p, elf in closure.objects.items() if elf.soname is None}
    return {path: flavour for path, flavour in found.items() if flavour}


def _find_foreign(closure: Closure, flavours: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Objects in a process whose loader is of another C library, and what would load them; then
    libraries for which the image has no program at all."""
    bound: dict[str, list[str]] = {}
    for (path, _), found in closure.bindings.items():
        bound.setdefault(path, []).extend(found)
    reached: set[str] = set()
    for program, flavour in flavours.items():
        seen, waiting = {program}, [program]
        while waiting:
            path = waiting.pop()
            elf = closure.objects.get(path)
            if elf is not None and _libc_of(elf) not in ("", flavour):
                yield path, f"is for {_libc_of(elf)}, and /{program} runs with {flavour}"
            fresh = [each for each in bound.get(path, ()) if each not in seen]
            seen.update(fresh)
            waiting += fresh
        reached |= seen
    known = set(flavours.values())
    for path, elf in closure.objects.items():
        if known and path not in reached and _libc_of(elf) not in ("", *known):
            yield (
                path,
                f"is for {_libc_of(elf)}, and every program runs with {' or '.join(sorted(known))}",
            )
