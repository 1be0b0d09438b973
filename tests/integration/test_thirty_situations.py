"""The thirty situations of upstream tracking, each through the whole tracker, by their numbers.

Every site behaves on loopback as upstreams do; a week passes in milliseconds. What is asserted is
where the recipe stands in the end, what a person was told, and what was asked how often.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from minid.config import Fetching
from tests.integration.test_git_tags import git, publish
from tests.support.following import START, Following, archive, following
from tests.support.gnupg import GnuPg
from tests.support.require import require
from tests.support.upstream_site import (
    CAPTCHA,
    Page,
    UpstreamSite,
    gzip_bomb,
    hang,
    index_page,
    redirect,
)

pytestmark = pytest.mark.integration

DIGITS = r"(?P<version>\d+\.\d+\.\d+)"
LONG = 30.0  # hours in which a new release is seen, settles, and is taken


@pytest.fixture
def site() -> Iterator[UpstreamSite]:
    with UpstreamSite() as running:
        yield running


@pytest.fixture
def other() -> Iterator[UpstreamSite]:
    with UpstreamSite("127.0.0.2") as running:
        yield running


@pytest.fixture
def f(tmp_path: Path, site: UpstreamSite) -> Iterator[Following]:
    with following(tmp_path, site) as made:
        yield made


def names(*versions: str, name: str = "foo", ending: str = ".tar.gz") -> list[str]:
    return [f"{name}-{version}{ending}" for version in versions]


def taken(f: Following, version: str, name: str = "foo") -> None:
    """The recipe was moved once, to that version, after two looks at its archive and no other's."""
    assert f.at(name) == version
    assert f.moves == [(name, version)]
    assert [kind for kind in f.kinds(name) if kind in ("release", "accepted")] == [
        "release",
        "accepted",
    ]
    assert f.gets(f"/{name}-{version}.tar.gz") == 2
    fetched = {asked.target for asked in f.site.asked if asked.method == "GET"}
    assert fetched <= {"/", f"/{name}-{version}.tar.gz"}


def untouched(f: Following, version: str, *kinds: str, name: str = "foo") -> None:
    """The recipe stays, no archive was fetched, and that is all a person was told."""
    assert f.at(name) == version
    assert f.moves == []
    assert f.kinds(name) == list(kinds)
    assert [
        asked for asked in f.site.asked if ".tar" in asked.target and asked.method == "GET"
    ] == []


def test_01_order_of_an_index(f: Following) -> None:
    f.add("foo", "0.1.0")
    f.page(*names("0.1.0", "0.1.1", "0.1.11", "0.1.2"))
    f.go(LONG)
    taken(f, "0.1.11")
    assert f.decision("foo").decision == "up-to-date"


def test_02_a_component_is_a_number(f: Following) -> None:
    f.add("foo", "8.8.1")
    f.page(*names("8.10.0", "8.8.0", "8.8.1"))
    f.go(LONG)
    taken(f, "8.10.0")


def test_03_a_release_candidate_is_none(f: Following) -> None:
    f.add("foo", "8.8.1")
    f.page(*names("8.8.1", "8.10-rc1"))
    f.go(LONG)
    untouched(f, "8.8.1")
    assert f.decision("foo").reasons == (("8.10-rc1", "a pre-release"),)
    f.page(*names("8.8.1", "8.10-rc1", "8.10.0"))
    f.go(LONG)
    taken(f, "8.10.0")


def test_04_a_signature_without_an_archive(f: Following) -> None:
    f.add("foo", "1.28.0")
    f.page(*names("1.28.0"), "foo-1.30.0.tar.gz.asc")
    f.go(LONG)
    untouched(f, "1.28.0")


@pytest.mark.parametrize(
    ("parity", "current", "listed", "wanted"),
    [
        ("even", "1.28.0", ("1.28.0", "1.30.0", "1.31.3"), "1.30.0"),
        ("odd", "1.29.7", ("1.29.7", "1.29.8", "1.30.0"), "1.29.8"),
    ],
)
def test_05_parity(f: Following, parity: str, current: str, listed: tuple[str], wanted: str):
    f.add("foo", current, f'parity = "{parity}"')
    f.page(*names(*listed))
    f.go(LONG)
    taken(f, wanted)


