"""Tags of real repositories, served over loopback as files (git's dumb protocol)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.errors import FetchError, MinidError
from minid.host.git_tags import list_tags
from minid.host.http import AbsentError, StatusError
from minid.host.web_address import Insiders
from tests.support.polling import HOUR, Bench, run_bench
from tests.support.require import require
from tests.support.upstream_site import Page, UpstreamSite, drip, endless, redirect, say

pytestmark = pytest.mark.integration

LISTED = Insiders(["127.0.0.1", "localhost"])


@pytest.fixture
def site() -> Iterator[UpstreamSite]:
    with UpstreamSite() as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path, site: UpstreamSite) -> Path:
    """A bare repository with two plain tags and an annotated one, put on the site."""
    require("git")
    path = tmp_path / "app.git"
    git(tmp_path, "init", "-q", "--bare", str(path))
    tree = git(path, "hash-object", "-w", "-t", "tree", "/dev/null")
    commit = git(path, "commit-tree", "-m", "x", tree)
    git(path, "update-ref", "refs/heads/main", commit)
    for tag in ("v1.0", "v1.10"):
        git(path, "tag", tag, commit)
    git(path, "tag", "-a", "-m", "signed", "v1.2", commit)
    publish(path, site)
    return path


def git(folder: Path, *words: str) -> str:
    who = [
        word
        for key in ("user.name=x", "user.email=x@example.org", "tag.gpgSign=false")
        for word in ("-c", key)
    ]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def publish(path: Path, site: UpstreamSite) -> None:
    git(path, "update-server-info")
    site.put_folder("/app.git/", path)
    text = Page((path / "info/refs").read_bytes(), "text/plain")
    site.put("/app.git/info/refs?service=git-upload-pack", text)


def failure(url: str, insiders: Insiders = LISTED, **options: float) -> MinidError:
    with pytest.raises(FetchError) as caught:
        list_tags(url, insiders, **options)  # type: ignore[arg-type]
    return caught.value


def test_tags_of_a_repository(site: UpstreamSite, repository: Path) -> None:
    assert list_tags(site.url("/app.git"), LISTED) == ("v1.0", "v1.10", "v1.2")
    # By name: connected to the address that was judged.
    assert list_tags(site.url("/app.git", "localhost"), LISTED) == ("v1.0", "v1.10", "v1.2")


def test_inside_hosts_need_to_be_listed(site: UpstreamSite, repository: Path) -> None:
    for host in ("127.0.0.1", "localhost", "127.1"):
        assert "a public address" in failure(site.url("/app.git", host), Insiders([])).message
    assert site.asked == []


def test_redirects_are_not_followed(site: UpstreamSite, repository: Path) -> None:
    target = "/app.git/info/refs?service=git-upload-pack"
    site.put(f"/other{target}", redirect(site.url(target)))
    assert failure(site.url("/other/app.git"))
    assert not site.requests(target)


@pytest.mark.parametrize(
    "url", ["ssh://x.example/a", "ext::sh -c id", "file:///etc", "--upload-pack=x"]
)
def test_only_the_web(url: str) -> None:
    assert failure(url)


def test_what_a_server_does_is_told(site: UpstreamSite) -> None:
    require("git")
    query = "/info/refs?service=git-upload-pack"
    site.put(f"/403{query}", Page(status=403))
    site.put(f"/raw{query}", say(b"\x00\x01garbage"))
    site.put(f"/html{query}", Page(b"<html>hello</html>"))
    site.put(f"/auth{query}", Page(status=401, headers={"WWW-Authenticate": "Basic realm=x"}))
    assert isinstance(failure(site.url("/none")), AbsentError)
    blocked = failure(site.url("/403"))
    assert isinstance(blocked, StatusError)
    assert blocked.status == 403
    assert not isinstance(blocked, AbsentError)
    assert list_tags(site.url("/html"), LISTED) == ()
    for path in ("/raw", "/auth"):
        assert site.url(path) in failure(site.url(path)).message


def test_time_and_output_are_bounded(site: UpstreamSite) -> None:
    require("git")
    query = "/info/refs?service=git-upload-pack"
    site.put(f"/drip{query}", drip())
    assert "within 0.3 s" in failure(site.url("/drip"), timeout_s=0.3).message
    lines = b"".join(b"%040x\trefs/tags/v%d\n" % (n, n) for n in range(200_000))
    site.put(f"/many{query}", Page(lines, "text/plain"))
    assert "at most 8388608 bytes" in failure(site.url("/many")).message
    site.put(f"/endless{query}", endless((b"1" * 40 + b"\trefs/tags/v1\n") * 20_000))
    without_end = failure(site.url("/endless"))
    assert "within" not in without_end.message, "its memory ended first"


def test_a_poller_asks_repositories_too(
    site: UpstreamSite, repository: Path, tmp_path: Path
) -> None:
    url = site.url("/app.git")
    query = "/info/refs?service=git-upload-pack"
    site.put(f"/403{query}", Page(status=403))

    async def test(b: Bench) -> None:
        b.track(url, kind="git-tags")
        (first,) = await b.poller.poll_due()
        assert (first.outcome, first.body) == ("fresh", b"v1.0\nv1.10\nv1.2")
        await asyncio.to_thread(git, repository, "tag", "v2.0", "main")
        publish(repository, site)
        (second,) = await b.go(8 * HOUR)
        assert second.body.endswith(b"v2.0")
        b.track(site.url("/403"), kind="git-tags")
        assert [one.outcome for one in await b.poller.poll_due()] == ["blocked"]
        b.poller.close()

    run_bench(tmp_path, test)
