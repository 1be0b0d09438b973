"""Digests, lists and minisign signatures of a release; what all ways together come to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from minisign import KeyPair

from minid.errors import FetchError
from minid.formats.digest import Digest
from minid.formats.url import refusal
from minid.host.gpgv import Signature
from minid.host.http import AbsentError, StatusError
from minid.recipe_reader import parse_recipe
from minid.upstream.openpgp import Pinned, judge_signatures
from minid.upstream.values import DigestList, Minisign, OpenPgp, Verdict, Verify
from minid.upstream.verify import verify_release
from minid.upstream.verify_options import read_verify

ARCHIVE = b"an archive"
DIGEST = Digest.of(ARCHIVE)
URL = "https://example.org/x-1.0.tar.gz"
SUMS = "https://example.org/SHA256SUMS"
BY_LIST = Verify(DigestList(SUMS))
PAIR = KeyPair.generate()
KEY = PAIR.public_key.to_base64().decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x-1.0.tar.gz").write_bytes(ARCHIVE)
    return tmp_path


def verify(
    options: Verify,
    folder: Path,
    files: Mapping[str, bytes] | None = None,
    *,
    url: str = URL,
    stated: str = "",
) -> Verdict:
    """The verdict, with `files` on offer and all else answered with 404."""

    async def fetch(address: str, max_bytes: int) -> bytes:
        if address not in (files or {}):
            raise AbsentError(address, 404)
        return (files or {})[address]

    archive = folder / "x-1.0.tar.gz"
    return asyncio.run(verify_release(options, archive, DIGEST, url, "1.0", folder, stated, fetch))


def signed(data: bytes = ARCHIVE, comment: str = "file:x-1.0.tar.gz") -> bytes:
    return bytes(PAIR.secret_key.sign(data, trusted_comment=comment))


# What the recipe says.


RECIPE = """
[source]
version = "1.0"
url = "https://example.org/x-{version}.tar.gz"
sha256 = "%s"
[track]
from = "index"
url = "https://example.org/"
match = 'x-(?P<version>[0-9.]+)\\.tar\\.gz'
%s
[build]
steps = ["make"]
"""


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", Verify()),
        ("verify = {unsigned = true}", Verify(unsigned=True)),
        (f'verify = {{sha256 = "{SUMS}"}}', BY_LIST),
        (
            f"verify = {{sha256 = {{url = \"{SUMS}\", match = 'x .*'}}}}",
            Verify(DigestList(SUMS, "x .*")),
        ),
        ('verify = {sha256 = {field = "source.sha256"}}', Verify(digest_field="source.sha256")),
        (
            'verify = {openpgp = {keys = ["a.asc"], sig = "https://h/s", need = 2, '
            'allow = ["sha1"]}}',
            Verify(openpgp=OpenPgp(("a.asc",), "https://h/s", 2, ("sha1",))),
        ),
        (
            f'verify = {{openpgp = {{keys = ["a.asc"]}}, minisign = {{key = "{KEY}"}}}}',
            Verify(openpgp=OpenPgp(("a.asc",)), minisign=Minisign(KEY)),
        ),
    ],
)
def test_verify_tables(table: str, expected: Verify, tmp_path: Path):
    text = RECIPE % (DIGEST.hex, table)
    recipe = parse_recipe(text.encode(), tmp_path / "x.toml")
    assert read_verify(recipe.track.options) == expected


def test_nothing_said_is_held_and_unsigned_is_good(folder: Path):
    assert verify(Verify(), folder).status == "hold"
    assert verify(Verify(unsigned=True), folder).status == "good"


# Digests.


@pytest.mark.parametrize(
    ("stated", "status"),
    [
        (DIGEST.hex, "good"),
        (DIGEST.hex.upper(), "good"),
        ("0" * 64, "bad"),
        ("", "missing"),
        ("d41d8cd98f00b204e9800998ecf8427e", "hold"),
    ],
)
def test_digest_on_the_page(stated: str, status: str, folder: Path):
    assert verify(Verify(digest_field="sha256"), folder, stated=stated).status == status


def test_digest_on_the_page_counts_unasked(folder: Path):
    assert verify(Verify(unsigned=True), folder, stated="0" * 64).status == "bad"
    assert verify(Verify(), folder, stated=DIGEST.hex).status == "hold"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (f"{DIGEST.hex}  x-1.0.tar.gz\n", "good"),
        (f"{'0' * 64}  x-1.0.tar.gz\n", "bad"),
        (f"{DIGEST.hex}  x-1.0.tar.gz\n{'0' * 64}  x-1.0.tar.gz\n", "bad"),
        (f"{'0' * 64}  x-0.9.tar.gz\n", "missing"),
        ("<!doctype html><p>" + DIGEST.hex, "missing"),
        ("x" * (1 << 20), "missing"),
        ("x" * (1 << 20) + "\n", "bad"),
    ],
)
def test_digest_list(text: str, status: str, folder: Path):
    assert verify(BY_LIST, folder, {SUMS: text.encode()}).status == status


def test_digest_list_that_is_not_there_yet(folder: Path):
    verdict = verify(BY_LIST, folder)
    assert (verdict.status, SUMS in verdict.reason) == ("missing", True)


def test_version_in_the_address_of_the_list(folder: Path):
    options = Verify(DigestList("https://example.org/{major}/{version}.sha256"))
    files = {"https://example.org/1/1.0.sha256": DIGEST.hex.encode()}
    assert verify(options, folder, files).status == "good"


def test_pattern_or_name_that_cannot_be_used_is_held(folder: Path):
    files = {SUMS: f"{DIGEST.hex}  x-1.0.tar.gz".encode()}
    assert verify(Verify(DigestList(SUMS, "(")), folder, files).status == "hold"
    for url in ("https://example.org/a%0Ab.tar.gz", "https://example.org/"):
        assert verify(BY_LIST, folder, files, url=url).status == "hold"


def ask(error: FetchError, folder: Path) -> Verdict:
    async def fetch(address: str, max_bytes: int) -> bytes:
        raise error

    return asyncio.run(verify_release(BY_LIST, folder, DIGEST, URL, "1.0", folder, "", fetch))


@pytest.mark.parametrize("error", [FetchError("reset"), StatusError(SUMS, 403)])
def test_other_network_errors_pass(error: FetchError, folder: Path):
    with pytest.raises(FetchError) as caught:
        ask(error, folder)
    assert caught.value is error


def test_what_no_second_try_changes_is_held(folder: Path):
    verdict = ask(refusal(SUMS, "at most 9 bytes", "more"), folder)
    assert (verdict.status, "at most 9 bytes" in verdict.reason) == ("hold", True)


# minisign.


def test_minisign_by_key_and_by_file(folder: Path):
    files = {f"{URL}.minisig": signed()}
    (folder / "x.pub").write_text(f"untrusted comment: key\n{KEY}\n")
    for key in (KEY, "x.pub"):
        verdict = verify(Verify(minisign=Minisign(key)), folder, files)
        assert (verdict.status, verdict.signers) == ("good", (KEY,))


@pytest.mark.parametrize(
    ("signature", "status"),
    [
        (signed(b"other"), "bad"),
        (signed(comment="file:x-0.9.tar.gz"), "hold"),
        (signed(comment="file:evil\tfile:x-1.0.tar.gz"), "hold"),
        (signed(comment="timestamp:1"), "good"),
        (bytes(KeyPair.generate().secret_key.sign(ARCHIVE)), "bad"),
        (b"", "bad"),
        (b"x" * (10 << 20), "bad"),
        (b"<html>", "missing"),
    ],
)
def test_minisign_verdicts(signature: bytes, status: str, folder: Path):
    options = Verify(minisign=Minisign(KEY))
    assert verify(options, folder, {f"{URL}.minisig": signature}).status == status


def test_minisign_key_that_the_recipe_lacks_is_held(folder: Path, tmp_path: Path):
    files = {f"{URL}.minisig": signed()}
    (folder / "bad.pub").write_text("no key")
    outside = tmp_path.parent / f"{tmp_path.name}.pub"
    outside.write_text(KEY)
    (folder / "link.pub").symlink_to(outside)
    for key in ("none.pub", "bad.pub", "link.pub", ".."):
        verdict = verify(Verify(minisign=Minisign(key)), folder, files)
        assert verdict.status == "hold", key


def test_signature_beside_an_archive_with_a_query(folder: Path):
    files = {"https://example.org/x-1.0.tar.gz.minisig?a=b": signed()}
    url = "https://example.org/x-1.0.tar.gz?a=b#c"
    assert verify(Verify(minisign=Minisign(KEY)), folder, files, url=url).status == "good"


def test_the_worst_way_decides(folder: Path):
    both = Verify(DigestList(SUMS), minisign=Minisign(KEY))
    good = {SUMS: f"{DIGEST.hex}  x-1.0.tar.gz".encode(), f"{URL}.minisig": signed()}
    assert verify(both, folder, good).status == "good"
    assert verify(both, folder, {SUMS: good[SUMS]}).status == "missing"
    held = {f"{URL}.minisig": signed(comment="file:y")}
    assert verify(both, folder, held).status == "hold"
    assert verify(both, folder, {**held, SUMS: b"0" * 64}).status == "bad"


# What gpgv's words are worth; real signatures are in tests/integration.


def test_signature_whose_key_is_not_in_the_files_is_no_proof():
    stranger = Signature("good", "F" * 16, "F" * 40, "F" * 40, 1, 10)
    pinned = Pinned(frozenset({"F" * 40}), b"", {})
    assert judge_signatures([stranger], pinned, OpenPgp(())).status == "hold"
    assert judge_signatures([], pinned, OpenPgp(())).status == "bad"
    nobody = Pinned(frozenset({"A" * 40}), b"", {})
    assert judge_signatures([stranger], nobody, OpenPgp(())).status == "bad"