def test_06_a_series_is_of_components(f: Following) -> None:
    f.add("foo", "1.2.8", 'series = "1.2"')
    f.page(*names("1.2.8", "1.2.9", "1.20.1"))
    f.go(LONG)
    taken(f, "1.2.9")


def test_07_a_series_that_ended(f: Following) -> None:
    f.add("foo", "1.2.9", 'series = "1.2"')
    f.page(*names("1.2.9", "1.3.0"))
    f.go(48)
    f.page(*names("1.2.9", "1.3.0", "1.3.1"))
    f.go(48)
    untouched(f, "1.2.9", "series-superseded")
    assert f.text("series-superseded") == "1.3.0 is out, and the recipe stays in series 1.2"


def test_08_two_products_on_a_page(f: Following) -> None:
    f.add("mysql", "8.4.9", match=rf"mysql-{DIGITS}\.tar\.gz")
    f.page(*names("8.4.9", "8.4.10", name="mysql"), *names("8.4.10", name="mysql-boost"))
    f.go(LONG)
    taken(f, "8.4.10", "mysql")


def test_09_three_archives_of_one_version(f: Following) -> None:
    match = r"foo-(?P<version>\d[\d.]*)\.tar\.(?:gz|xz|bz2)"
    f.add("foo", "1.0", match=match)
    f.page("foo-1.0.tar.gz", "foo-1.1.tar.bz2", "foo-1.1.tar.xz", "foo-1.1.tar.gz")
    f.go(LONG)
    taken(f, "1.1")
    f.page("foo-1.1.tar.gz", "foo-1.2.tar.bz2", "foo-1.2.tar.xz")
    f.go(48)
    assert (f.at("foo"), f.kinds().count("extension-missing")) == ("1.1", 1)
    assert "no .tar.gz of it, only .tar.bz2, .tar.xz" in f.text("extension-missing")
    assert f.decision("foo").note.startswith("1.2: there is no .tar.gz")
    assert f.gets("/foo-1.2.tar.xz") + f.gets("/foo-1.2.tar.bz2") == 0


def test_10_another_product(f: Following) -> None:
    f.add("foo", "1.0")
    f.page(*names("1.0"), "foo-extra-9.0.tar.gz", "libfoo-9.0.tar.gz")
    f.go(LONG)
    untouched(f, "1.0")


def test_11_a_tag_that_is_a_date(f: Following, tmp_path: Path) -> None:
    require("git")
    repository = tmp_path / "foo.git"
    git(tmp_path, "init", "-q", "--bare", str(repository))
    tree = git(repository, "hash-object", "-w", "-t", "tree", "/dev/null")
    commit = git(repository, "commit-tree", "-m", "x", tree)
    for tag in ("v1.9.0", "20150213.1"):
        git(repository, "tag", tag, commit)
    publish_at(repository, f.site)
    url = f.site.url("/foo.git")
    f.add("foo", "1.9.0", "from = \"git-tags\"\nmatch = 'v?(?P<version>\\d.*)'", url=url)
    f.go(LONG)
    untouched(f, "1.9.0", "held")
    assert "20150213.1 needs approval: looks like a date" in f.text("held")
    assert f.decision("foo").decision == "held"
    # It hides nothing below it.
    git(repository, "tag", "v1.10.0", commit)
    publish_at(repository, f.site)
    f.publish("foo-1.10.0.tar.gz")
    f.go(LONG)
    assert f.at("foo") == "1.10.0"
    assert f.kinds().count("held") == 1


def publish_at(repository: Path, site: UpstreamSite) -> None:
    publish(repository, site)
    site.put_folder("/foo.git/", repository)
    text = Page((repository / "info/refs").read_bytes(), "text/plain")
    site.put("/foo.git/info/refs?service=git-upload-pack", text)


