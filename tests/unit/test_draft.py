"""Names of archives, build systems, and the recipe that is drafted from both."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from pathlib import Path

import pytest
import zstandard

from minid.errors import RecipeError, UnpackError
from minid.formats.archive_name import parse_archive_name
from minid.formats.digest import Digest
from minid.host.draft import draft_name, draft_recipe, list_archive
from minid.recipe import Recipe, expand
from minid.recipe_reader import parse_recipe

DIGEST = Digest.of(b"archive")
UPSTREAM = Path(
    os.environ.get("MINID_TEST_UPSTREAM", Path(__file__).parents[3] / "shared" / "upstream")
)


@pytest.mark.parametrize(
    ("url", "name", "version", "suffix"),
    [
        ("mysql-boost-8.4.10.tar.gz", "mysql-boost", "8.4.10", ".tar.gz"),
        ("pcre2-10.46.tar.gz", "pcre2", "10.46", ".tar.gz"),
        ("zlib-1.3.2-dfsg.tar.gz", "zlib", "1.3.2", "-dfsg.tar.gz"),
        ("php-8.2.32.tar.xz", "php", "8.2.32", ".tar.xz"),
        ("openssl-3.0.20.tar.gz", "openssl", "3.0.20", ".tar.gz"),
        ("openssl-1.1.1w.tar.gz", "openssl", "1.1.1w", ".tar.gz"),
        ("openssh-9.9p1.tar.gz", "openssh", "9.9p1", ".tar.gz"),
        ("redis-8.10-rc1.tar.gz", "redis", "8.10-rc1", ".tar.gz"),
        ("boost_1_84_0.tar.bz2", "boost", "1_84_0", ".tar.bz2"),
        ("nginx_1.26.3.orig.tar.gz", "nginx", "1.26.3", ".orig.tar.gz"),
        ("node-v22.1.0.tgz", "node", "22.1.0", ".tgz"),
        ("tzdata2024a.tar.gz", "tzdata", "2024a", ".tar.gz"),
        ("Python-3.12.4.tar.zst", "python", "3.12.4", ".tar.zst"),
        ("7zip-24.07.tar", "7zip", "24.07", ".tar"),
        ("glib-2-1.4.tar.gz", "glib-2", "1.4", ".tar.gz"),
        ("sqlite-autoconf-3460100.tar.gz", "sqlite-autoconf", "3460100", ".tar.gz"),
        ("https://github.com/o/repo/archive/refs/tags/v1.2.3.tar.gz", "repo", "1.2.3", ".tar.gz"),
        ("https://example.org/a/x-1.0.tar.gz?mirror=2#top", "x", "1.0", ".tar.gz"),
    ],
)
def test_archive_names(url: str, name: str, version: str, suffix: str) -> None:
    about = parse_archive_name(url)
    assert (about.name, about.version, about.suffix) == (name, version, suffix)
    assert re.search(re.escape(about.prefix + about.version + about.suffix), url)


@pytest.mark.parametrize(
    "url",
    ["x.tar.gz", "x-1.0.zip", "x-1.0", "", "a%0Ab-1.0.tar.gz", "https://h/v1.2.tar.gz", "é-1.tar"],
)
def test_names_without_a_version_or_name(url: str) -> None:
    with pytest.raises(ValueError, match="expected "):
        parse_archive_name(url)
    with pytest.raises(RecipeError, match="expected "):
        draft_name(url)


def archive(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A tar archive of these files; a name's last part says how it is compressed."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    data = plain.getvalue()
    if name.endswith(".zst"):
        data = zstandard.ZstdCompressor().compress(data)
    elif name.endswith(".gz"):
        data = gzip.compress(data)
    file = folder / name
    file.write_bytes(data)
    return file


def draft(file: Path, folder: str = "https://example.org/download/") -> tuple[str, Recipe]:
    url = folder + file.name
    text = draft_recipe(file, url, DIGEST)
    return text, parse_recipe(text.encode(), Path(f"{draft_name(url)}.toml"))


@pytest.mark.parametrize(
    ("files", "step", "packages"),
    [
        ({"configure": "", "CMakeLists.txt": ""}, "./configure --prefix=/usr/local", ()),
        ({"configure": "", "auto/options": ""}, "./configure --prefix=/usr/local/nginx", None),
        ({"configure": "", "main/php_version.h": ""}, "make INSTALL_ROOT=$DESTDIR install", ()),
        ({"Config.in": "", "Makefile": ""}, "make CONFIG_PREFIX=$DESTDIR install", ()),
        ({"meson.build": "", "CMakeLists.txt": ""}, "ninja -C build -j$JOBS", None),
        ({"CMakeLists.txt": "", "Makefile": ""}, "cmake --build build -j $JOBS", ("cmake",)),
        ({"configure.ac": ""}, "autoreconf -fi", ("autoconf", "automake", "libtool")),
        ({"Configure": "", "configdata.pm.in": ""}, "make DESTDIR=$DESTDIR install_sw", ("perl",)),
        (
            {"Makefile": "install:\n\tcp x $(DESTDIR)$(PREFIX)"},
            "make PREFIX=/usr/local prefix=/usr/local DESTDIR=$DESTDIR install",
            (),
        ),
        (
            {"Makefile": "all:", "src/Makefile": "install:\n\tcp x $(PREFIX)"},
            "make PREFIX=$DESTDIR/usr/local prefix=$DESTDIR/usr/local install",
            (),
        ),
    ],
)
def test_build_systems(
    tmp_path: Path, files: dict[str, str], step: str, packages: tuple[str, ...] | None
) -> None:
    inside = {f"thing-1.0/{name}": text for name, text in files.items()}
    _, made = draft(archive(tmp_path, "thing-1.0.tar.gz", inside))
    assert step in made.build.steps
    if packages is not None:
        assert made.build.packages == packages


def test_a_draft_is_an_image_recipe_with_everything_known_filled_in(tmp_path: Path) -> None:
    text, made = draft(archive(tmp_path, "Thing-1.2.tar.zst", {"Thing-1.2/configure": ""}))
    assert (made.name, made.kind) == ("thing", "image")
    assert made.source.version == "1.2"
    assert made.source.url == "https://example.org/download/Thing-{version}.tar.zst"
    assert made.source.sha256 == DIGEST
    track = dict(made.track.options)
    assert track["url"] == "https://example.org/download/"
    match = re.compile(str(track["match"]))
    assert match.fullmatch("Thing-1.2.tar.zst")
    found = match.fullmatch("Thing-12.3.4.tar.zst")
    assert found is not None and found["version"] == "12.3.4"
    assert not match.fullmatch("Thing-1.2.tar.zst.asc")
    assert not match.fullmatch("Thing-extra-1.2.tar.zst")
    assert "docs/reference/recipe.md" in text


def test_a_library_is_told_by_its_pkg_config_template(tmp_path: Path) -> None:
    files = {"z-1.0/configure": "", "z-1.0/z.pc.in": ""}
    text, made = draft(archive(tmp_path, "z-1.0.tar.gz", files))
    assert made.kind == "library"
    uncommented = re.sub(r"^# (?=\[|cmd|comment|tags|exec|contains)", "", text, flags=re.MULTILINE)
    assert parse_recipe(uncommented.encode(), Path("z.toml")).kind == "image"


def test_a_release_on_a_forge_is_followed_by_its_tags(tmp_path: Path) -> None:
    file = archive(tmp_path, "x-1.2.tar.gz", {"configure": ""})
    _, made = draft(file, "https://github.com/o/x/releases/download/x-1.2/")
    track = dict(made.track.options)
    assert made.track.source == "git-tags"
    assert track["url"] == "https://github.com/o/x"
    assert re.fullmatch(str(track["match"]), "x-1.10.1")
    assert expand(made.source.url, "1.3") == (
        "https://github.com/o/x/releases/download/x-1.3/x-1.3.tar.gz"
    )


def test_a_folder_of_one_release_is_no_index(tmp_path: Path) -> None:
    file = archive(tmp_path, "x-1.2.3.tar.gz", {"configure": ""})
    text, made = draft(file, "https://example.org/x/1.2.3/")
    assert made.track.source == "none"
    assert made.source.url == "https://example.org/x/{version}/x-{version}.tar.gz"
    assert "holds one release only" in text
    _, made = draft(file, "https://example.org/1.2/")
    assert made.source.url == "https://example.org/{major}.{minor}/x-{version}.tar.gz"


def test_a_version_with_letters_is_matched_by_its_own_draft(tmp_path: Path) -> None:
    _, made = draft(archive(tmp_path, "x-1.1.1w.tar.gz", {"configure": ""}))
    assert re.fullmatch(str(dict(made.track.options)["match"]), "x-1.1.1w.tar.gz")


@pytest.mark.parametrize("quote", ["'", '"', "\\", "$(id)", "\x7f", "é"])
def test_an_address_cannot_leave_its_string(tmp_path: Path, quote: str) -> None:
    file = archive(tmp_path, "x-1.0.tar.gz", {"configure": ""})
    url = f"https://github.com/o/x/releases/download/v{quote}1.0/x-1.0.tar.gz"
    try:
        text = draft_recipe(file, url, DIGEST)
    except RecipeError as error:
        assert "expected an http or https URL" in error.message
    else:
        parse_recipe(text.encode(), Path("x.toml"))


def test_no_build_system(tmp_path: Path) -> None:
    file = archive(tmp_path, "x-1.0.tar.gz", {"x-1.0/readme": "", "x-1.0/sub/configure": ""})
    with pytest.raises(RecipeError, match=r"/x-1\.0\.tar\.gz: expected a build system"):
        draft(file)


def test_what_is_no_archive(tmp_path: Path) -> None:
    file = tmp_path / "x-1.0.tar.gz"
    file.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(UnpackError, match="got a zip archive"):
        draft(file)
    whole = archive(tmp_path, "y-1.0.tar.gz", {"configure": "x" * 9999}).read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(UnpackError):
        draft(file)


def test_only_one_common_top_folder_is_left_out(tmp_path: Path) -> None:
    one = archive(tmp_path, "a.tar", {"./a/configure": "", "a/b/c": ""})
    assert list_archive(one).names == {"configure", "b/c"}
    two = archive(tmp_path, "b.tar", {"a/configure": "", "b/c": ""})
    assert list_archive(two).names == {"a/configure", "b/c"}
    flat = archive(tmp_path, "c.tar", {"configure": ""})
    assert list_archive(flat).names == {"configure"}


REAL = {
    "busybox-1.37.0.tar.bz2": "Kconfig",
    "musl-1.2.6.tar.gz": "autoconf",
    "nginx-1.26.3.tar.gz": "nginx's own configure",
    "openssl-3.0.20.tar.gz": "OpenSSL's own Configure",
    "pcre2-10.46.tar.gz": "autoconf",
    "php-8.2.32.tar.xz": "PHP's autoconf",
    "redis-8.0.6.tar.gz": "a makefile without DESTDIR",
    "zlib-1.3.2-dfsg.tar.gz": "autoconf",
}


@pytest.mark.parametrize("name", REAL)
def test_real_archives(name: str) -> None:
    file = UPSTREAM / name
    if not file.exists():
        pytest.skip(f"{name} is not in MINID_TEST_UPSTREAM")
    text, made = draft(file)
    assert f"[build]  # {REAL[name]}" in text
    assert expand(made.source.url, made.source.version).endswith(f"/{name}")
    libraries = ("pcre2", "zlib")
    assert (made.kind == "library") == (made.name in libraries)
