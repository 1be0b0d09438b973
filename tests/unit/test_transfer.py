from __future__ import annotations

import os

import pytest

from minid.config import Fetching
from minid.errors import FetchError
from minid.host.http import AbsentError
from minid.host.transfer import transfer
from tests.support.lying_server import LyingServer, body

LIMITS = Fetching(max_bytes=1000)


def take(url):
    got, steps = bytearray(), []
    transfer(url, got.extend, LIMITS, progress=lambda *step: steps.append(step))
    return bytes(got), steps


@pytest.mark.parametrize("form", ["file:{}", "file://{}", "file://localhost{}"])
def test_local_files(tmp_path, form):
    (tmp_path / "a b").write_bytes(b"bytes")
    assert take(form.format(str(tmp_path / "a%20b"))) == (b"bytes", [(5, 5)])


def test_web_files():
    with LyingServer({"/f": body(b"bytes")}) as server:
        assert take(server.url("/f")) == (b"bytes", [(5, 5)])


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for name in ("nothing", "file/below"):
        with pytest.raises(AbsentError):
            take(f"file:{tmp_path}/{name}")


@pytest.mark.parametrize(
    "url", ["file:relative", "file://host/x", "file:", "file:/a%00b", "/etc/x"]
)
def test_what_is_no_place(url):
    with pytest.raises(FetchError) as caught:
        take(url)
    assert not caught.value.retryable


def test_too_large(tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 1001)
    with pytest.raises(FetchError, match="at most 1000 bytes"):
        take(f"file:{tmp_path}/f")


def test_only_regular_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "folder"):
        with pytest.raises(FetchError, match="a regular file"):
            take(f"file:{tmp_path}/{name}")
