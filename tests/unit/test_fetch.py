from __future__ import annotations

import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from minid.config import Fetching
from minid.errors import DigestMismatchError, FetchError, HostError, StoreError
from minid.formats.apt import AptSource
from minid.formats.digest import Digest
from minid.host.distro import Apt
from minid.recipe import Alternative, Distro, Source
from minid.steps.fetch import fetch_all, fetch_archive
from minid.store.blobs import Blobs
from tests.support.lying_server import LyingServer, body, in_turn, redirect, reset, status

QUICK = Fetching(
    max_bytes=4 << 20,
    connect_timeout_s=1,
    read_timeout_s=0.3,
    total_timeout_s=5,
    min_bytes_per_s=1000,
    attempts=1,
)
DATA = bytes(range(256)) * 4000
GOOD = Digest.of(DATA)
NO_APT = Apt(())


@pytest.fixture
def blobs(tmp_path):
    store = Blobs(tmp_path / "store")
    store.prepare()
    return store


@pytest.fixture
def server():
    with LyingServer() as running:
        yield running


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def source_at(server, **fields):
    fields.setdefault("url", server.url("/dl/x-{version}.tar.gz"))
    return Source(version="1.2", sha256=GOOD, **fields)


def fetch(source, blobs, mirrors=(), limits=QUICK, apt=NO_APT):
    return fetch_archive(source, blobs, mirrors, limits, load_distro=lambda: apt)


def is_empty(blobs):
    return not list(blobs.folder.iterdir()) and not list(blobs.temporary.iterdir())


def test_upstream(server, blobs):
    server.paths["/dl/x-1.2.tar.gz"] = body(DATA)
    archive = fetch(source_at(server), blobs)
    assert (archive.file_name, archive.digest, archive.size) == ("x-1.2.tar.gz", GOOD, len(DATA))
    assert archive.origin == server.url("/dl/x-1.2.tar.gz")
    assert archive.notes == ()
    assert blobs.read(GOOD) == DATA


def test_the_store_is_asked_first(server, blobs):
    blobs.add(DATA)
    archive = fetch(source_at(server), blobs, (server.url("/mirror"),))
    assert (archive.file_name, archive.size, archive.origin) == ("x-1.2.tar.gz", len(DATA), "store")
    assert server.connections == 0


def test_the_store_has_an_alternative(server, blobs):
    other = blobs.add(b"other bytes")
    alternatives = (Alternative("https://a.invalid/y-{version}.tar.xz", other),)
    archive = fetch(source_at(server, alternatives=alternatives), blobs)
    assert (archive.file_name, archive.digest) == ("y-1.2.tar.xz", other)


def test_the_store_has_the_distribution_s_bytes(server, blobs):
    repacked = blobs.add(b"repacked")
    archive = fetch(source_at(server, distro=Distro("x", "{version}+dfsg", repacked)), blobs)
    assert (archive.file_name, archive.digest) == ("x_1.2+dfsg.orig.tar", repacked)


def test_a_damaged_store_is_told(server, blobs):
    blobs.add(DATA)
    path = blobs.path(GOOD)
    path.chmod(0o644)
    path.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(StoreError):
        fetch(source_at(server), blobs)


def test_mirrors_come_before_upstream(server, blobs, mirror):
    (mirror / "x-1.2.tar.gz").write_bytes(DATA)
    archive = fetch(source_at(server), blobs, (f"file:{mirror}",))
    assert archive.origin == f"file://{mirror}/x-1.2.tar.gz"
    assert server.connections == 0


def test_a_mirror_on_the_web(server, blobs):
    server.paths["/mirror/x-1.2.tar.gz"] = body(DATA)
    archive = fetch(source_at(server), blobs, (server.url("/mirror/"),))
    assert archive.origin == server.url("/mirror/x-1.2.tar.gz")


def test_a_mirror_with_other_bytes_is_told_and_passed_over(server, blobs, mirror):
    (mirror / "x-1.2.tar.gz").write_bytes(b"old")
    server.paths["/dl/x-1.2.tar.gz"] = body(DATA)
    archive = fetch(source_at(server), blobs, (f"file:{mirror}",))
    assert archive.origin == server.url("/dl/x-1.2.tar.gz")
    (note,) = archive.notes
    assert note.startswith("mirror: ")
    assert str(Digest.of(b"old")) in note


def test_alternatives_have_digests_of_their_own(server, blobs, mirror):
    other = Digest.of(b"other bytes")
    alternatives = (Alternative(server.url("/y-{version}.tar.xz"), other),)
    server.paths["/y-1.2.tar.xz"] = body(b"other bytes")
    archive = fetch(source_at(server, alternatives=alternatives), blobs)
    assert (archive.file_name, archive.digest) == ("y-1.2.tar.xz", other)
    assert len(archive.notes) == 1


