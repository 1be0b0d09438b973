"""`minid verify --selftest`: a scratch store is broken in each of the ten ways, and each must be
told as exactly that. A proof that finds nothing proves nothing unless it is known to find."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from minid.config import Config, Paths, Publishing
from minid.formats.digest import Digest
from minid.host.files import temporary_folder
from minid.line.workshop import Workshop, open_workshop
from minid.store.blobs import Blobs
from minid.store.records import Records
from minid.workbench.proof import INVARIANTS, Finding
from minid.workbench.scratch import Design, Made, all_entries, file, make_image, root_of
from minid.workbench.verifying import open_case, verify

_WEB = Design(recipe="web", tags=("web:1.0", "web:latest"))


@dataclass(frozen=True, slots=True)
class Trial:
    """One way of breaking a store: what was broken, and what was told of it."""

    invariant: str
    done: str
    found: tuple[Finding, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it was told as exactly that; with the sound store, whether nothing was."""
        told = {item.invariant for item in self.found}
        return told == ({self.invariant} if self.invariant else set())


@dataclass(frozen=True, slots=True)
class _Store:
    config: Config
    images: Mapping[str, Made]

    def blob(self, digest: Digest) -> Path:
        """Where a blob lies."""
        return Blobs(self.config.paths.store).path(digest)


def run_selftest(parent: Path) -> list[Trial]:
    """A sound store and ten broken ones, made below `parent` and gone afterwards."""
    trials = [_try(parent, "", "nothing is broken", lambda _store: None)]
    for invariant, (done, damage) in _DAMAGES.items():
        trials.append(_try(parent, invariant, done, damage))
    return trials


def _try(parent: Path, invariant: str, done: str, damage: Callable[[_Store], None]) -> Trial:
    begin = time.monotonic()
    with temporary_folder(parent, "selftest-") as folder:
        store = _make_store(folder)
        damage(store)
        found = prove(store.config)
    return Trial(invariant, done, tuple(found), time.monotonic() - begin)


def prove(config: Config) -> list[Finding]:
    """All that is wrong with the store of a configuration, contents and all."""
    records = Records(config.paths.records, writable=False)
    try:
        return verify(lambda: open_case(config, records, {}, contents=True))
    finally:
        records.close()


def scratch_config(folder: Path) -> Config:
    """A configuration that publishes nowhere."""
    paths = Paths(recipes=folder / "recipes", state=folder / "var")
    return Config(file=None, paths=paths, publish=Publishing(docker="off"))


def _make_store(folder: Path) -> _Store:
    config = scratch_config(folder)
    with _open(config) as shop:
        images = {"base": make_image(shop, Design()), "web": make_image(shop, _WEB)}
    return _Store(config, images)


def _open(config: Config):  # type: ignore[no-untyped-def]  # noqa: ANN202 (a context manager)
    return open_workshop(config, {}, clock=lambda: 1000.0, cancel=threading.Event())


def _flip(store: _Store) -> None:
    layers = store.images["web"].detail["layers"]
    assert isinstance(layers, list)
    path = store.blob(Digest.parse(str(layers[0]["digest"])))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def _lose(store: _Store) -> None:
    store.blob(store.images["base"].install_tar).unlink()


def _stray(store: _Store) -> None:
    (store.config.paths.store / "blobs" / "sha256" / "notes.txt").write_text("mine")


def _forge(store: _Store) -> None:
    wrong = (str(Digest.of(b"another layer")),)
    with _open(store.config) as shop:
        make_image(shop, Design("forged", tags=("forged:1",), diff_ids=wrong))


def _move_in_secret(store: _Store) -> None:
    base, web = store.images["base"].manifest, store.images["web"].manifest
    path = store.config.paths.store / "index.json"
    path.write_text(path.read_text().replace(base, web, 1))


def _lose_source(store: _Store) -> None:
    store.blob(store.images["web"].archive).unlink()


def _whiteout(store: _Store) -> None:
    entries = all_entries(root_of("x"), [file("etc/.wh.passwd", b"")])
    with _open(store.config) as shop:
        make_image(shop, Design("dirty", tags=("dirty:1",), entries=entries))


def _lose_library(store: _Store) -> None:
    with _open(store.config) as shop:
        entries = root_of("y", library=False)
        make_image(shop, Design("bare", tags=("bare:1",), entries=entries))


def _run_for_ever(store: _Store) -> None:
    with _open(store.config) as shop:
        assert isinstance(shop, Workshop)
        shop.records.start_run("web", "1.1", "never ends", (), 1000.0)


def _leave_place(store: _Store) -> None:
    place = store.config.paths.store / "tmp" / "guest-1-0"
    place.mkdir(parents=True)
    (place / "unverified-x").write_text("half")


_DAMAGES: Mapping[str, tuple[str, Callable[[_Store], None]]] = {
    "content": ("a bit of a layer is flipped", _flip),
    "rows": ("the tar of an install tree is removed", _lose),
    "files": ("a file lies among the blobs", _stray),
    "closure": ("a configuration states another diff ID", _forge),
    "tags": ("index.json points elsewhere", _move_in_secret),
    "provenance": ("an archive is removed", _lose_source),
    "layers": ("a layer has a whiteout", _whiteout),
    "elf": ("a program's library is not in its image", _lose_library),
    "database": ("a run is marked as running and nobody runs it", _run_for_ever),
    "quiescence": ("a killed process left a place of its own", _leave_place),
}
assert _DAMAGES.keys() == INVARIANTS.keys()
