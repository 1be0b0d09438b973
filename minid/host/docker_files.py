"""Files of an engine's container, by its archive interface: read one, lay some."""

from __future__ import annotations

import io
import posixpath
import tarfile
from contextlib import suppress
from typing import Any

from minid.errors import ImageError
from minid.formats.runtime_spec import resolve_user
from minid.host.container_settings import PlacedFile

_MAX_TEXT = 1 << 20


def place_files(container: Any, files: tuple[PlacedFile, ...]) -> None:  # noqa: ANN401
    """Lay files into a container that was created; the engine makes their folders."""
    if not files:
        return
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for file in files:
            member = tarfile.TarInfo(file.image_path.strip("/"))
            member.size, member.mode = len(file.data), file.mode
            uid, gid = find_ids(container, file.owner)
            if uid is None:
                wanted = "expected an owner of the image's passwd"
                raise ImageError(f"check: start: {wanted}, got {file.owner!r}")
            member.uid, member.gid = uid, gid
            tar.addfile(member, io.BytesIO(file.data))
    container.put_archive("/", out.getvalue())


def find_ids(container: Any, user: str) -> tuple[int | None, int]:  # noqa: ANN401
    """A user's and its group's number by the container's files; None where there is none."""
    try:
        found = resolve_user(user, read_text(container, "/etc/passwd"), "")
    except (ImageError, ValueError):
        return None, 0
    return found["uid"], found["gid"]


def read_text(container: Any, image_path: str, links: int = 8) -> str:  # noqa: ANN401
    """A small text file of a container, behind as many links; empty where there is none."""
    from docker.errors import NotFound

    try:
        pieces, _ = container.get_archive(image_path)
    except NotFound:
        return ""
    data = b""
    for piece in pieces:
        data += piece
        if len(data) > _MAX_TEXT:
            break
    with suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.issym() and links:
                target = posixpath.join(posixpath.dirname(image_path), member.linkname)
                return read_text(container, posixpath.normpath(target), links - 1)
            stream = tar.extractfile(member) if member.isreg() else None
            return stream.read(_MAX_TEXT).decode("utf-8", "replace") if stream else ""
    return ""