def test_12_other_numbering_is_approved_or_rejected(f: Following) -> None:
    f.add("foo", "6.26")
    f.page(*names("6.26", "21.03.21"))
    f.go(LONG)
    untouched(f, "6.26", "held")
    assert f.decision("foo").decision == "held"
    f.tracker.reject("foo", "21.03.21")
    assert f.decision("foo").decision == "up-to-date"
    f.page(*names("6.26", "6.28", "21.03.21"))
    f.go(LONG)
    assert (f.at("foo"), f.kinds()) == ("6.28", ["held", "rejected", "release", "accepted"])


def test_12_approved_numbering_is_taken(f: Following) -> None:
    f.add("foo", "6.26")
    f.page(*names("6.26", "21.03.21"))
    f.go(1)
    assert f.approve("foo", "21.03.21").decision == "settling"
    f.go(LONG)
    taken(f, "21.03.21")


def test_13_a_number_that_is_older_than_it_looks(f: Following) -> None:
    f.add("foo", "1.3.12")
    f.page(*names("1.04", "1.3.12", "1.3.13"))
    f.go(LONG)
    taken(f, "1.3.13")
    assert f.kinds().count("held") <= 1


@pytest.mark.parametrize(
    ("current", "listed", "wanted"),
    [
        ("1.1.1", ("1.1.1", "1.1.1w"), "1.1.1w"),
        ("9.9p1", ("9.9p1", "9.9p2"), "9.9p2"),
        ("1.0", ("1.0", "1.0.0"), "1.0"),
        ("1.0.0", ("1.0", "1.0.0"), "1.0.0"),
    ],
)
def test_14_letters_and_zeros(f: Following, current: str, listed: tuple[str], wanted: str) -> None:
    f.add("foo", current)
    f.page(*names(*listed))
    f.go(LONG)
    if wanted == current:
        untouched(f, current)
    else:
        taken(f, wanted)


def test_15_an_edge_answers_with_yesterdays_page(f: Following) -> None:
    f.add("foo", "8.5.10")
    old, new = (
        Page(index_page(*names("8.5.8", *more))) for more in (("8.5.9",), ("8.5.9", "8.5.10"))
    )
    f.site.put("/", new, old, new, old, new)
    f.publish("foo-8.5.10.tar.gz")
    f.go(7)
    assert f.decision("foo").decision == "suspect"
    assert "8.5.9" in f.decision("foo").note
    f.go(7)
    assert f.decision("foo").decision == "up-to-date"
    f.go(24)
    untouched(f, "8.5.10", "stale-source", "stale-source")


def test_15_only_the_newest_version_on_a_page(f: Following) -> None:
    """As php.net's current releases: 8.5.10, from an old edge 8.5.9, then 8.5.10 again."""
    f.add("foo", "8.5.10", 'from = "json"\nversion = "version"')
    old, new = (
        Page(json.dumps([{"version": version}]).encode(), "application/json")
        for version in ("8.5.9", "8.5.10")
    )
    f.site.put("/", new, old, new)
    f.publish("foo-8.5.10.tar.gz")
    f.go(48)
    untouched(f, "8.5.10", "stale-source")


def test_16_a_captcha_at_a_json_url(f: Following, other: UpstreamSite) -> None:
    f.add("foo", "1.0", 'from = "json"\nversion = "version"')
    f.add("bar", "1.0", 'from = "json"\nversion = "version"', url=f.site.url("/bar"))
    f.add("far", "1.0", 'from = "json"\nversion = "version"', url=other.url("/"))
    good = Page(b'[{"version": "1.0"}]', "application/json")
    f.site.put("/", good, Page(CAPTCHA))
    f.site.put("/bar", good)
    other.put("/", good)
    f.go(8)
    decided = f.decision("foo")
    assert (f.kinds("foo"), f.at("foo")) == (["source-blocked"], "1.0")
    assert "captcha" in decided.note.lower() or "challenge" in decided.note.lower()
    before, far = len(f.site.asked), len(other.asked)
    f.go(20)
    assert len(f.site.asked) == before, "the host is left alone for a day"
    assert len(other.asked) > far
    assert list(f.poller.waits()) == [f"127.0.0.1:{f.site.port}"]