LIES = {
    "wrong digest": body(DATA[::-1]),
    "truncated": body(DATA[:-1], length=len(DATA)),
    "truncated without a length": lambda plug, _: plug.sendall(
        b"HTTP/1.0 200 OK\r\n\r\n" + DATA[1:]
    ),
    "longer than announced": body(DATA + b"more", length=len(DATA) - 1),
    "status 500": status(500),
    "status 429": status(429),
    "reset": reset(),
    "reset in the middle": reset(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1024000\r\n\r\n" + DATA[:9999]
    ),
    "redirect loop": redirect("/dl/x-1.2.tar.gz"),
    "redirect to file": redirect("file:///etc/hostname"),
    "redirect to nowhere": redirect("http://127.0.0.1:1/x"),
    "redirect to an error": redirect("/nothing"),
    "redirect with credentials": redirect("http://me:secret@127.0.0.1/x"),
    "content encoding": body(DATA, "Content-Encoding: br"),
    "error page": body(b"<h1>proxy: upstream is down</h1>"),
    "silence": LyingServer.silent,
    "dripping": lambda server: server.dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    "endless": LyingServer.endless,
}
DIGEST_LIES = {
    "wrong digest",
    "truncated without a length",
    "longer than announced",
    "error page",
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_store_nothing_and_the_next_place_is_tried(server, blobs, mirror, lie):
    behaviour = LIES[lie]
    if lie in ("silence", "dripping", "endless"):
        behaviour = behaviour(server)
    server.paths["/dl/x-1.2.tar.gz"] = behaviour
    with pytest.raises(FetchError) as caught:
        fetch(source_at(server), blobs)
    assert is_empty(blobs)
    assert isinstance(caught.value, DigestMismatchError) == (lie in DIGEST_LIES)
    assert server.url("/dl/x-1.2.tar.gz") in caught.value.message
    assert "secret" not in caught.value.message

    other = Digest.of(b"other bytes")
    server.paths["/y.tar.xz"] = body(b"other bytes")
    alternatives = (Alternative(server.url("/y.tar.xz"), other),)
    archive = fetch(source_at(server, alternatives=alternatives), blobs)
    assert archive.digest == other
    assert [path.name for path in blobs.folder.iterdir()] == [other.hex]


def test_trouble_that_passes(server, blobs):
    half = body(DATA[:5000], length=len(DATA))
    server.paths["/dl/x-1.2.tar.gz"] = in_turn(reset(), half, body(DATA))
    archive = fetch(source_at(server), blobs, limits=Fetching(attempts=3, read_timeout_s=1))
    assert archive.notes == ()
    assert blobs.read(GOOD) == DATA


def test_other_bytes_are_not_asked_for_twice(server, blobs):
    server.paths["/dl/x-1.2.tar.gz"] = body(b"other")
    with pytest.raises(DigestMismatchError):
        fetch(source_at(server), blobs, limits=Fetching(attempts=5))
    assert len(server.requests) == 1


def test_every_place_is_named(server, blobs, mirror):
    (mirror / "x-1.2.tar.gz").write_bytes(b"old")
    server.paths["/dl/x-1.2.tar.gz"] = status(503)
    mirrors = (f"file:{mirror}", server.url("/mirror"))
    alternatives = (Alternative(server.url("/y.tar.xz"), Digest.of(b"y")),)
    distro = Distro("x", "{version}", GOOD)
    with pytest.raises(FetchError) as caught:
        fetch(source_at(server, alternatives=alternatives, distro=distro), blobs, mirrors)
    first, *lines = caught.value.message.splitlines()
    assert str(GOOD) in first
    places = [line.split(":")[0].strip() for line in lines]
    assert places == ["mirror"] * 4 + ["upstream", "alternative", "distro"]
    # Bytes came and were others; that another place may yet answer is told beside it.
    assert isinstance(caught.value, DigestMismatchError)
    assert caught.value.retryable
    assert caught.value.hint


def test_a_mirror_that_lacks_the_file_does_not_hide_a_mismatch(server, blobs, mirror):
    server.paths["/dl/x-1.2.tar.gz"] = body(b"other")
    with pytest.raises(DigestMismatchError) as caught:
        fetch(source_at(server), blobs, (f"file:{mirror}",))
    assert str(GOOD) in caught.value.message
    assert str(Digest.of(b"other")) in caught.value.message
    assert not caught.value.retryable


def test_absent_everywhere_is_no_mismatch(server, blobs):
    with pytest.raises(FetchError) as caught:
        fetch(source_at(server), blobs)
    assert type(caught.value) is FetchError
    assert not caught.value.retryable


def test_a_recipe_cannot_read_this_machine_s_files(blobs, mirror):
    (mirror / "x.tar.gz").write_bytes(DATA)
    with pytest.raises(FetchError, match="http or https"):
        fetch(Source(version="1", url=f"file:{mirror}/x.tar.gz", sha256=GOOD), blobs)


def pool(tmp_path, name, data):
    file = tmp_path / "archive/pool/main/x/xx" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    return Apt((AptSource(f"file:{tmp_path}/archive", ("sid",), ("main",)),), root=tmp_path)


def test_the_distribution_is_asked_last(server, blobs, tmp_path):
    apt = pool(tmp_path, "xx_1.2.orig.tar.xz", DATA)
    archive = fetch(source_at(server, distro=Distro("xx", "{version}", GOOD)), blobs, apt=apt)
    assert archive.file_name == "xx_1.2.orig.tar.xz"
    assert archive.origin.endswith("/archive/pool/main/x/xx/xx_1.2.orig.tar.xz")
    assert len(server.requests) == 1


def test_the_distribution_has_other_bytes(server, blobs, tmp_path):
    apt = pool(tmp_path, "xx_1.2.orig.tar.xz", b"repacked")
    with pytest.raises(DigestMismatchError, match="distro: "):
        fetch(source_at(server, distro=Distro("xx", "{version}", GOOD)), blobs, apt=apt)


def test_the_distribution_may_be_switched_off(server, blobs, tmp_path):
    def never():
        raise AssertionError("asked")

    source = source_at(server, distro=Distro("xx", "{version}", GOOD))
    with pytest.raises(FetchError):
        fetch_archive(source, blobs, (), Fetching(distro=False), load_distro=never)


def test_an_archive_that_does_not_answer_is_asked_once(server, blobs, tmp_path):
    server.paths["/d/pool/main/x/xx/xx_1.2.orig.tar.gz"] = reset()
    apt = Apt((AptSource(server.url("/d"), (), ("main",)),), root=tmp_path)
    with pytest.raises(FetchError):
        fetch(source_at(server, distro=Distro("xx", "{version}", GOOD)), blobs, apt=apt)
    assert [request.target for request in server.requests if "/pool/" in request.target] == [
        "/d/pool/main/x/xx/xx_1.2.orig.tar.gz"
    ]


@contextmanager
def file_size_limit(size_bytes):
    """What a full disk looks like to the writer: an OSError in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size_bytes", [len(DATA) - 1, 100_000])
def test_a_disk_without_room(server, blobs, size_bytes):
    server.paths["/dl/x-1.2.tar.gz"] = body(DATA * 3)
    with file_size_limit(size_bytes), pytest.raises(HostError) as caught:
        fetch(Source("1.2", server.url("/dl/x-1.2.tar.gz"), Digest.of(DATA * 3)), blobs)
    assert is_empty(blobs)
    assert caught.value.hint


def test_killed_half_way(server, blobs):
    server.paths["/x.tar.gz"] = server.endless()
    program = """
        import sys
        from pathlib import Path
        from minid.config import Fetching
        from minid.formats.digest import Digest
        from minid.recipe import Source
        from minid.steps.fetch import fetch_archive
        from minid.store.blobs import Blobs

        source = Source("1", sys.argv[1], Digest.of(b""))
        fetch_archive(source, Blobs(Path(sys.argv[2])), (), Fetching(max_bytes=1 << 60))
        """
    argv = [sys.executable, "-c", textwrap.dedent(program), server.url("/x.tar.gz"), blobs.root]
    child = subprocess.Popen(argv, cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 10
        while server.sent < 8 << 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not list(blobs.folder.iterdir())
    blobs.remove_leftovers()
    assert is_empty(blobs)


def test_several_at_once(server, blobs):
    together = threading.Barrier(3)

    def meet(answer):
        def act(plug, request):
            together.wait(3)  # nobody is answered before all three have asked
            answer(plug, request)

        return act

    files = {name: f"bytes of {name}".encode() for name in "abc"}
    sources = {
        name: Source("1", server.url(f"/{name}.tar.gz"), Digest.of(data))
        for name, data in files.items()
    }
    for name, data in files.items():
        server.paths[f"/{name}.tar.gz"] = meet(body(data))
    sources["d"] = Source("1", server.url("/d.tar.gz"), GOOD)
    sources["e"] = Source("1", server.url("/"), GOOD)
    steps = []
    results = fetch_all(
        sources,
        blobs,
        (),
        Fetching(parallel=3, attempts=1),
        progress=lambda *step: steps.append(step),
        load_distro=lambda: NO_APT,
    )
    assert list(results) == list(sources)
    assert [results[name].digest for name in files] == [Digest.of(data) for data in files.values()]
    assert isinstance(results["d"], FetchError)
    assert isinstance(results["e"], FetchError)
    assert sorted(steps) == [(name, 10, 10) for name in files]


def test_an_interrupt_ends_what_is_under_way(server, blobs):
    server.paths["/a.tar.gz"] = server.endless()
    sources = {name: Source("1", server.url("/a.tar.gz"), GOOD) for name in "ab"}

    def interrupt(name, done, _):
        if name == "a" and done > 1 << 20:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch_all(sources, blobs, (), Fetching(max_bytes=1 << 60), progress=interrupt)
    assert time.monotonic() - started < 5
    assert is_empty(blobs)
