"""Archives of objects in an environment: what a link may take code from without leaving a name."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path

# Where compilers look: of Debian with its triplets, of others, and of gcc's own libraries.
_PLACES = (
    "usr/lib/*.a",
    "usr/lib/*/*.a",
    "usr/lib/musl/lib/*.a",
    "usr/lib/gcc/*/*/*.a",
    "usr/lib64/*.a",
    "usr/local/lib/*.a",
)
_MOST = 20_000


def find_archives(root: Path) -> list[str]:
    """The image paths of the `*.a` where an environment's compilers look for libraries, sorted; no
    more than 20,000."""
    found = chain.from_iterable(root.glob(pattern) for pattern in _PLACES)
    files = (path for path in islice(found, _MOST) if not path.is_symlink())
    return sorted({path.relative_to(root).as_posix() for path in files})
