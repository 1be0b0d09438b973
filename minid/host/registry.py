"""Pushing to and pulling from a registry (OCI Distribution Specification 1.1).

Blobs are sent in pieces, so that a connection which breaks goes on where the registry says it
stands. What was pushed is read back by its digest before anybody hears that it is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from minid.errors import PublishError
from minid.formats.digest import Digest
from minid.formats.image_archive import INDEXES, MANIFESTS
from minid.formats.oci import Descriptor
from minid.host.registry_connection import ATTEMPTS, Answer, BrokenError, Connection, RefusedError

PIECE_BYTES = 8 << 20
Read = Callable[[int, int], bytes]
"""`read(offset, size)` of a blob."""
Progress = Callable[[str, int, int], object]
"""`progress(digest, bytes so far, bytes)`."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: how many blobs were sent, and how many were there."""

    sent: int
    present: int


class Registry:
    """A repository of a registry, over an open connection."""

    def __init__(self, connection: Connection, *, writes: bool) -> None:
        self._connection = connection
        self._name = connection.place.name
        self._scope = f"repository:{self._name.repository}:pull" + (",push" if writes else "")
        self._path = f"/v2/{self._name.repository}"

    def _ask(
        self, method: str, url: str, expected: tuple[int, ...], what: str, **more: object
    ) -> Answer:
        return self._connection.ask(
            method,
            url,
            expected,
            what=what,
            scope=self._scope,
            **more,  # type: ignore[arg-type]
        )

    # pushing

    def push(
        self,
        manifest: bytes,
        media_type: str,
        blobs: Sequence[Descriptor],
        read: Callable[[Digest], Read],
        tags: Sequence[str],
        progress: Progress = lambda *_: None,
    ) -> Pushed:
        """Send what is missing of an image, then its manifest under each tag, and read that back.

        PublishError where the registry refuses, answers another digest, or a blob's bytes are not
        those of its name; no tag points at anything incomplete then.
        """
        sent = 0
        for descriptor in blobs:
            if not self.has_blob(descriptor.digest):
                self._send_blob(descriptor, read(descriptor.digest), progress)
                sent += 1
        digest = Digest.of(manifest)
        for tag in tags or (str(digest),):
            self._put_manifest(manifest, media_type, tag, digest)
        got, _ = self.manifest(str(digest))
        if got != manifest:
            raise PublishError(f"{self._name}: expected manifest {digest} back, got other bytes")
        return Pushed(sent, len(blobs) - sent)

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has a blob."""
        answer = self._ask("HEAD", f"{self._path}/blobs/{digest}", (200, 404, 307, 302), "blob")
        return answer.status != 404

    def _put_manifest(self, data: bytes, media_type: str, tag: str, digest: Digest) -> None:
        headers = {"Content-Type": media_type}
        answer = self._ask(
            "PUT",
            f"{self._path}/manifests/{tag}",
            (201,),
            f"manifest {tag}",
            headers=headers,
            body=data,
        )
        named = answer.header("docker-content-digest")
        if named and named != str(digest):
            raise PublishError(
                f"{self._name}: expected manifest {digest}, got {named[:80]!r} for it"
            )

    def _send_blob(self, descriptor: Descriptor, read: Read, progress: Progress) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self._upload(descriptor, read, progress)
            except RefusedError as error:
                # The session may be gone, or have another idea of where it stands: a new one.
                if error.status not in (404, 416) or attempt + 1 == ATTEMPTS:
                    raise
            else:
                return

    def _upload(self, descriptor: Descriptor, read: Read, progress: Progress) -> None:
        what = f"blob {descriptor.digest.short}"
        answer = self._ask("POST", f"{self._path}/blobs/uploads/", (202,), what)
        location = answer.header("location")
        running, hashed, offset, broken = hashlib.sha256(), 0, 0, 0
        while offset < descriptor.size:
            piece = read(offset, min(PIECE_BYTES, descriptor.size - offset))
            if not piece:
                raise PublishError(f"{what}: expected {descriptor.size} bytes, got {offset}")
            if offset == hashed:
                running.update(piece)
                hashed += len(piece)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{offset}-{offset + len(piece) - 1}",
            }
            try:
                answer = self._ask(
                    "PATCH", location, (202,), what, headers=headers, body=piece, again=False
                )
                location = answer.header("location") or location
                offset += len(piece)
            except (BrokenError, RefusedError) as error:
                broken += 1
                if broken == ATTEMPTS or (isinstance(error, RefusedError) and not error.retryable):
                    raise
                location, offset = self._where(location, what)
                offset = min(offset, hashed)
            progress(str(descriptor.digest), offset, descriptor.size)
        if running.hexdigest() != descriptor.digest.hex:
            raise PublishError(
                f"store: expected blob {descriptor.digest}, got other bytes",
                hint="`minid verify --contents --repair`",
            )
        parts = urlsplit(location)
        query = f"{parts.query}&digest={descriptor.digest}".lstrip("&")
        done = self._ask("PUT", urlunsplit(parts._replace(query=query)), (201,), what, body=b"")
        named = done.header("docker-content-digest")
        if named and named != str(descriptor.digest):
            raise PublishError(
                f"{self._name}: expected {descriptor.digest}, got {named[:80]!r} for it"
            )

    def _where(self, location: str, what: str) -> tuple[str, int]:
        """Where an upload goes on, and how many bytes of it the registry has."""
        answer = self._ask("GET", location, (204,), what)
        found = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.header("range"))
        # `0-0` is what some say of nothing at all: a byte sent twice is refused, so begin anew.
        end = int(found[1]) + 1 if found and int(found[1]) else 0
        if not end:
            answer = self._ask("POST", f"{self._path}/blobs/uploads/", (202,), what)
        return answer.header("location") or location, end

    # pulling

    def manifest(self, reference: str) -> tuple[bytes, str]:
        """A manifest's bytes and media type; PublishError where they are not those of the digest
        that was asked for or that the registry names."""
        headers = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}
        answer = self._ask(
            "GET",
            f"{self._path}/manifests/{reference}",
            (200,),
            f"manifest {reference}",
            headers=headers,
        )
        named = answer.header("docker-content-digest")
        wanted = reference if reference.startswith("sha256:") else named
        found = str(Digest.of(answer.body))
        if wanted.startswith("sha256:") and found != wanted:
            raise PublishError(f"{self._name}: expected manifest {wanted}, got bytes of {found}")
        return answer.body, answer.header("content-type").partition(";")[0].strip()

    def blob(
        self, digest: Digest, size: int, progress: Progress = lambda *_: None
    ) -> Iterator[bytes]:
        """A blob's bytes, which the caller hashes; begun again where the connection breaks.
        PublishError where there are more than `size`."""
        got = broken = 0
        while True:
            try:
                with self._connection.stream(
                    f"{self._path}/blobs/{digest}",
                    what=f"blob {digest.short}",
                    scope=self._scope,
                    start=got,
                ) as pieces:
                    for piece in pieces:
                        got += len(piece)
                        if got > size:
                            raise PublishError(f"blob {digest}: expected {size} bytes, got more")
                        progress(str(digest), got, size)
                        yield piece
                if got == size:
                    return
                raise BrokenError(f"blob {digest}: expected {size} bytes, got {got}")
            except BrokenError:
                broken += 1
                if broken == ATTEMPTS:
                    raise
