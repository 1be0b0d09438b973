"""What is decided about archives that changed, and about downloads that are none."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from minid.errors import HostError
from minid.formats.digest import Digest
from minid.formats.tar import TarWriter
from minid.model import Entry
from minid.upstream.reroll import decide_reroll, refuse_archive
from minid.upstream.values import Verdict

OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
SIGNED = Verdict("good", "signed by A", ("A",))
BY_LIST = Verdict("good", "the list states the digest")
BAD = Verdict("bad", "the signature is bad")


def tar() -> bytes:
    pieces: list[bytes] = []
    writer = TarWriter(pieces.append)
    writer.add(Entry("x-1.0", "directory", 0o755, 0))
    writer.close()
    return b"".join(pieces)


@pytest.mark.parametrize("verdict", [SIGNED, BY_LIST, BAD])
def test_28_same_tar_is_a_note(verdict: Verdict):
    decided = decide_reroll("recompressed", verdict, "1.0", OLD, NEW)
    assert (decided.action, decided.event.kind) == ("note", "recompressed")


@pytest.mark.parametrize(
    ("verdict", "action"),
    [
        (SIGNED, "hold"),
        (BY_LIST, "alert"),
        (BAD, "alert"),
        (Verdict("missing", "no signature yet"), "alert"),
        (Verdict("hold", "one of two", ("A",)), "alert"),
    ],
)
def test_28_other_bytes(verdict: Verdict, action: str):
    decided = decide_reroll("rerolled", verdict, "1.0", OLD, NEW)
    assert (decided.action, decided.event.kind) == (action, "rerolled")
    facts = dict(decided.event.detail)
    assert (facts["version"], facts["old"], facts["new"]) == ("1.0", str(OLD), str(NEW))
    assert facts.get("signers") == ("A" if action == "hold" else None)


@pytest.mark.parametrize("data", [tar(), gzip.compress(tar()), lzma.compress(tar()), b"BZh91AY"])
def test_archives_may_pass(data: bytes, tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(data)
    assert refuse_archive(path, "1.0", Digest.of(data), {OLD: "0.9"}) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<!DOCTYPE html><title>Not found</title>", "a web page"),
        (b"\n  <html>" + b" " * 1000, "a web page"),
        (b"", "empty"),
        (b"Not found\n", "tar header"),
        (b"x" * 10_000, "tar header"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_30_wrong_magic_is_refused(data: bytes, reason: str, tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(data)
    verdict = refuse_archive(path, "1.0", Digest.of(data), {})
    assert verdict is not None
    assert verdict.status == "bad"
    assert reason in verdict.reason


def test_30_archive_of_another_version_is_refused(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(tar()))
    digest = Digest.of(path.read_bytes())
    verdict = refuse_archive(path, "9.9.9", digest, {digest: "1.0"})
    assert verdict == Verdict("bad", "expected a new archive, got that of 1.0")
    assert refuse_archive(path, "1.0", digest, {digest: "1.0"}) is None


def test_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(HostError, match="none"):
        refuse_archive(tmp_path / "none", "1.0", NEW, {})
