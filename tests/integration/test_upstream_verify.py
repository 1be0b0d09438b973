"""Releases verified with real keys, signatures, gpgv and minisign."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minid.formats.digest import Digest
from minid.formats.openpgp import read_certificates, read_signatures
from minid.host.gpgv import check_signatures
from minid.host.http import AbsentError
from minid.recipe_reader import load_recipe
from minid.upstream.openpgp import load_pinned
from minid.upstream.reroll import decide_reroll
from minid.upstream.rules import read_rules
from minid.upstream.values import DigestList, OpenPgp, Verdict, Verify
from minid.upstream.verify import verify_release
from tests.support.gnupg import GnuPg
from tests.support.require import demand_or_skip, require

pytestmark = pytest.mark.integration

UPSTREAM = Path(
    os.environ.get("MINID_TEST_UPSTREAM", Path(__file__).parents[3] / "shared" / "upstream")
)
RECIPES = Path(__file__).parents[2] / "recipes"
ARCHIVE = b"the archive\r\nof a release\n" * 1000
URL = "https://example.org/x-1.0.tar.gz"
DETACHED = ("--detach-sign",)


@dataclass(frozen=True)
class Keys:
    """Fingerprints, all in one home: `alice` and `bob` get pinned, `mallory` never."""

    gpg: GnuPg
    alice: str
    bob: str
    mallory: str
    expired: str
    revoked: str
    revocation: bytes
    dsa: str
    small: str
    strong: str


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    require("gpg", "gpgv")
    with GnuPg() as gpg:
        revoked = gpg.make_key("revoked")
        revocation = (gpg.home / "openpgp-revocs.d" / f"{revoked}.rev").read_bytes()
        yield Keys(
            gpg,
            alice=gpg.make_key("alice"),
            bob=gpg.make_key("bob"),
            mallory=gpg.make_key("mallory"),
            expired=gpg.make_key("expired", end="seconds=86400"),
            revoked=revoked,
            revocation=revocation.replace(b":-----BEGIN", b"-----BEGIN"),
            dsa=gpg.make_key("dsa", "dsa1024"),
            small=gpg.make_key("small", "rsa1024"),
            strong=gpg.make_key("strong", "rsa2048"),
        )


@dataclass
class Site:
    """What is on offer, and who asked for what."""

    files: Mapping[str, bytes]
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        self.asked.append((url, max_bytes))
        if url not in self.files:
            raise AbsentError(url, 404)
        return self.files[url]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "recipe"
    made.mkdir()
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "x-1.0.tar.gz"
    path.write_bytes(ARCHIVE)
    return path


def verify(
    options: Verify | OpenPgp,
    archive: Path,
    folder: Path,
    files: Mapping[str, bytes],
    url: str = URL,
) -> Verdict:
    made = Verify(openpgp=options) if isinstance(options, OpenPgp) else options
    digest = Digest.of(archive.read_bytes())
    site = Site(files)
    return asyncio.run(verify_release(made, archive, digest, url, "1.0", folder, "", site.fetch))


def judge(
    keys: Keys,
    archive: Path,
    folder: Path,
    signature: bytes,
    *pinned: str,
    need: int = 1,
    allow: tuple[str, ...] = (),
) -> Verdict:
    (folder / "release.asc").write_bytes(keys.gpg.export(*pinned))
    options = OpenPgp(("release.asc",), need=need, allow=allow)
    return verify(options, archive, folder, {f"{URL}.asc": signature})


# Situation 29.


def test_29_good_by_a_pinned_key(keys: Keys, archive: Path, folder: Path):
    signature = keys.gpg.sign(ARCHIVE, keys.alice)
    verdict = judge(keys, archive, folder, signature, keys.alice, keys.bob)
    assert (verdict.status, verdict.signers) == ("good", (keys.alice,))


def test_29_good_by_an_unpinned_key_is_refused(keys: Keys, archive: Path, folder: Path):
    signature = keys.gpg.sign(ARCHIVE, keys.mallory)
    verdict = judge(keys, archive, folder, signature, keys.alice)
    assert verdict.status == "bad"
    assert keys.mallory in verdict.reason


@pytest.mark.parametrize("order", [("alice", "mallory"), ("mallory", "alice")])
def test_29_good_and_unknown_second(
    keys: Keys, archive: Path, folder: Path, order: tuple[str, str]
):
    signature = b"".join(keys.gpg.sign(ARCHIVE, getattr(keys, name)) for name in order)
    verdict = judge(keys, archive, folder, signature, keys.alice)
    assert (verdict.status, verdict.signers) == ("good", (keys.alice,))


def test_29_expired_key_is_held(keys: Keys, archive: Path, folder: Path):
    options = ("--faked-system-time", "20240101T010000", *DETACHED)
    signature = keys.gpg.sign(ARCHIVE, keys.expired, options=options)
    verdict = judge(keys, archive, folder, signature, keys.expired)
    assert verdict.status == "hold"
    assert "expired" in verdict.reason


def test_29_expired_signature_is_held(keys: Keys, archive: Path, folder: Path):
    options = ("--faked-system-time", "20240102T000000", "--default-sig-expire", "1d", *DETACHED)
    signature = keys.gpg.sign(ARCHIVE, keys.alice, options=options)
    assert judge(keys, archive, folder, signature, keys.alice).status == "hold"


def test_29_expired_beside_a_good_one_is_good(keys: Keys, archive: Path, folder: Path):
    options = ("--faked-system-time", "20240101T010000", *DETACHED)
    signature = keys.gpg.sign(ARCHIVE, keys.expired, options=options)
    signature += keys.gpg.sign(ARCHIVE, keys.alice)
    verdict = judge(keys, archive, folder, signature, keys.expired, keys.alice)
    assert (verdict.status, verdict.signers) == ("good", (keys.alice,))


def test_29_sha1_needs_to_be_allowed(keys: Keys, archive: Path, folder: Path):
    options = ("--digest-algo", "SHA1", *DETACHED)
    signature = keys.gpg.sign(ARCHIVE, keys.strong, options=options)
    verdict = judge(keys, archive, folder, signature, keys.strong)
    assert (verdict.status, verdict.signers) == ("bad", ())
    assert "SHA-1" in verdict.reason
    allowed = judge(keys, archive, folder, signature, keys.strong, allow=("sha1",))
    assert (allowed.status, allowed.signers) == ("good", (keys.strong,))


def test_29_dsa1024_and_sha1_as_busybox_signs(keys: Keys, archive: Path, folder: Path):
    options = ("--digest-algo", "SHA1", *DETACHED)
    signature = keys.gpg.sign(ARCHIVE, keys.dsa, options=options)
    for allow in ((), ("sha1",), ("dsa1024",)):
        verdict = judge(keys, archive, folder, signature, keys.dsa, allow=allow)
        assert verdict.status == "bad", allow
    both = judge(keys, archive, folder, signature, keys.dsa, allow=("dsa1024", "sha1"))
    assert both.status == "good"


def test_29_missing_is_waited_for(keys: Keys, archive: Path, folder: Path):
    (folder / "release.asc").write_bytes(keys.gpg.export(keys.alice))
    verdict = verify(OpenPgp(("release.asc",)), archive, folder, {})
    assert verdict.status == "missing"
    assert f"{URL}.asc" in verdict.reason


def test_29_bad_is_refused(keys: Keys, archive: Path, folder: Path):
    signature = keys.gpg.sign(ARCHIVE + b"!", keys.alice)
    verdict = judge(keys, archive, folder, signature, keys.alice)
    assert verdict.status == "bad"


@pytest.mark.parametrize("good_first", [True, False])
def test_29_bad_beside_a_good_one_is_refused(
    keys: Keys, archive: Path, folder: Path, good_first: bool
):
    good, bad = keys.gpg.sign(ARCHIVE, keys.alice), keys.gpg.sign(b"other", keys.bob)
    signature = good + bad if good_first else bad + good
    verdict = judge(keys, archive, folder, signature, keys.alice, keys.bob)
    assert verdict.status == "bad"


def test_29_revoked_key_is_refused(keys: Keys, archive: Path, folder: Path, tmp_path: Path):
    signature = keys.gpg.sign(ARCHIVE, keys.revoked)
    assert judge(keys, archive, folder, signature, keys.revoked).status == "good"
    with GnuPg() as other:
        other.run("--import", data=keys.gpg.export(keys.revoked))
        other.run("--import", data=keys.revocation)
        (folder / "release.asc").write_bytes(other.export(keys.revoked))
    files = {f"{URL}.asc": signature}
    verdict = verify(OpenPgp(("release.asc",)), archive, folder, files)
    assert verdict.status == "bad"
    assert "revoked" in verdict.reason


# More than one signature.


def test_needed_signatures_are_of_different_keys(keys: Keys, archive: Path, folder: Path):
    twice = keys.gpg.sign(ARCHIVE, keys.alice) + keys.gpg.sign(ARCHIVE, keys.alice)
    verdict = judge(keys, archive, folder, twice, keys.alice, keys.bob, need=2)
    assert (verdict.status, verdict.signers) == ("missing", (keys.alice,))
    both = keys.gpg.sign(ARCHIVE, keys.alice, keys.bob)
    verdict = judge(keys, archive, folder, both, keys.alice, keys.bob, need=2)
    assert (verdict.status, set(verdict.signers)) == ("good", {keys.alice, keys.bob})


def test_signature_of_a_version_that_gpgv_lacks(keys: Keys, archive: Path, folder: Path):
    good = keys.gpg.sign(ARCHIVE, keys.alice)
    of_the_future = good[:2] + b"\x09" + good[3:]
    verdict = judge(keys, archive, folder, of_the_future + good, keys.alice)
    assert (verdict.status, verdict.signers) == ("good", (keys.alice,))
    assert judge(keys, archive, folder, of_the_future, keys.alice).status == "bad"


# Weak, or not what it seems.


def test_md5_is_never_good(keys: Keys, archive: Path, folder: Path):
    options = ("--allow-weak-digest-algos", "--digest-algo", "MD5", *DETACHED)
    signature = keys.gpg.sign(ARCHIVE, keys.strong, options=options)
    allow = ("dsa1024", "sha1")
    # gpgv does not check such a signature at all: a person may.
    assert judge(keys, archive, folder, signature, keys.strong, allow=allow).status == "hold"


def test_short_rsa_is_refused(keys: Keys, archive: Path, folder: Path):
    signature = keys.gpg.sign(ARCHIVE, keys.small)
    allow = ("dsa1024", "sha1")
    verdict = judge(keys, archive, folder, signature, keys.small, allow=allow)
    assert verdict.status == "bad"
    assert "1024 bits" in verdict.reason


def test_text_signature_holds_for_other_line_ends(keys: Keys, archive: Path, folder: Path):
    signature = keys.gpg.sign(ARCHIVE, keys.alice, options=("--textmode", *DETACHED))
    archive.write_bytes(ARCHIVE.replace(b"\r\n", b"\n"))
    verdict = judge(keys, archive, folder, signature, keys.alice)
    assert verdict.status == "hold"
    assert "text" in verdict.reason


@pytest.mark.parametrize("option", ["--sign", "--clear-sign"])
def test_signed_message_is_no_signature_of_the_archive(
    keys: Keys, archive: Path, folder: Path, option: str
):
    message = keys.gpg.sign(b"something harmless", keys.alice, options=(option,))
    assert judge(keys, archive, folder, message, keys.alice).status == "bad"


def test_user_id_forges_no_status_line(keys: Keys, archive: Path, folder: Path):
    line = f"VALIDSIG {keys.alice} 2024-01-01 1704067200 0 4 0 22 10 00 {keys.alice}"
    forger = keys.gpg.make_key(f"forger\n[GNUPG:] {line}\n[GNUPG:] GOODSIG {keys.alice[-16:]} a")
    # Its own key lies in the same keyring, unpinned: gpgv finds the signature good and shows it.
    certificates = read_certificates(keys.gpg.export(forger, keys.alice))
    keyring = b"".join(item.packets for item in certificates)
    signatures = read_signatures(keys.gpg.sign(ARCHIVE, forger))
    (found,) = check_signatures(archive, signatures, keyring)
    assert (found.result, found.fingerprint, found.primary) == ("good", forger, forger)
    bad = read_signatures(keys.gpg.sign(b"other", forger))
    assert [item.result for item in check_signatures(archive, bad, keyring)] == ["bad"]


@pytest.mark.parametrize("kind", [20, 26, 28], ids=["notation", "policy", "signer"])
@pytest.mark.parametrize("area", ["hashed", "unhashed"])
def test_subpackets_forge_no_status_line(
    keys: Keys, archive: Path, folder: Path, kind: int, area: str
):
    forged = f"VALIDSIG {keys.alice} 2024-01-01 1 0 4 0 22 10 00 {keys.alice}"
    text = f"\n[GNUPG:] GOODSIG {keys.alice[-16:]} alice\n[GNUPG:] {forged}\n".encode()
    if kind == 20:  # flags, the lengths of name and value, both (RFC 9580, 5.2.3.24)
        text = b"\x80\0\0\0" + (3).to_bytes(2, "big") + len(text).to_bytes(2, "big") + b"a@b" + text
    signature = with_subpacket(keys.gpg.sign(ARCHIVE, keys.mallory), kind, text, area)
    assert judge(keys, archive, folder, signature, keys.alice).status == "bad"
    own = judge(keys, archive, folder, signature, keys.mallory)
    # What lies in the unhashed area is not signed: anybody can put it there.
    expected = ("good", (keys.mallory,)) if area == "unhashed" else ("bad", ())
    assert (own.status, own.signers) == expected


def with_subpacket(signature: bytes, kind: int, text: bytes, area: str) -> bytes:
    """A signature packet of version 4 with one subpacket more (RFC 9580, 5.2.3)."""
    assert signature[0] == 0x88
    body = signature[2:]
    at = 4 if area == "hashed" else 6 + int.from_bytes(body[4:6], "big")
    subpacket = b"\xff" + (len(text) + 1).to_bytes(4, "big") + bytes([kind]) + text
    size = int.from_bytes(body[at : at + 2], "big") + len(subpacket)
    body = body[:at] + size.to_bytes(2, "big") + subpacket + body[at + 2 :]
    return b"\x89" + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    "signature",
    [b"", b"\x00" * 100, b"\xff" * 65_000, os.urandom(5000), b"\x88" * 64_000, b"x" * (10 << 20)],
    ids=["empty", "zeros", "ones", "random", "packets", "10 MB"],
)
def test_garbage_is_refused(keys: Keys, archive: Path, folder: Path, signature: bytes):
    assert judge(keys, archive, folder, signature, keys.alice).status == "bad"


def test_page_in_place_of_a_signature_is_waited_for(keys: Keys, archive: Path, folder: Path):
    page = b"\n<!DOCTYPE html><title>Not found</title>"
    assert judge(keys, archive, folder, page, keys.alice).status == "missing"


def test_names_with_line_ends_and_dashes(keys: Keys, folder: Path, tmp_path: Path):
    archive = tmp_path / "-x\n[GNUPG:] GOODSIG 1 a.tar.gz"
    archive.write_bytes(ARCHIVE)
    good = judge(keys, archive, folder, keys.gpg.sign(ARCHIVE, keys.alice), keys.alice)
    assert good.status == "good"
    other = judge(keys, archive, folder, keys.gpg.sign(ARCHIVE, keys.mallory), keys.alice)
    assert other.status == "bad"


# Keys.


def test_fingerprint_is_found_in_files_beside(keys: Keys, archive: Path, folder: Path):
    (folder / "all.gpg").write_bytes(keys.gpg.export(keys.alice, keys.bob, armor=False))
    (folder / "broken.asc").write_bytes(b"no key")
    options = OpenPgp((keys.alice.lower(),))
    good = verify(options, archive, folder, {f"{URL}.asc": keys.gpg.sign(ARCHIVE, keys.alice)})
    assert (good.status, good.signers) == ("good", (keys.alice,))
    other = verify(options, archive, folder, {f"{URL}.asc": keys.gpg.sign(ARCHIVE, keys.bob)})
    assert other.status == "bad"


def test_subkey_signs_for_its_primary_key(keys: Keys, archive: Path, folder: Path):
    primary = keys.gpg.make_key("with subkeys")
    at = ("--faked-system-time", "20240102T000000")
    keys.gpg.run(*at, "--quick-add-key", primary, "ed25519", "sign", "never")
    (certificate,) = read_certificates(keys.gpg.export(primary))
    subkey = certificate.subkeys[0].fingerprint
    signature = keys.gpg.sign(ARCHIVE, subkey)
    by_file = judge(keys, archive, folder, signature, primary)
    assert (by_file.status, by_file.signers) == ("good", (primary,))
    files = {f"{URL}.asc": signature}
    assert verify(OpenPgp((subkey,)), archive, folder, files).status == "good"
    by_primary = {f"{URL}.asc": keys.gpg.sign(ARCHIVE, primary)}
    assert verify(OpenPgp((subkey,)), archive, folder, by_primary).status == "bad"


def test_what_the_recipe_lacks_is_held(keys: Keys, archive: Path, folder: Path, tmp_path: Path):
    files = {f"{URL}.asc": keys.gpg.sign(ARCHIVE, keys.alice)}
    outside = tmp_path / "outside.asc"
    outside.write_bytes(keys.gpg.export(keys.alice))
    (folder / "link.asc").symlink_to(outside)
    (folder / "loop.asc").symlink_to("loop.asc")
    (folder / "folder.asc").mkdir()
    os.mkfifo(folder / "fifo.asc")
    (folder / "large.asc").write_bytes(b"x" * (2 << 20))
    secret = keys.gpg.run("--export-secret-keys", keys.alice)
    (folder / "secret.asc").write_bytes(secret)
    for name in ("none", "link", "loop", "folder", "fifo", "large", "secret"):
        verdict = verify(OpenPgp((f"{name}.asc",)), archive, folder, files)
        assert verdict.status == "hold", name
        assert f"{name}.asc" in verdict.reason
    assert verify(OpenPgp((keys.bob,)), archive, folder, files).status == "hold"
    assert verify(OpenPgp((keys.alice,)), archive, folder, files).status == "hold"
    (folder / "inside.asc").symlink_to("real.key")
    (folder / "real.key").write_bytes(outside.read_bytes())
    assert verify(OpenPgp(("inside.asc",)), archive, folder, files).status == "good"


def test_missing_gpgv_is_held(
    keys: Keys, archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("minid.host.process.search_path", lambda: "/nowhere")
    signature = keys.gpg.sign(ARCHIVE, keys.alice)
    (folder / "release.asc").write_bytes(keys.gpg.export(keys.alice))
    files = {f"{URL}.asc": signature}
    verdict = verify(OpenPgp(("release.asc",)), archive, folder, files)
    assert verdict.status == "hold"
    assert "gpgv" in verdict.reason


def test_all_ways_must_hold(keys: Keys, archive: Path, folder: Path):
    (folder / "release.asc").write_bytes(keys.gpg.export(keys.alice))
    options = Verify(
        digest_list=DigestList("https://example.org/{version}/SHA256SUMS"),
        openpgp=OpenPgp(("release.asc",), sig="https://example.org/x-{version}.sig"),
    )
    good = Digest.of(ARCHIVE).hex
    signed = {"https://example.org/x-1.0.sig": keys.gpg.sign(ARCHIVE, keys.alice)}
    sums = "https://example.org/1.0/SHA256SUMS"

    def status(stated: str) -> str:
        files = {**signed, sums: f"{stated}  x-1.0.tar.gz\n".encode()}
        return verify(options, archive, folder, files).status

    assert status(good) == "good"
    assert status("0" * 64) == "bad"
    assert verify(options, archive, folder, signed).status == "missing"


# The releases that lie beside the project.


def real(name: str) -> Path:
    path = UPSTREAM / name
    if not path.exists():
        demand_or_skip("upstream", f"{path} is not there")
    return path


def verify_real(archive: str, key: str) -> Verdict:
    require("gpgv")
    path = real(archive)
    files = {
        f"https://example.org/{archive}.asc": real(f"{archive}.asc").read_bytes(),
        "https://example.org/SHA256SUMS": real("SHA256SUMS").read_bytes(),
    }
    options = Verify(DigestList("https://example.org/SHA256SUMS"), openpgp=OpenPgp((key,)))
    return verify(options, path, real("keys"), files, f"https://example.org/{archive}")


def test_php_is_signed_by_one_of_its_release_managers():
    verdict = verify_real("php-8.2.32.tar.xz", "php-8.2.asc")
    assert (verdict.status, verdict.signers) == (
        "good",
        ("E60913E4DF209907D8E30D96659A97C9CF2A795A",),
    )
    assert verify_real("php-8.2.32.tar.xz", "openssl-3.0.asc").status == "bad"


def test_openssl_is_signed_by_a_key_that_has_expired():
    verdict = verify_real("openssl-3.0.20.tar.gz", "openssl-3.0.asc")
    assert verdict.status == "hold"
    assert "BA5473A2B0587B07FB27CF2D216094DFD0CB81EF" in verdict.reason
    assert "expired" in verdict.reason


def test_nginx_is_signed_by_a_key_that_its_recipes_pin(tmp_path: Path):
    require("gpgv")
    path = real("nginx-1.26.3.tar.gz")
    url = "https://nginx.org/download/nginx-1.26.3.tar.gz"
    signature = (Path(__file__).parents[1] / "data" / "nginx-1.26.3.tar.gz.asc").read_bytes()
    options = read_rules(load_recipe(RECIPES / "nginx.toml")).verify
    verdict = verify(options, path, RECIPES / "nginx", {f"{url}.asc": signature}, url)
    assert (verdict.status, verdict.signers) == (
        "good",
        ("D6786CE303D9A9022998DC6CC8464D549AF75C0A",),
    )
    damaged = tmp_path / "nginx-1.26.3.tar.gz"
    damaged.write_bytes(path.read_bytes() + b"!")
    files = {f"{url}.asc": signature}
    assert verify(options, damaged, RECIPES / "nginx", files, url).status == "bad"


def test_pinned_keys_of_real_files():
    pinned = load_pinned(["php-8.2.asc"], real("keys"))
    assert {key.bits for key in pinned.keys.values()} == {4096}
    assert pinned.pins < pinned.keys.keys()


def test_28_signature_decides_between_hold_and_alert(keys: Keys, archive: Path, folder: Path):
    old, new = Digest.of(b"old"), Digest.of(ARCHIVE)
    for signer, action in ((keys.alice, "hold"), (keys.mallory, "alert")):
        signature = keys.gpg.sign(ARCHIVE, signer)
        verdict = judge(keys, archive, folder, signature, keys.alice)
        decided = decide_reroll("rerolled", verdict, "1.0", old, new)
        assert (decided.action, decided.event.kind) == (action, "rerolled")