def test_17_an_error_with_status_200(f: Following) -> None:
    f.add("foo", "1.0", 'from = "json"\nversion = "version"')
    good = Page(b'[{"version": "1.0"}]', "application/json")
    f.site.put("/", good, Page(b'{"error": "Unknown version"}', "application/json"))
    f.go(8)
    assert f.decision("foo").decision == "suspect"
    f.go(18)
    untouched(f, "1.0", "suspect")


FIVE = names("1.0", "1.1", "1.2", "1.3", "1.4")


@pytest.mark.parametrize(
    "page",
    [
        Page(b""),
        Page(index_page(*FIVE, "foo-1.5.tar.gz").partition(b"1.5.tar.gz")[0]),
        Page(index_page(*FIVE, "foo-1.5.tar.gz").decode().encode("utf-16-le"), "text/html"),
        Page(index_page(*FIVE, "foo-1.5.tar.gz"), "text/html; charset=utf-16"),
    ],
    ids=["empty", "cut in a link", "utf-16 as text", "text as utf-16"],
)
def test_18_no_whole_page(f: Following, page: Page) -> None:
    f.add("foo", "1.4")
    f.page(*FIVE)
    f.go(1)
    f.site.put("/", page)
    f.publish("foo-1.5.tar.gz")
    f.go(8)
    assert f.decision("foo").decision == "suspect", f.decision("foo")
    f.page(*FIVE)
    f.go(8)
    assert f.decision("foo").decision == "up-to-date"
    untouched(f, "1.4")


@pytest.mark.parametrize("source", ["text", "index", "json"])
def test_19_an_error_that_names_a_version(f: Following, source: str) -> None:
    match = r"match = 'nginx-(?P<version>\d[\d.]*)\.tar\.gz'"
    field = 'version = "version"'
    f.add("nginx", "1.0", f'from = "{source}"\n{field if source == "json" else match}')
    goods = {
        "text": Page(b"nginx-1.0.tar.gz\n", "text/plain"),
        "json": Page(b'[{"version": "1.0"}]', "application/json"),
        "index": Page(index_page("nginx-1.0.tar.gz")),
    }
    text = b"502 Bad gateway while fetching nginx-9.9.9.tar.gz"
    f.site.put("/", goods[source], Page(text, "text/plain"))
    f.publish("nginx-9.9.9.tar.gz")
    f.go(LONG)
    untouched(f, "1.0", "suspect", name="nginx")


def test_20_a_page_that_shrinks(f: Following) -> None:
    f.add("foo", "1.299")
    f.page(*names(*(f"1.{minor}" for minor in range(300))), archives=False)
    f.go(1)
    f.page(*names("1.298", "1.299", "1.300"), archives=False)
    f.publish("foo-1.300.tar.gz")
    f.go(28)
    assert f.decision("foo").decision == "suspect"
    assert "it listed 300 versions, now 3" in f.decision("foo").note
    untouched(f, "1.299", "suspect")
    f.go(30)
    taken(f, "1.300")
    assert f.kinds() == ["suspect", "believed", "release", "accepted"]


def test_21_not_modified_and_the_body_is_lost(f: Following) -> None:
    f.add("foo", "1.0")
    f.page(*names("1.0", "1.1"))
    f.go(1)
    with f.database.transaction() as connection:
        connection.execute("UPDATE resources SET body = NULL")
    f.restart()
    f.go(LONG)
    taken(f, "1.1")
    asked = [one.headers.get("if-none-match", "") for one in f.site.requests("/")]
    assert asked.count("") == 2, "the first, and the one without a body"


def test_22_validators_are_echoed(f: Following) -> None:
    past = formatdate(START - 10 * 365 * 86400, usegmt=True)
    f.add("foo", "1.0")
    f.page(*names("1.0"), etag='W/"a b"', last_modified=past)
    f.go(20)
    words = [
        (one.headers.get("if-none-match"), one.headers.get("if-modified-since"))
        for one in f.site.requests("/")
    ]
    assert words[0] == (None, None)
    assert set(words[1:]) == {('W/"a b"', past)}
    assert f.decision("foo").decision == "up-to-date"


