"""How far blobs are on their way, for a person who watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minid.cli.words import format_size, is_terminal

_EVERY_S = 0.1


@contextmanager
def transfer_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function `(digest, bytes so far, bytes)` that redraws one line; silent in a pipe."""
    if quiet or not is_terminal():
        yield lambda *_: None
        return
    last = 0.0

    def show(digest: str, done: int, size: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY_S and done < size:
            return
        last = now
        text = f"{digest[7:19]}  {format_size(done)} of {format_size(size)}"
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
