"""What lints look at: an image as recorded facts, and the release before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from minid.formats.digest import Digest
from minid.formats.file_view import Walker, join, normalize
from minid.formats.lint_bytes import FileFacts
from minid.formats.lint_programs import ProgramFacts
from minid.model import Content, Entry

_MAX_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class Release:
    """What two releases of one recipe are compared by. `licenses` has a digest for each licence
    file of the source, by name; empty where nobody looked."""

    version: str
    unpacked: int
    license: str = ""
    licenses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """An image. `entries` is its whole root file system by path, `own` the paths that it does not
    have from its base: what is found elsewhere is the base's. `whole` is set where the image stands
    on nothing. `facts` are of its own files, by digest; `config` is the runtime's part."""

    entries: Mapping[str, Entry]
    own: frozenset[str]
    whole: bool
    facts: Mapping[Digest, FileFacts]
    programs: ProgramFacts
    walker: Walker
    read: Callable[[Content], bytes]
    config: Mapping[str, object]
    now: Release
    before: Release | None = None

    def own_entries(self) -> Iterator[Entry]:
        """The image's own entries."""
        return (entry for path, entry in self.entries.items() if path in self.own)

    def own_files(self) -> Iterator[tuple[Entry, FileFacts]]:
        """The image's own files, each once, with what their bytes tell."""
        for entry in self.own_entries():
            if entry.content is not None:
                yield entry, self.facts.get(entry.content.digest, _NO_FACTS)

    def entry_at(self, path: str) -> Entry | None:
        """The regular file that a path leads to inside the image, or None."""
        found = self.walker.find(path)
        entry = self.entries.get(found[0].image_path) if found else None
        if entry is not None and entry.kind == "hardlink":
            return self.entries.get(entry.target)
        return entry

    def text(self, path: str) -> str:
        """A small text file; empty where there is none."""
        entry = self.entry_at(path)
        if entry is None or entry.content is None or entry.content.size > _MAX_TEXT:
            return ""
        return self.read(entry.content).decode("utf-8", "replace")

    def environ(self) -> dict[str, str]:
        """The environment that the image sets."""
        rows = self.config.get("Env")
        texts = [str(row) for row in rows] if isinstance(rows, list) else []
        return dict(text.split("=", 1) for text in texts if "=" in text)

    def leads_somewhere(self, link: Entry) -> bool:
        """Whether a symlink has something at its end, or will have it in a container."""
        folder = link.image_path.rpartition("/")[0]
        path = link.target if link.target.startswith("/") else join(folder, link.target)
        if self.walker.find(path) or self.walker.folders(path):
            return True
        end = normalize(link.target, folder)
        volumes = self.config.get("Volumes")
        mounted = [str(name).strip("/") for name in volumes] if isinstance(volumes, dict) else []
        return any(f"{end}/".startswith(f"{place}/") for place in (*_RUNTIME, *mounted) if place)


_NO_FACTS = FileFacts()
# What a runtime, or the program itself, fills.
_RUNTIME = ("dev", "proc", "sys", "run", "var/run")
