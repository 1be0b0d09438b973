"""Unix sockets whose paths are longer than their addresses may be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_ADDRESS_BYTES = 107  # sun_path without its closing zero, unix(7)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address that stands for `path` while the context is open; OSError where its folder is not
    there. A file name of more than about 80 bytes cannot be helped."""
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
