"""Content-addressed files: `blobs/sha256/<hex>`, the layout of an OCI image store.

A blob is written to a temporary file, hashed on the way, synced and only then given its name, so
whatever has a name is whole. Nothing here knows what a blob means.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.host.files import remove_tree, sync_folder
from minid.store.lease import Lease

_CHUNK = 1 << 20


class Sink:
    """Takes the bytes of one blob. Leaving `Blobs.receive` without `commit` discards them."""

    def __init__(self, blobs: Blobs, file: BinaryIO, temporary: Path) -> None:
        self._blobs = blobs
        self._file = file
        self._temporary = temporary
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append `chunk`."""
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def digest_so_far(self) -> Digest:
        """The digest of all that was written."""
        return Digest(self._hash.hexdigest())

    def peek(self) -> Path:
        """The file with all that was written so far; it has no name in the store yet."""
        self._file.flush()
        return self._temporary

    def commit(self, expected: Digest | None = None) -> Digest:
        """Give the blob its name; StoreError, with nothing kept, if it is not `expected`."""
        digest = self.digest_so_far()
        if expected is not None and digest != expected:
            raise StoreError(f"blob: expected {expected}, got {digest}")
        self._file.flush()
        os.fchmod(self._file.fileno(), 0o444)
        os.fsync(self._file.fileno())
        self._blobs.adopt(self._temporary, digest)
        return digest


@dataclass(frozen=True, slots=True)
class Staged:
    """A finished file without a name in the store yet; `Blobs.adopt` gives it one."""

    path: Path
    digest: Digest
    size: int


class Blobs:
    """The blobs below one folder. Several processes may read; one writes (see `store.lock`), or
    several that each have a `part` of the temporary files to themselves.

    What a writer with a `lease` adds or claims is not collected while that lasts.
    """

    def __init__(self, root: Path, part: str = "", lease: Lease | None = None) -> None:
        self.root = root
        self.folder = root / "blobs" / "sha256"
        self._prefix = f"{self.folder}/"
        self.temporary = root / "tmp" / part
        self._shared = bool(part)
        self._lease = lease
        self._flushing = threading.Lock()
        self._named = True  # a killed minid may have named blobs that are here to be found

    def prepare(self) -> None:
        """Make the folders."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.temporary.mkdir(parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        """Where the blob lies or would lie."""
        return self.folder / digest.hex

    def has(self, digest: Digest) -> bool:
        """Whether the blob is in the store."""
        # Asked for every layer of every image at a start of the service: no Path for that.
        return os.path.isfile(f"{self._prefix}{digest.hex}")  # noqa: PTH113

    def claim(self, *digests: Digest) -> bool:
        """Hold blobs from being collected; whether all of them are in the store. Ask this, and not
        `has`, before relying on what an earlier run left."""
        self._hold(digests)
        return all(self.has(digest) for digest in digests)

    def _hold(self, digests: Iterable[Digest]) -> None:
        if self._lease is not None:
            self._lease.hold(digests)

    def size(self, digest: Digest) -> int:
        """The blob's size in bytes."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    @contextlib.contextmanager
    def receive(self) -> Iterator[Sink]:
        """A sink for one new blob; see `Sink`."""
        descriptor, name = tempfile.mkstemp(prefix="unverified-", dir=self.temporary)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb", buffering=_CHUNK) as file:
                yield Sink(self, file, temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def stage(self, chunks: Iterable[bytes], expected: Digest | None = None) -> Staged:
        """Write a file that is to be a blob if all goes well; StoreError if it is not `expected`.

        Nobody removes it but `adopt`, an error here, and whoever clears this writer's part.
        """
        descriptor, name = tempfile.mkstemp(prefix="unverified-", dir=self.temporary)
        try:
            with os.fdopen(descriptor, "wb", buffering=_CHUNK) as file:
                sink = Sink(self, file, Path(name))
                for chunk in chunks:
                    sink.write(chunk)
                digest = sink.digest_so_far()
                if expected is not None and digest != expected:
                    raise StoreError(f"blob: expected {expected}, got {digest}")
                file.flush()
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Staged(Path(name), digest, sink.size)

    def adopt(self, temporary: Path, digest: Digest) -> None:
        """Name a finished file. An existing blob of that digest is kept; the bytes are the same."""
        self._hold((digest,))  # first: what is held stays, also where it is there already
        with contextlib.suppress(FileExistsError):
            os.link(temporary, self.path(digest))
        self._named = True

    def add(self, data: bytes | Iterable[bytes], expected: Digest | None = None) -> Digest:
        """Store `data` and return its digest; StoreError if it is not `expected`."""
        if isinstance(data, bytes) and self.claim(digest := Digest.of(data)):
            if expected not in (None, digest):
                raise StoreError(f"blob: expected {expected}, got {digest}")
            return digest
        with self.receive() as sink:
            for chunk in (data,) if isinstance(data, bytes) else data:
                sink.write(chunk)
            return sink.commit(expected)

    def read(self, digest: Digest) -> bytes:
        """The blob's bytes, hashed again; StoreError where it is missing or damaged."""
        with self._open(digest) as file:
            data = file.read()
        if Digest.of(data) != digest:
            raise self.damaged(digest)
        return data

    def iterate(self, digest: Digest) -> Iterator[bytes]:
        """The blob in chunks, hashed on the way; StoreError where it is missing, and after the last
        chunk where it is damaged."""
        running = hashlib.sha256()
        with self._open(digest) as file:
            while chunk := file.read(_CHUNK):
                running.update(chunk)
                yield chunk
        if running.hexdigest() != digest.hex:
            raise self.damaged(digest)

    def read_range(self, digest: Digest, offset: int, size: int) -> bytes:
        """`size` bytes at `offset` of a blob, unverified: the caller hashes what it uses.

        StoreError where the blob is missing.
        """
        with self._open(digest) as file:
            file.seek(offset)
            return file.read(size)

    def _open(self, digest: Digest) -> BinaryIO:
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise _missing(digest) from None

    def damaged(self, digest: Digest) -> StoreError:
        """What to raise where a blob's bytes are not those of its name."""
        return StoreError(
            f"store: expected blob {digest}, got other bytes",
            hint="`minid verify --contents --repair` mends what can be mended",
        )

    def flush(self) -> None:
        """Make the names of all blobs written so far durable: call before a record names them."""
        with self._flushing:  # whoever finds nothing to do must not overtake the one who does it
            # Of several writers one may rely on a name that another gave and has not flushed.
            if self._named or self._shared:
                self._named = False  # first: a name that is given meanwhile is not missed
                sync_folder(self.folder)

    def remove_leftovers(self, living: Collection[str] = ()) -> int:
        """Delete what killed writers left; only the holder of the lock may call this.

        `living` are the parts of writers that are at work beside it.
        """
        leftovers = [path for path in self.temporary.iterdir() if path.name not in living]
        for path in leftovers:
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink()
        return len(leftovers)


def named_blob(name: str) -> Digest | None:
    """The blob that a file of that name holds; None for a name that no blob has."""
    try:
        digest = Digest.parse(name)
    except ValueError:
        return None
    return digest if digest.hex == name else None


def _missing(digest: Digest) -> StoreError:
    return StoreError(
        f"store: expected blob {digest}, got nothing",
        hint="the store lost a file; build again with `minid build --force`",
    )
