"""Look an image of the store over: gather what lints want to know, and run them.

Cheap where little changed: what the bytes of files tell is kept for each layer, and what programs
need of each other for each set of programs. The caller keeps it (`Recall`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from minid.formats.digest import Digest, digest_of_json
from minid.formats.file_view import Walker
from minid.formats.lint import LINT_VERSION, Finding
from minid.formats.lint_bytes import FileFacts, parse_facts, read_facts
from minid.formats.lint_programs import ProgramFacts, parse_program_facts, read_programs
from minid.formats.lint_rules import run_rules
from minid.formats.lint_subject import Release, Subject
from minid.host.view import TreeView
from minid.model import Content, Entry, Tree
from minid.store.blobs import Blobs
from minid.store.contents import read_content

Facts = Mapping[str, object]
Recall = Callable[[str, str, Callable[[], Facts]], Facts]
"""Of a key, a stage's name and a function: what the function gave when the key was asked last."""

_WHOLE_BYTES = 64 << 20  # a larger file is read piece by piece


@dataclass(frozen=True, slots=True)
class ImageToLint:
    """An image: its root file system, that of its base (empty for none), the runtime's part of its
    configuration. `programs` is `shipping.fingerprint`, empty where nobody took it."""

    tree: Tree
    base: Tree
    config: Mapping[str, object]
    now: Release
    before: Release | None = None
    programs: str = ""


def lint_image(
    image: ImageToLint, blobs: Blobs, host_name: bytes, recall: Recall
) -> tuple[Finding, ...]:
    """What the rules find. StoreError where the store lost bytes of the image."""
    entries = {entry.image_path: entry for entry in image.tree.entries}
    own = _own_paths(entries, image.base)
    read = read_content(blobs)
    view = TreeView(image.tree, read)
    subject = Subject(
        entries=entries,
        own=own,
        whole=not image.base.entries,
        facts=_gather_facts((entries[path] for path in own), blobs, host_name, recall),
        programs=_gather_programs(image, view, recall),
        walker=Walker(view),
        read=read,
        config=image.config,
        now=image.now,
        before=image.before,
    )
    return run_rules(subject)


def _own_paths(entries: Mapping[str, Entry], base: Tree) -> frozenset[str]:
    """What an image does not have from its base as it is, wherever the bytes lie."""
    below = {entry.image_path: _bare(entry) for entry in base.entries}
    return frozenset(path for path, entry in entries.items() if below.get(path) != _bare(entry))


def _bare(entry: Entry) -> Entry:
    content = entry.content and Content(entry.content.digest, entry.content.size)
    return replace(entry, content=content, mtime=0)


def _gather_facts(
    entries: Iterable[Entry], blobs: Blobs, host_name: bytes, recall: Recall
) -> dict[Digest, FileFacts]:
    """The facts of these files by digest, those of a layer together."""
    layers: dict[Digest, dict[Digest, Content]] = {}
    for entry in entries:
        if entry.content is not None and entry.content.blob is not None:
            layers.setdefault(entry.content.blob, {})[entry.content.digest] = entry.content
    facts: dict[Digest, FileFacts] = {}
    for layer, contents in layers.items():
        found = _layer_facts(layer, contents, blobs, host_name, recall)
        facts |= {Digest(name): parse_facts(value) for name, value in found.items()}
    return facts


def _layer_facts(
    layer: Digest,
    contents: Mapping[Digest, Content],
    blobs: Blobs,
    host_name: bytes,
    recall: Recall,
) -> Mapping[str, Mapping[str, object]]:
    key = {
        "stage": "lint-layer",
        "version": LINT_VERSION,
        "layer": layer.hex,
        "files": sorted(digest.hex for digest in contents),
        "host": host_name.decode(),
    }

    def make() -> Facts:
        read = {digest.hex: _facts_of(each, blobs, host_name) for digest, each in contents.items()}
        return {"files": {name: value for name, value in read.items() if value}}

    files = recall(digest_of_json(key).hex, "lint-layer", make)["files"]
    assert isinstance(files, dict)
    return files


def _facts_of(content: Content, blobs: Blobs, host_name: bytes) -> Mapping[str, object]:
    if content.size <= _WHOLE_BYTES:
        return read_facts(read_content(blobs)(content), host_name).as_json()
    assert content.blob is not None
    return read_facts(_StoredFile(blobs, content.blob, content), host_name).as_json()


@dataclass(frozen=True, slots=True)
class _StoredFile:
    """A large file of the store, read piece by piece."""

    blobs: Blobs
    blob: Digest
    content: Content

    def __len__(self) -> int:
        return self.content.size

    def __getitem__(self, index: slice, /) -> bytes:
        start, stop, _ = index.indices(self.content.size)
        offset = self.content.offset + start
        return self.blobs.read_range(self.blob, offset, max(0, stop - start))


def _gather_programs(image: ImageToLint, view: TreeView, recall: Recall) -> ProgramFacts:
    files = frozenset(entry.image_path for entry in image.tree.entries if entry.kind == "file")

    def make() -> Facts:
        return read_programs(files, view).as_json()

    if not image.programs:
        return parse_program_facts(make())
    key = {"stage": "lint-programs", "version": LINT_VERSION, "programs": image.programs}
    return parse_program_facts(recall(digest_of_json(key).hex, "lint-programs", make))
