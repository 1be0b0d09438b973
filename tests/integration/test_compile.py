"""From an archive to an install tree, stripping, and what is told of a build that fails."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minid.errors import BuildError, UnpackError
from minid.formats.digest import Digest
from minid.formats.rootfs import Rootfs
from minid.formats.tree import parse_tree
from minid.host.jobserver import Jobserver
from minid.host.logfile import LogFile
from minid.host.sandbox import build_identity, host_environment
from minid.host.strip import strip_files
from minid.model import Content, Entry, Limits, StripRequest, Tree
from minid.recipe import Build, Recipe, Source
from minid.steps.compile import InstallTree, Workplace, compile_source
from minid.store.blobs import Blobs
from minid.store.contents import read_content, store_tree
from tests.support.line import line_folder, source_archive
from tests.support.require import require

pytestmark = pytest.mark.integration
HOST = host_environment(Digest.of(b""))
MTIME = 1_700_000_000  # of the archive's files


@dataclass(frozen=True, slots=True)
class Shop:
    """A store and a place to build."""

    folder: Path
    blobs: Blobs
    workplace: Workplace
    log: LogFile

    def compile(
        self,
        *steps: str,
        files: Mapping[str, str] | None = None,
        needs: Sequence[Tree] = (),
        patches: Sequence[tuple[str, bytes]] = (),
        variables: tuple[tuple[str, str], ...] = (),
        limits: Limits | None = None,
    ) -> InstallTree:
        archive = self.folder / "web-1.2.tar.gz"
        archive.write_bytes(source_archive("web-1.2", files or {"text": "as it came\n"}))
        recipe = Recipe(
            name="web",
            file=Path("web.toml"),
            folder=Path("web"),
            kind="library",
            source=Source("1.2", "https://upstream.test/web-{version}.tar.gz", Digest.of(b"")),
            build=Build(environment="host", steps=steps, variables=variables),
        )
        workplace = replace(self.workplace, limits=limits or self.workplace.limits)
        return compile_source(
            recipe,
            archive,
            patches=patches,
            needs=needs,
            environment=HOST,
            workplace=workplace,
            blobs=self.blobs,
            read=read_content(self.blobs),
            log=self.log,
        )

    def text(self, made: InstallTree, path: str) -> str:
        entry = self.tree(made).file(path)
        assert entry is not None
        assert entry.content is not None
        return read_content(self.blobs)(entry.content).decode()

    def tree(self, made: InstallTree) -> Rootfs:
        return Rootfs(parse_tree(self.blobs.read(made.tree)).entries)

    def stored(self, *entries: Entry) -> Tree:
        return store_tree(entries, read_content(self.blobs), self.blobs)[1]


@pytest.fixture
def shop() -> Iterator[Shop]:
    require("bwrap")
    with line_folder() as folder:
        blobs = Blobs(folder / "store")
        blobs.prepare()
        jobserver = Jobserver(2)
        log = LogFile(folder / "log")
        workplace = Workplace(
            jobs_folder=folder / "jobs",
            identity=build_identity(""),
            jobserver=jobserver,
            limits=Limits(wall_s=60, silence_s=60),
            slots=threading.BoundedSemaphore(1),
        )
        try:
            yield Shop(folder, blobs, workplace, log)
            assert list(workplace.jobs_folder.iterdir()) == []
        finally:
            log.close()
            jobserver.close()


INSTALL = "mkdir -p $DESTDIR/srv; cp text $DESTDIR/srv"


def test_what_the_steps_install_is_the_tree(shop: Shop) -> None:
    made = shop.compile(INSTALL, "ln $DESTDIR/srv/text $DESTDIR/srv/name")
    assert made.epoch == MTIME
    assert shop.text(made, "srv/text") == shop.text(made, "srv/name") == "as it came\n"
    entries = shop.tree(made).tree().entries
    assert {entry.image_path for entry in entries} == {"srv", "srv/text", "srv/name"}
    assert {entry.mtime for entry in entries} == {MTIME}
    blob = {entry.content.blob for entry in entries if entry.content}
    assert blob == {made.tar}
    assert "+ build.steps[1]: ln" in (shop.folder / "log").read_text()


def test_steps_see_what_the_recipe_says(shop: Shop) -> None:
    made = shop.compile(
        'printf "%s|" "$VERSION" "$JOBS" "$SOURCE_DATE_EPOCH" "$OWN" "$(umask)" "$PWD" >text',
        INSTALL,
        variables=(("OWN", "$HOME `x`"),),
    )
    assert shop.text(made, "srv/text") == f"1.2|2|{MTIME}|$HOME `x`|0022|/build/src|"


def test_patches_come_in_their_order(shop: Shop) -> None:
    require("patch")

    def patch(before: str, after: str) -> bytes:
        return f"--- a/text\n+++ b/text\n@@ -1 +1 @@\n-{before}\n+{after}\n".encode()

    patches = [("z.patch", patch("as it came", "once")), ("a.patch", patch("once", "twice"))]
    assert shop.text(shop.compile(INSTALL, patches=patches), "srv/text") == "twice\n"
    with pytest.raises(BuildError, match=r"web\.toml: patch -p1 < 000-a\.patch: expected status"):
        shop.compile(INSTALL, patches=patches[::-1])


def test_libraries_that_share_folders_are_all_there(shop: Shop) -> None:
    folders = tuple(Entry(path, "directory", 0o755, 0) for path in ("usr", "usr/lib"))

    def library(name: str, common: bytes) -> Tree:
        contents = {"common": common, name: name.encode()}
        return shop.stored(
            *folders,
            *(
                Entry(f"usr/lib/{path}", "file", 0o600, 0, content=Content.inline(data))
                for path, data in sorted(contents.items())
            ),
        )

    needs = [library("one", b"first "), library("two", b"second ")]
    gather = "cd $SYSROOT/usr/lib; cat common one two >/build/src/text"
    made = shop.compile(gather, INSTALL, needs=needs)
    # Of equal names the later one's is seen.
    assert shop.text(made, "srv/text") == "second onetwo"


def test_needed_libraries_cannot_be_changed(shop: Shop) -> None:
    need = shop.stored(Entry("f", "file", 0o644, 0, content=Content.inline(b"x")))
    with pytest.raises(BuildError, match=r"build\.steps\[0\]"):
        shop.compile("echo y >$SYSROOT/f", needs=[need])


def test_a_step_that_fails_is_named_with_the_end_of_the_log(shop: Shop) -> None:
    with pytest.raises(BuildError) as caught:
        shop.compile("true", "seq 100; echo broken >&2; (exit 7)", "touch $DESTDIR/never")
    assert str(caught.value) == "web.toml: build.steps[1]: expected status 0, got 7"
    assert len(caught.value.log_tail) == 40
    assert caught.value.log_tail[-1] == "broken"
    assert "`minid logs web` has all lines" in caught.value.hint


def test_a_long_step_is_named_too(shop: Shop) -> None:
    with pytest.raises(BuildError, match=r"build\.steps\[1\]: expected status 0, got 3"):
        shop.compile("true", ": " + "x" * 20_000 + "; exit 3")


def test_steps_stop_at_the_first_failure_inside_them(shop: Shop) -> None:
    with pytest.raises(BuildError, match=r"build\.steps\[0\]"):
        shop.compile(f"false\n{INSTALL}")
    with pytest.raises(BuildError, match=r"build\.steps\[0\]"):
        shop.compile(f"echo $UNSET_VARIABLE\n{INSTALL}")


def test_a_limit_is_named(shop: Shop) -> None:
    limits = replace(shop.workplace.limits, silence_s=1)
    wanted = r"expected to stay within build\.limits\.silence"
    with pytest.raises(BuildError, match=wanted) as caught:
        shop.compile("sleep 60", limits=limits)
    assert "config.toml" in caught.value.hint


def test_nothing_installed(shop: Shop) -> None:
    with pytest.raises(BuildError, match=r"expected files below \$DESTDIR, got none") as caught:
        shop.compile("mkdir $DESTDIR/empty")
    assert "make DESTDIR=$DESTDIR install" in caught.value.hint


def test_an_archive_that_is_none_is_named_as_people_know_it(shop: Shop) -> None:
    archive = shop.folder / "web-1.2.tar.gz"

    def compile_broken() -> None:
        archive.write_bytes(b"<html>not found</html>")
        compile_source(
            Recipe(
                name="web",
                file=Path("web.toml"),
                folder=Path("web"),
                kind="library",
                source=Source("1.2", "https://upstream.test/web-{version}.tar.gz", Digest.of(b"")),
                build=Build(environment="host", steps=("true",)),
            ),
            archive,
            patches=(),
            needs=(),
            environment=HOST,
            workplace=shop.workplace,
            blobs=shop.blobs,
            read=read_content(shop.blobs),
            log=shop.log,
        )

    with pytest.raises(UnpackError, match=r"web\.toml: web-1\.2\.tar\.gz: "):
        compile_broken()


def compiled(folder: Path) -> bytes:
    require("gcc")
    source = folder / "main.c"
    source.write_text("static int unused_name = 7; int main(void) { return unused_name; }\n")
    subprocess.run(["gcc", "-g", "-o", folder / "main", source], check=True)
    return (folder / "main").read_bytes()


def strip(shop: Shop, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return strip_files(
        StripRequest("--strip-all", files),
        environment=HOST,
        identity=shop.workplace.identity,
        jobs_folder=shop.workplace.jobs_folder,
        limits=shop.workplace.limits,
    )


def test_strip_makes_programs_smaller_and_they_still_run(shop: Shop) -> None:
    require("strip")
    program = compiled(shop.folder)
    made = strip(shop, {"bin/$(touch x); -o": program, "bin/two": program})
    assert made.keys() == {"bin/$(touch x); -o", "bin/two"}
    small = made["bin/two"]
    assert b"unused_name" in program
    assert b"unused_name" not in small
    (shop.folder / "small").write_bytes(small)
    (shop.folder / "small").chmod(0o755)
    assert subprocess.run([shop.folder / "small"], check=False).returncode == 7


def test_what_strip_refuses_stays(shop: Shop) -> None:
    require("strip")
    program = compiled(shop.folder)
    made = strip(shop, {"text": b"no ELF file", "cut": program[:100], "whole": program})
    assert made.keys() == {"whole"}
    assert strip(shop, {"again": made["whole"]}) == {}


def test_an_environment_without_strip(shop: Shop) -> None:
    empty = shop.folder / "root"
    for name in ("usr/bin", "etc"):
        (empty / name).mkdir(parents=True)
    require("busybox")
    (empty / "usr/bin/sh").write_bytes(Path("/bin/busybox").read_bytes())
    (empty / "usr/bin/sh").chmod(0o755)
    (empty / "bin").symlink_to("usr/bin")
    environment = replace(HOST, name="bare", kind="debian", root=str(empty))
    with pytest.raises(BuildError, match="environment 'bare', got no such program") as caught:
        strip_files(
            StripRequest("--strip-all", {"a": b"x"}),
            environment=environment,
            identity=shop.workplace.identity,
            jobs_folder=shop.workplace.jobs_folder,
            limits=shop.workplace.limits,
        )
    assert "binutils" in caught.value.hint
