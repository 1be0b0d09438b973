"""A value that one thread will have and others wait for.

What `concurrent.futures` has, without the modules that it loads: an edit of an image is to be there
sooner than those are.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Promise(Generic[T]):
    """Kept or broken once."""

    def __init__(self) -> None:
        self._settled = threading.Event()
        self._values: list[T] = []
        self._error: BaseException | None = None

    def keep(self, value: T) -> None:
        """Hand the value to all who wait, now and later."""
        self._values.append(value)
        self._settled.set()

    def fail(self, error: BaseException) -> None:
        """Have all who wait get the error instead."""
        self._error = error
        self._settled.set()

    def result(self) -> T:
        """The value, as soon as it is there; raises the error of a promise that was broken."""
        self._settled.wait()
        if self._error is not None:
            raise self._error
        return self._values[0]
