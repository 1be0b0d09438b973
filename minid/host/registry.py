"""Pushing to and pulling from a registry (OCI Distribution Specification 1.1).

Blobs are sent in pieces, so that a connection which breaks goes on where the registry says it
stands. What was pushed is read back by its digest before anybody hears that it is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from minid.errors import PublishError
from minid.formats.digest import Digest
from minid.formats.image_archive import INDEXES, MANIFESTS
from minid.formats.oci import Descriptor
from minid.host.registry_connection import ATTEMPTS, Connection, RefusedError
from minid.host.registry_wire import Answer, BrokenError

PIECE_BYTES = 8 << 20
_MAX_PIECE_BYTES = 64 << 20
_MAX_BROKEN = 100
_MAX_PAGES = 20
Read = Callable[[int, int], bytes]
"""`read(offset, size)` of a blob."""
Progress = Callable[[str, int, int], object]
"""`progress(digest, bytes so far, bytes)`."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: how many blobs were sent, and how many were there. `subject` is what the
    registry says that the manifest refers to, where it keeps an index of that itself."""

    sent: int
    present: int
    subject: str = ""


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
        *,
        beside: Sequence[str] = (),
    ) -> Pushed:
        """Send what is missing of an image, then its manifest under each tag, and read that back.

        What repositories `beside` this one may have is mounted from there instead. PublishError
        where the registry refuses, answers another digest, or a blob's bytes are not those of its
        name; no tag points at anything incomplete then.
        """
        sent = 0
        for descriptor in blobs:
            if self.has_blob(descriptor.digest) or self._mount(descriptor.digest, beside):
                progress(str(descriptor.digest), descriptor.size, descriptor.size)
            else:
                self._send_blob(descriptor, read(descriptor.digest), progress)
                sent += 1
        subject = self.put_manifest(manifest, media_type, tags)
        return Pushed(sent, len(blobs) - sent, subject)

    def put_manifest(self, data: bytes, media_type: str, tags: Sequence[str]) -> str:
        """Put a manifest or index under each tag (without any: under its digest) and read it back;
        the subject that the registry took note of, or empty."""
        digest, subject = Digest.of(data), ""
        for tag in tags or (str(digest),):
            subject = self._put_manifest(data, media_type, tag, digest)
        got, _ = self.manifest(str(digest))
        if got != data:
            raise PublishError(f"{self._name}: expected manifest {digest} back, got other bytes")
        return subject

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has a blob."""
        answer = self._ask("HEAD", f"{self._path}/blobs/{digest}", (200, 404, 307, 302), "blob")
        return answer.status != 404

    def _mount(self, digest: Digest, beside: Sequence[str]) -> bool:
        """Whether the registry took a blob from another of its repositories."""
        for source in beside:
            query = urlencode({"mount": str(digest), "from": source})
            try:
                # 202 is an upload that nobody goes on with: the registry forgets those.
                answer = self._connection.ask(
                    "POST",
                    f"{self._path}/blobs/uploads/?{query}",
                    (201, 202),
                    what=f"blob {digest.short}",
                    scope=f"{self._scope} repository:{source}:pull",
                )
            except RefusedError as error:
                if error.retryable:
                    raise
                continue
            if answer.status == 201 and self.has_blob(digest):
                return True
        return False

    def _put_manifest(self, data: bytes, media_type: str, tag: str, digest: Digest) -> str:
        headers = {"Content-Type": media_type}
        answer = self._ask(
            "PUT",
            f"{self._path}/manifests/{tag}",
            (201,),
            f"manifest {tag}",
            headers=headers,
            body=data,
        )
        self._expect_named(answer, digest)
        return answer.header("oci-subject")

    def _expect_named(self, answer: Answer, digest: Digest) -> None:
        named = answer.header("docker-content-digest")
        if named and named != str(digest):
            raise PublishError(f"{self._name}: expected {digest}, got {named[:80]!r} for it")

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
        location, least = self._begin(what)
        running, hashed, offset, broken, in_a_row = hashlib.sha256(), 0, 0, 0, 0
        while offset < descriptor.size:
            piece = read(offset, min(max(PIECE_BYTES, least), descriptor.size - offset))
            if not piece:
                raise PublishError(f"{what}: expected {descriptor.size} bytes, got {offset}")
            if offset == hashed:
                running.update(piece)
                hashed += len(piece)
            try:
                location = self._send_piece(location, offset, piece, what)
                offset, in_a_row = offset + len(piece), 0
            except (BrokenError, RefusedError) as error:
                broken, in_a_row = broken + 1, in_a_row + 1
                if in_a_row == ATTEMPTS or broken == _MAX_BROKEN:
                    raise
                self._connection.wait(error, in_a_row - 1)
                location, offset = self._where(location, what)
                offset = min(offset, hashed)
            progress(str(descriptor.digest), offset, descriptor.size)
        if running.hexdigest() != descriptor.digest.hex:
            raise PublishError(
                f"store: expected blob {descriptor.digest}, got other bytes",
                hint="`minid verify --contents --repair`",
            )
        self._finish(location, descriptor.digest, what)

    def _begin(self, what: str) -> tuple[str, int]:
        """Where an upload goes to, and how long its pieces must be at least."""
        answer = self._ask("POST", f"{self._path}/blobs/uploads/", (202,), what)
        found = re.fullmatch(r"\d{1,12}", answer.header("oci-chunk-min-length"), re.ASCII)
        return answer.header("location"), min(int(found[0]), _MAX_PIECE_BYTES) if found else 0

    def _send_piece(self, location: str, offset: int, piece: bytes, what: str) -> str:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{offset}-{offset + len(piece) - 1}",
        }
        answer = self._ask(
            "PATCH", location, (202,), what, headers=headers, body=piece, again=False
        )
        return answer.header("location") or location

    def _finish(self, location: str, digest: Digest, what: str) -> None:
        """End an upload; where the answer is lost, the registry is asked what it has."""
        parts = urlsplit(location)
        query = f"{parts.query}&digest={digest}".lstrip("&")
        url = urlunsplit(parts._replace(query=query))
        try:
            answer = self._ask("PUT", url, (201,), what, body=b"", again=False)
        except (BrokenError, RefusedError) as error:
            self._connection.wait(error, 0)
            if self.has_blob(digest):
                return
            answer = self._ask("PUT", url, (201,), what, body=b"")
        self._expect_named(answer, digest)

    def _where(self, location: str, what: str) -> tuple[str, int]:
        """Where an upload goes on, and how many bytes of it the registry has."""
        answer = self._ask("GET", location, (204,), what)
        found = re.fullmatch(r"(?:bytes=)?0-(\d{1,15})", answer.header("range"), re.ASCII)
        # `0-0` is what some say of nothing at all: a byte sent twice is refused, so begin anew.
        end = int(found[1]) + 1 if found and int(found[1]) else 0
        if not end:
            return self._begin(what)[0], 0
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

    def referrers(self, subject: Digest, artifact_type: str) -> Iterator[bytes]:
        """The pages of the registry's own index of what refers to a manifest; none at all where it
        keeps none. The type may be filtered for, or not."""
        query = urlencode({"artifactType": artifact_type})
        url = f"{self._path}/referrers/{subject}?{query}"
        for _ in range(_MAX_PAGES):
            answer = self._ask("GET", url, (200, 404), "referrers")
            if answer.status == 404:
                return
            yield answer.body
            following = re.match(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?', answer.header("link"))
            if following is None:
                return
            url = following[1]
        raise PublishError(f"{self._name}: expected at most {_MAX_PAGES} pages of referrers")

    def blob(
        self, digest: Digest, size: int, progress: Progress = lambda *_: None
    ) -> Iterator[bytes]:
        """A blob's bytes, which the caller hashes; gone on with where the connection breaks.
        PublishError where there are more than `size`."""
        got = broken = 0
        while True:
            try:
                with self._connection.stream(
                    f"{self._path}/blobs/{digest}",
                    size,
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
            except (BrokenError, RefusedError) as error:
                broken += 1
                if broken == ATTEMPTS:
                    raise
                self._connection.wait(error, broken - 1)