def test_23_an_edited_match(f: Following) -> None:
    f.add("foo", "1.0", match=r"bar-(?P<version>\d.*)\.tar\.gz")
    f.page(*names("1.0", "1.1"))
    f.go(1)
    assert f.decision("foo").decision == "suspect"
    before = len(f.site.asked)
    f.edit("foo", "bar-", "foo-")
    assert (f.decision("foo").version, len(f.site.asked)) == ("1.1", before)
    f.go(LONG)
    taken(f, "1.1")
    assert {one.headers.get("if-none-match", "") for one in f.site.requests("/")[1:]} != {""}


def test_24_one_busy_page_of_200(f: Following, other: UpstreamSite) -> None:
    for number in range(200):
        f.add(
            f"r{number:03}",
            "1.0",
            match=r"foo-(?P<version>\d.*)\.tar\.gz",
            url=f.site.url(f"/p{number}"),
        )
        f.page(*names("1.0"), at=f"/p{number}")
    f.add("far", "1.0", match=r"foo-(?P<version>\d.*)\.tar\.gz", url=other.url("/"))
    other.put("/", index_page(*names("1.0")))
    f.go(1)
    f.site.put("/p7", Page(status=429, headers={"Retry-After": "3600"}))
    before, far = len(f.site.asked), len(other.asked)
    f.run(f.poller.poll(f.site.url("/p7")))
    busy_at = f.now
    f.restart()
    f.go(0.99)
    assert len(f.site.asked) == before + 1, "nobody asks that host for anything"
    assert f.poller.waits()[f"127.0.0.1:{f.site.port}"].until == busy_at + 3600
    f.go(8)
    assert len(f.site.asked) > before + 190
    assert len(other.asked) > far


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (formatdate(START + 3600 + 1800, usegmt=True), 1800),
        (formatdate(START - 3600, usegmt=True), 60),
        ("-5", 60),
        ("soon", 60),
        ("", 60),
        ("10", 60),
        ("9999999", 86400),
    ],
)
def test_25_retry_after(f: Following, value: str, wait_s: float) -> None:
    f.add("foo", "1.0")
    f.page(*names("1.0"))
    f.go(1)
    f.site.put("/", Page(status=429, headers={"Retry-After": value}))
    assert f.check("foo").decision == "failed"
    (wait,) = f.poller.waits().values()
    assert wait.until - f.now == wait_s
    before = len(f.site.asked)
    f.go(wait_s / 3600 - 0.01)
    assert len(f.site.asked) == before
    f.go(0.02)
    assert len(f.site.asked) > before


def test_26_a_release_that_is_taken_back(f: Following) -> None:
    f.add("foo", "1.0")
    f.page(*names("1.0", "1.1"))
    f.go(0.25)
    assert f.decision("foo").decision == "settling"
    f.page(*names("1.0"))
    f.site.remove("/foo-1.1.tar.gz")
    f.go(LONG)
    assert (f.at("foo"), f.moves, f.kinds()) == ("1.0", [], ["release", "withdrawn"])
    assert f.gets("/foo-1.1.tar.gz") == 1


@pytest.fixture(scope="module")
def keys() -> Iterator[dict[str, str]]:
    require("gpg", "gpgv")
    with GnuPg() as gpg:
        made: dict[str, str] = {name: gpg.make_key(name) for name in ("alice", "bob", "mallory")}
        made["expired"] = gpg.make_key("expired", end="seconds=86400")
        made["gpg"] = gpg  # type: ignore[assignment]
        yield made


SIGNED = 'verify = { openpgp = { keys = ["release.asc"]%s } }'


