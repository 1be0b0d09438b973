"""gpgv's status lines, as they are documented and as they were seen."""

from __future__ import annotations

import os

import pytest

from minid.host.gpgv import Signature, parse_status

ALICE = "BA5473A2B0587B07FB27CF2D216094DFD0CB81EF"
SUBKEY = "0" * 40
VALID = f"VALIDSIG {ALICE} 2026-04-07 1775566209 0 4 0 1 10 00 {ALICE}"


def status(*lines: str) -> bytes:
    return "".join(f"[GNUPG:] {line}\n" for line in lines).encode()


def test_good_and_its_facts():
    lines = status("NEWSIG a@b", f"KEY_CONSIDERED {ALICE} 0", f"GOODSIG {ALICE[-16:]} A B", VALID)
    assert parse_status(lines) == (
        Signature("good", ALICE[-16:], ALICE, ALICE, 1, 10, made=1775566209),
    )


def test_subkey_and_text():
    line = f"VALIDSIG {SUBKEY} 2026-04-07 1 0 4 0 22 2 01 {ALICE}"
    (found,) = parse_status(status("NEWSIG", "GOODSIG 1 a", line))
    assert (found.fingerprint, found.primary, found.text) == (SUBKEY, ALICE, True)
    assert (found.key_algorithm, found.hash_algorithm) == (22, 2)


@pytest.mark.parametrize(
    ("line", "result", "key"),
    [
        ("BADSIG 216094DFD0CB81EF OpenSSL", "bad", "216094DFD0CB81EF"),
        (f"ERRSIG 216094DFD0CB81EF 1 10 00 1775566209 9 {ALICE}", "no-key", ALICE),
        ("ERRSIG 216094DFD0CB81EF 1 10 00 1775566209 9 -", "no-key", "216094DFD0CB81EF"),
        ("ERRSIG 216094DFD0CB81EF 1 10 00 1775566209 9", "no-key", "216094DFD0CB81EF"),
        ("ERRSIG 216094DFD0CB81EF 1 1 00 1775566209 5 -", "error", "216094DFD0CB81EF"),
        ("ERRSIG", "error", ""),
    ],
)
def test_what_does_not_hold(line: str, result: str, key: str):
    (found,) = parse_status(status("NEWSIG", line))
    assert (found.result, found.key, found.fingerprint) == (result, key, "")


@pytest.mark.parametrize(
    ("word", "result"),
    [("EXPSIG", "expired"), ("EXPKEYSIG", "expired-key"), ("REVKEYSIG", "revoked-key")],
)
def test_what_holds_with_a_but(word: str, result: str):
    (found,) = parse_status(status("NEWSIG", "KEYEXPIRED 1", f"{word} 1 a", VALID))
    assert (found.result, found.primary) == (result, ALICE)


def test_two_signatures():
    lines = status(
        "NEWSIG", "ERRSIG 1 1 10 00 1 9 -", "NO_PUBKEY 1", "NEWSIG", "GOODSIG 2 b", VALID
    )
    assert [found.result for found in parse_status(lines)] == ["no-key", "good"]
    without_heads = status("GOODSIG 2 b", VALID, "BADSIG 1 a")
    assert [found.result for found in parse_status(without_heads)] == ["good", "bad"]


@pytest.mark.parametrize(
    "lines",
    [
        ("GOODSIG 1 a",),
        ("GOODSIG 1 a", "VALIDSIG"),
        ("GOODSIG 1 a", f"VALIDSIG {ALICE} x x x x x x x x {ALICE}"),
        ("GOODSIG 1 a", "NEWSIG", VALID),
    ],
)
def test_good_without_a_proof_is_none(lines: tuple[str, ...]):
    assert [found.result for found in parse_status(status("NEWSIG", *lines))] == ["error"]


def test_only_lines_with_the_prefix_count():
    text = b"gpgv: Good\nGOODSIG 1 a\n [GNUPG:] GOODSIG 1 a\n[GNUPG:]GOODSIG 1 a\n"
    assert parse_status(text + status("NEWSIG", "NODATA 4", VALID)) == ()
    one_line = status(f"BADSIG 1 evil%0A[GNUPG:] GOODSIG 1 a\r[GNUPG:] {VALID}")
    assert [found.result for found in parse_status(one_line)] == ["bad"]
    other_breaks = "[GNUPG:] BADSIG 1 a\u2028[GNUPG:] GOODSIG 1 a\x0b\x0c\x1c\n"
    assert [found.result for found in parse_status(other_breaks.encode())] == ["bad"]


def test_any_bytes():
    assert parse_status(b"") == ()
    assert parse_status(os.urandom(10_000)) == ()
    assert parse_status(b"[GNUPG:] \xff\n[GNUPG:] \n") == ()
