"""Archives of images in a folder, each with the documents and the signature that lie beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from minid.config import Publishing
from minid.formats.digest import Digest
from minid.host.files import sync_folder, write_file, write_stream
from minid.host.signing import SUFFIXES

Beside = Callable[[Path, Digest], Mapping[str, bytes]]
"""Makes the files to lie beside an archive with that digest, by what their names have instead of
`.tar.gz`."""

_PACKED, _PLAIN = ".tar.gz", ".tar"
BILL, PROVENANCE = ".spdx.json", ".provenance.json"
_DOCUMENTS = (BILL, PROVENANCE)
_SIGNATURES = tuple(packing + kind for packing in (_PACKED, _PLAIN) for kind in SUFFIXES.values())


def no_files(_archive: Path, _digest: Digest) -> Mapping[str, bytes]:
    """Of an archive that lies alone."""
    return {}


def companion_path(archive: Path, suffix: str) -> Path:
    """`nginx_1.26.3-image.tar.gz` → `nginx_1.26.3-image.spdx.json`."""
    stem = archive.name.removesuffix(_PACKED).removesuffix(_PLAIN)
    return archive.with_name(stem + suffix)


def packing(archive: Path) -> str:
    """What a signature's suffix follows: `.tar.gz`, or `.tar`."""
    return _PACKED if archive.name.endswith(_PACKED) else _PLAIN


def is_exported(archive: Path, publishing: Publishing) -> bool:
    """Whether an archive and all that is to lie beside it are there."""
    documents = _DOCUMENTS if publishing.attest else ()
    signed = not publishing.sign.key or any(
        companion_path(archive, suffix).is_file() for suffix in _SIGNATURES
    )
    files = [archive, *(companion_path(archive, suffix) for suffix in documents)]
    return signed and all(path.is_file() for path in files)


def write_export(archive: Path, chunks: Iterable[bytes], beside: Beside) -> None:
    """Write an archive, and then what lies beside it; each file appears whole or not at all.

    What lay there goes just before the new archive comes: documents and signatures are missing for
    a moment, or until the next build where minid is killed in it, and are never those of another
    archive. OSError passes through.
    """
    running = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in chunks:
            running.update(chunk)
            yield chunk
        _remove_companions(archive)  # the archive gets its name next

    write_stream(archive, hashed())
    for suffix, data in beside(archive, Digest(running.hexdigest())).items():
        write_file(companion_path(archive, suffix), data)


def remove_export(archive: Path) -> None:
    """Remove an archive, after what lies beside it. OSError passes through."""
    _remove_companions(archive)
    archive.unlink(missing_ok=True)


def _remove_companions(archive: Path) -> None:
    if not archive.parent.is_dir():
        return
    for suffix in (*_DOCUMENTS, *_SIGNATURES):
        companion_path(archive, suffix).unlink(missing_ok=True)
    sync_folder(archive.parent)