def sign(f: Following, keys: dict[str, str], version: str, *signers: str, **sign: object) -> None:
    """Put an archive's signature beside it."""
    gpg: GnuPg = keys["gpg"]  # type: ignore[assignment]
    data = f.site._answers[f"/foo-{version}.tar.gz"][0].body  # type: ignore[union-attr]
    signature = gpg.sign(data, *(keys[name] for name in signers), **sign)  # type: ignore[arg-type]
    f.site.put(f"/foo-{version}.tar.gz.asc", Page(signature, "application/pgp-signature"))


def pin_keys(f: Following, keys: dict[str, str], *names: str, more: str = "") -> None:
    gpg: GnuPg = keys["gpg"]  # type: ignore[assignment]
    (f.folder / "foo").mkdir(exist_ok=True)
    (f.folder / "foo/release.asc").write_bytes(gpg.export(*(keys[name] for name in names)))
    f.add("foo", "1.0", verify=SIGNED % more)


def test_27_replaced_while_it_settles(f: Following, keys: dict[str, str]) -> None:
    pin_keys(f, keys, "alice")
    f.page(*names("1.0", "1.1"))
    sign(f, keys, "1.1", "alice")
    f.go(3)
    f.publish("foo-1.1.tar.gz", text="mended\n")
    sign(f, keys, "1.1", "alice")
    f.go(5)
    assert f.decision("foo").decision == "settling"
    assert f.moves == []
    f.go(LONG)
    assert f.moves == [("foo", "1.1")]
    assert f.kinds() == ["release", "restarted", "accepted"]
    lock = f.releases.locks()["foo"]
    assert lock.sha256.hex == hashlib.sha256(archive("foo-1.1.tar.gz", "mended\n")).hexdigest()
    assert f.blobs.has(lock.sha256)


def stored(f: Following) -> None:
    """The archive that foo 1.0 was built from lies in the store."""
    f.blobs.add(archive("foo-1.0.tar.gz"))


def test_28_the_same_tar_compressed_anew(f: Following) -> None:
    stored(f)
    f.add("foo", "1.0")
    f.page(*names("1.0"))
    f.go(24 * 14)
    assert f.gets("/foo-1.0.tar.gz") == 0
    heads = len(f.site.requests("/foo-1.0.tar.gz"))
    assert 12 <= heads <= 15, "once a day"
    tar = gzip.decompress(archive("foo-1.0.tar.gz"))
    f.site.put("/foo-1.0.tar.gz", Page(gzip.compress(tar, 1, mtime=1)))
    f.go(24 * 7)
    assert (f.at("foo"), f.moves, f.kinds()) == ("1.0", [], ["recompressed"])
    assert f.decision("foo").decision == "up-to-date"
    assert f.gets("/foo-1.0.tar.gz") == 1


@pytest.mark.parametrize(("signer", "decision"), [("alice", "held"), ("mallory", "suspect")])
def test_28_other_bytes(f: Following, keys: dict[str, str], signer: str, decision: str) -> None:
    stored(f)
    pin_keys(f, keys, "alice")
    f.page(*names("1.0"))
    f.go(24 * 14)
    f.publish("foo-1.0.tar.gz", text="other\n")
    sign(f, keys, "1.0", signer)
    f.go(24 * 7)
    assert (f.at("foo"), f.moves, f.kinds()) == ("1.0", [], ["rerolled"])
    assert f.gets("/foo-1.0.tar.gz") == 1
    found = f.decision("foo")
    assert found.decision == decision
    assert "holds other bytes now" in found.note
    f.restart()
    f.go(48)
    assert f.decision("foo") == found
    assert f.kinds() == ["rerolled"]
    if decision == "held":
        f.approve("foo", "1.0")
        lock = f.releases.locks()["foo"]
        assert lock.sha256.hex == hashlib.sha256(archive("foo-1.0.tar.gz", "other\n")).hexdigest()
        f.go(48)
        assert f.decision("foo").decision == "up-to-date"
        assert f.moves == [("foo", "1.0")]


