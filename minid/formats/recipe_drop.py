"""Lines taken out of a recipe's [rootfs]; all else stays as it was written."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

_TABLES = ("directories", "files", "edits")


def drop_paths(
    text: str, gone: Callable[[str], bool], tables: Collection[str] = (*_TABLES, "links")
) -> str:
    """The text of a recipe without the lines of `tables` for whose path `gone` is true."""
    import tomlkit

    document = tomlkit.parse(text)
    if "rootfs" not in document:
        return text
    rootfs: Any = document["rootfs"]
    for name in _TABLES:
        if name in tables and name in rootfs:
            found = rootfs[name]
            for number in reversed(range(len(found))):
                if gone(str(found[number]["path"])):
                    del found[number]
            if not len(found):
                del rootfs[name]
    if "links" in tables and "links" in rootfs:
        links = rootfs["links"]
        for path in [path for path in links if gone(str(path))]:
            del links[path]
        if not len(links):
            del rootfs["links"]
    return tomlkit.dumps(document)
