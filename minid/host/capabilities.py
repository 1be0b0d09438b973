"""The capabilities that a service gives its user (AmbientCapabilities=), and who inherits them.

minid's unit gives two, for newuidmap. A program that is started would have them, too, and most of
what minid starts reads bytes from outside.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_PR_CAP_AMBIENT = 47
_IS_SET, _RAISE, _CLEAR_ALL = 1, 2, 4


def ambient_capabilities() -> tuple[int, ...]:
    """The numbers of those that programs started by this thread inherit; none as root."""
    if os.geteuid() == 0:
        return ()
    found = []
    for number in range(64):
        answer = _prctl(_IS_SET, number)
        if answer < 0:
            break
        if answer:
            found.append(number)
    return tuple(found)


@contextmanager
def capabilities_withheld() -> Iterator[None]:
    """What this thread starts meanwhile inherits none. Other threads are not concerned: the kernel
    keeps the set for each."""
    held = ambient_capabilities()
    if held:
        _prctl(_CLEAR_ALL, 0)
    try:
        yield
    finally:
        for number in held:
            _prctl(_RAISE, number)


def _prctl(operation: int, number: int) -> int:
    import ctypes

    answer: int = ctypes.CDLL(None).prctl(_PR_CAP_AMBIENT, operation, number, 0, 0)
    return answer
