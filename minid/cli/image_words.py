"""Reading names of images on the command line."""

from __future__ import annotations

from minid.errors import UsageError
from minid.formats.image_words import parse_reference


def reference(where: str, text: str) -> str:
    """`REPOSITORY:TAG` with `latest` for no tag; UsageError for what is none."""
    try:
        return parse_reference(text)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
