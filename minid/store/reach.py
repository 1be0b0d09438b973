"""Which blobs a row of the records stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from minid.formats.digest import Digest

# `archive` is not among what a result needs: it says where it came from.
_ONE = ("tree", "report", "manifest", "config")


def blobs_of(row: Mapping[str, object]) -> tuple[Digest, ...]:
    """The blobs that a stage's output or the record of an image names, each once.

    ValueError for a row that minid did not write.
    """
    return tuple(dict.fromkeys(Digest.parse(text) for text in _names(row)))


def _names(row: Mapping[str, object]) -> Iterator[str]:
    yield from (str(row[key]) for key in _ONE if row.get(key))
    yield from _texts(row.get("blobs"))
    if isinstance(row.get("diff_id"), str):  # a layer
        yield from (str(row["diff_id"]), str(row["digest"]))
    layers = row.get("layers")
    for layer in layers if isinstance(layers, list) else ():
        yield from (str(layer["diff_id"]), str(layer["digest"]))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, list):
        yield from (str(item) for item in value)