def test_29_good_by_an_unpinned_key_is_refused(f: Following, keys: dict[str, str]) -> None:
    pin_keys(f, keys, "alice")
    f.page(*names("1.0", "1.1"))
    sign(f, keys, "1.1", "mallory")
    f.go(24 * 4)
    assert (f.at("foo"), f.kinds()) == ("1.0", ["release", "refused"])
    assert f.gets("/foo-1.1.tar.gz") == 2, "it is not fetched again"
    assert f.decision("foo").reasons[0][1].startswith("refused: ")


def test_29_a_second_signature_of_an_unknown_key(f: Following, keys: dict[str, str]) -> None:
    pin_keys(f, keys, "alice")
    f.page(*names("1.0", "1.1"))
    sign(f, keys, "1.1", "alice", "mallory")
    f.go(LONG)
    assert (f.at("foo"), f.kinds()) == ("1.1", ["release", "accepted"])
    assert keys["alice"] in f.text("accepted")


def test_29_an_expired_key_is_held_and_approved(f: Following, keys: dict[str, str]) -> None:
    pin_keys(f, keys, "expired")
    f.page(*names("1.0", "1.1"))
    sign(
        f,
        keys,
        "1.1",
        "expired",
        options=("--faked-system-time", "20240101T120000", "--detach-sign"),
    )
    f.go(LONG)
    assert (f.at("foo"), f.kinds()) == ("1.0", ["release", "held"])
    decided = f.decision("foo")
    assert (decided.decision, "expired" in decided.note) == ("held", True)
    f.go(48)
    assert f.gets("/foo-1.1.tar.gz") == 2
    assert f.approve("foo", "1.1").current == "1.1"
    assert f.moves == [("foo", "1.1")]


@pytest.mark.parametrize("allowed", [False, True])
def test_29_sha1_needs_to_be_allowed(f: Following, keys: dict[str, str], allowed: bool) -> None:
    pin_keys(f, keys, "alice", more=', allow = ["sha1"]' if allowed else "")
    f.page(*names("1.0", "1.1"))
    sign(f, keys, "1.1", "alice", options=("--digest-algo", "SHA1", "--detach-sign"))
    f.go(LONG)
    wanted = ("1.1", "accepted") if allowed else ("1.0", "refused")
    assert (f.at("foo"), f.kinds()[-1]) == wanted


def test_29_a_missing_signature_is_waited_for(f: Following, keys: dict[str, str]) -> None:
    pin_keys(f, keys, "alice")
    f.page(*names("1.0", "1.1"))
    f.go(48)
    assert (f.at("foo"), f.kinds()) == ("1.0", ["release", "waiting"])
    assert f.decision("foo").decision == "waiting"
    sign(f, keys, "1.1", "alice")
    f.go(8)
    assert (f.at("foo"), f.kinds()) == ("1.1", ["release", "waiting", "accepted"])


def test_29_a_signature_that_never_comes_is_held(f: Following, keys: dict[str, str]) -> None:
    pin_keys(f, keys, "alice")
    f.page(*names("1.0", "1.1"))
    f.go(24 * 7)
    assert (f.at("foo"), f.kinds()) == ("1.0", ["release", "waiting", "held"])
    assert "and not for 72 h" in f.decision("foo").note
    assert f.gets("/foo-1.1.tar.gz.asc") <= 14


def test_29_a_bad_signature_is_refused(f: Following, keys: dict[str, str]) -> None:
    pin_keys(f, keys, "alice")
    f.page(*names("1.0", "1.1"))
    sign(f, keys, "1.1", "alice")
    f.publish("foo-1.1.tar.gz", text="evil\n")
    f.go(LONG)
    assert (f.at("foo"), f.kinds()) == ("1.0", ["release", "refused"])


def test_29_minisign(f: Following) -> None:
    from minisign import KeyPair

    pair = KeyPair.generate()
    key = pair.public_key.to_base64().decode()
    f.add("foo", "1.0", verify=f'verify = {{ minisign = {{ key = "{key}" }} }}')
    f.page(*names("1.0", "1.1"))
    signature = pair.secret_key.sign(
        archive("foo-1.1.tar.gz"), trusted_comment="file:foo-1.1.tar.gz"
    )
    f.site.put("/foo-1.1.tar.gz.minisig", Page(bytes(signature), "text/plain"))
    f.go(LONG)
    assert (f.at("foo"), f.kinds()) == ("1.1", ["release", "accepted"])
    assert key in f.text("accepted")


