"""Probes of a small program that wants what its arguments say, in a root of its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minid.formats.probe import Finding
from minid.formats.tree import sort_entries
from minid.host.container import LayerFile
from minid.model import Content, Entry, Tree
from minid.workbench.probe_subject import Subject
from minid.workbench.probing import Place, Report, Request, probe
from tests.support.tiny_image import file, folder, link, write_layer

SOURCE = Path(__file__).parents[1] / "data" / "wants.c"


@dataclass(frozen=True)
class Programs:
    """The program, static and not, and the libraries of the latter by their path."""

    static: bytes
    shared: bytes
    libraries: dict[str, bytes]


def compile_wants(place: Path) -> Programs:
    """Build it with the machine's compiler."""
    made = {}
    for name, options in (("static", ["-static"]), ("shared", [])):
        binary = place / name
        argv = ["gcc", "-w", "-O1", *options, "-o", str(binary), str(SOURCE)]
        subprocess.run(argv, check=True, capture_output=True)
        made[name] = binary.read_bytes()
    listed = subprocess.run(
        ["ldd", str(place / "shared")], check=True, capture_output=True, text=True
    ).stdout
    paths = [word for word in listed.split() if word.startswith("/")]
    return Programs(made["static"], made["shared"], {p: Path(p).read_bytes() for p in paths})


@dataclass(frozen=True)
class Bare:
    """A root with the program alone, and what is added to it."""

    place: Path
    programs: Programs
    more: tuple[Entry, ...] = ()
    config: tuple[tuple[str, Any], ...] = ()
    shared: bool = False
    without: tuple[str, ...] = ()

    def entries(self) -> list[Entry]:
        found = {entry.image_path: entry for entry in self.more}
        files = {"bin/wants": self.programs.shared if self.shared else self.programs.static}
        if self.shared:
            files |= {path.lstrip("/"): data for path, data in self.programs.libraries.items()}
        for path, data in files.items():
            if path.rpartition("/")[2] not in self.without:
                found.setdefault(path, file(path, data, 0o755))
        for path in list(found):
            parts = path.split("/")[:-1]
            for end in range(len(parts) + 1):
                above = "/".join(parts[:end])
                found.setdefault(above, folder(above))
        return list(sort_entries(found.values()))

    def probe(self, *wants: str, seconds: float = 10, **more: Any) -> Report:
        """Run it with these arguments."""
        entries = self.entries()
        layer = write_layer(self.place, entries)
        subject = Subject(
            name="wants",
            recipe="wants",
            version="1.0",
            what="test",
            tree=Tree(tuple(entries)),
            config=dict(self.config),
            layers=(LayerFile(*layer),),
        )
        request = Request(("/bin/wants", *wants), seconds, **more)
        return probe(subject, request, Place(self.place / "layers", self.place, _read))


def _read(content: Content) -> bytes:
    assert content.data is not None
    return content.data


def told(report: Report) -> dict[tuple[str, str], Finding]:
    """What the program needs, by kind and name; without devices, which each root is told of."""
    return {(f.kind, f.what): f for f in report.missing if f.kind != "device"}


__all__ = ["Bare", "Programs", "compile_wants", "file", "folder", "link", "told"]
