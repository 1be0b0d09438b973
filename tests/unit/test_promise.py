"""Promises between the threads of a build."""

from __future__ import annotations

import threading

import pytest

from minid.line.promise import Promise


def test_all_who_wait_get_the_value() -> None:
    promise: Promise[int] = Promise()
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(promise.result())) for _ in range(3)]
    for thread in threads:
        thread.start()
    promise.keep(7)
    for thread in threads:
        thread.join(5)
    assert got == [7, 7, 7]
    assert promise.result() == 7


def test_a_broken_promise_raises_its_error_each_time() -> None:
    promise: Promise[None] = Promise()
    promise.fail(KeyError("lost"))
    for _ in range(2):
        with pytest.raises(KeyError, match="lost"):
            promise.result()