@pytest.mark.parametrize(
    ("page", "word"),
    [
        (Page(b"<!DOCTYPE html><title>Welcome</title>"), "a web page"),
        (Page(archive("foo-1.0.tar.gz")), "1.0"),
    ],
    ids=["a page", "the current archive"],
)
def test_30_a_host_that_has_every_version(f: Following, page: Page, word: str) -> None:
    f.add("foo", "1.0")
    f.page(*names("1.0", "1.1"))
    f.site.put("/foo-1.1.tar.gz", page)
    f.go(24 * 4)
    assert (f.at("foo"), f.moves, f.kinds()) == ("1.0", [], ["release", "refused"])
    assert f.gets("/foo-1.1.tar.gz") == 1
    (event,) = [event for _, event in f.told if event.kind == "refused"]
    assert word in event.text
    assert dict(event.detail)["host"] == "127.0.0.1"
    assert f.decision("foo").decision != "accepted"


# And: pages that want to be too much.


@pytest.mark.parametrize(
    ("page", "kept"),
    [
        (Page(index_page(*names(*(f"1.{n}" for n in range(10_000))))), True),
        (Page(index_page("x" * (1 << 20), *names("1.9999"))), True),
        (gzip_bomb(100 << 20), False),
        (Page(b"x" * (9 << 20)), False),
    ],
    ids=["10,000 links", "1 MB href", "gzip bomb", "9 MB"],
)
def test_31_pages_that_are_too_much(f: Following, page: Page, kept: bool) -> None:
    f.add("foo", "1.9999")
    f.site.put("/", page)
    f.go(48)
    assert f.at("foo") == "1.9999"
    assert f.decision("foo").decision == ("up-to-date" if kept else "unknown")
    polls = len(f.site.requests("/"))
    assert 4 <= polls <= 40, polls
    f.page(*names("1.9998", "1.9999", "2.0"))
    f.go(LONG + 24)  # a listing that lost so much is believed after a day
    assert f.at("foo") == "2.0"


def test_31_a_page_that_hangs_keeps_nobody(tmp_path: Path, site: UpstreamSite, other: UpstreamSite):
    with following(tmp_path, site) as f:
        f.web._page_timeout_s = 0.2
        f.add("foo", "1.0")
        f.add("far", "1.0", match=r"foo-(?P<version>\d.*)\.tar\.gz", url=other.url("/"))
        site.put("/", hang())
        other.put("/", index_page(*names("1.0")))
        f.go(7)
        assert f.decision("far").decision == "up-to-date"
        assert f.decision("foo").decision == "unknown"
        assert len(other.asked) >= 2


@pytest.mark.parametrize("what", ["page", "archive", "signature"])
def test_31_a_redirect_to_an_unlisted_inside_host(
    tmp_path: Path, site: UpstreamSite, other: UpstreamSite, what: str
) -> None:
    with following(tmp_path, other, fetch=Fetching(), inside=("127.0.0.2",)) as f:
        sums = f.site.url("/SHA256SUMS")
        f.add("foo", "1.0", verify=f'verify = {{ sha256 = "{sums}" }}')
        f.page(*names("1.0", "1.1"))
        digest = hashlib.sha256(archive("foo-1.1.tar.gz")).hexdigest()
        other.put("/SHA256SUMS", f"{digest}  foo-1.1.tar.gz\n".encode())
        path = {"page": "/", "archive": "/foo-1.1.tar.gz", "signature": "/SHA256SUMS"}[what]
        other.put(path, redirect(site.url(path)))
        f.go(48)
        assert site.asked == [], "no packet goes there"
        assert f.at("foo") == "1.0"
        assert len(other.requests(path)) <= 40
        assert f.check("foo").decision in ("failed", "settling", "seen", "held")
