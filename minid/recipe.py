"""A recipe as frozen values. Reading and validating a file is `minid.recipe_reader`'s work.

Every text that may hold `{version}`, `{major}`, `{minor}` or `{patch}` is kept as written and
expanded with `expand` when the version is known: the tracker may move it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from minid.errors import RecipeError
from minid.formats.digest import Digest

# What a program does not need to run. Globs over absolute image paths; `**` crosses folders.
DEFAULT_DROP = (
    "**/include/**",
    "**/*.a",
    "**/*.la",
    "**/*.o",
    "**/pkgconfig/**",
    "**/cmake/**",
    "**/aclocal/**",
    "**/share/man/**",
    "**/man/man[0-9]*/**",
    "**/share/info/**",
    "**/share/doc/**",
    "**/share/gtk-doc/**",
    "**/share/bash-completion/**",
    "**/share/zsh/**",
    "**/share/fish/**",
    "**/share/locale/**",
)


@dataclass(frozen=True, slots=True)
class Alternative:
    """Other bytes of the same release, with a digest of their own."""

    url: str
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Distro:
    """The distribution's source package: `<package>_<version>.orig.tar.*`, a fallback."""

    package: str
    version: str
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Source:
    """Where the upstream archive comes from and what its bytes must be. `moved_from` are version
    and URL of the recipe's file, where minid moved the recipe to another release."""

    version: str
    url: str
    sha256: Digest
    distro: Distro | None = None
    alternatives: tuple[Alternative, ...] = ()
    patches: tuple[str, ...] = ()
    released: int | None = None
    moved_from: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """How the source becomes an install tree."""

    environment: str = "debian"
    packages: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """Which files of the install tree stay."""

    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    dlopen: tuple[str, ...] = ()
    strip: bool = True


@dataclass(frozen=True, slots=True)
class User:
    """A line of passwd, with its group and its shadow line. `uid` None: the next free from 100."""

    name: str
    uid: int | None = None
    gid: int | None = None
    home: str = "/"
    shell: str = "/bin/false"
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A line of group. `gid` None: the next free from 100."""

    name: str
    gid: int | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of the rootfs. `mode` is an int; `group` empty means the owner's own group."""

    path: str
    owner: str = "root"
    group: str = ""
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class File:
    """A file of the rootfs, from `content` or from `source`, a file in the recipe's own folder."""

    path: str
    content: str | None = None
    source: str | None = None
    owner: str = "root"
    group: str = ""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one text file. `replace` must occur exactly `expect` times (default once)."""

    path: str
    prepend: str = ""
    append: str = ""
    replace: str | None = None
    with_: str = ""
    expect: int = 1


@dataclass(frozen=True, slots=True)
class Rootfs:
    """What lies below and beside the payload."""

    base: str = "busybox"
    users: tuple[User, ...] = ()
    groups: tuple[Group, ...] = ()
    directories: tuple[Directory, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    files: tuple[File, ...] = ()
    edits: tuple[Edit, ...] = ()
    remove: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageTable:
    """The image's configuration. None means: as the base has it."""

    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = ""
    expose: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    comment: str = ""
    author: str = ""
    tags: tuple[str, ...] = ("{version}", "latest")
    budget_bytes: int | None = None
    squash: bool = False


@dataclass(frozen=True, slots=True)
class StartFile:
    """A file that a check lays into its container, and into nothing else."""

    path: str
    content: str
    owner: str = "root"
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate with its key, made anew for one container of a check."""

    cert: str
    key: str
    names: tuple[str, ...] = ("localhost",)
    owner: str = "root"


@dataclass(frozen=True, slots=True)
class Start:
    """How a check starts its container: as `docker run -e … IMAGE cmd…`. `cmd` None: the image's
    own."""

    env: tuple[tuple[str, str], ...] = ()
    cmd: tuple[str, ...] | None = None
    files: tuple[StartFile, ...] = ()
    certificate: Certificate | None = None


CheckKind = Literal["http", "tcp", "exec", "start", "restart", "stop", "process", "log", "fastcgi"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the smoke test's script: `kind` says which of the fields count.

    http: port, path, status, contains, headers, tls. tcp: port, send, contains. exec: argv,
    exit_code, contains (searched in stdout and stderr together). start: start. stop: exit_code.
    process: name, user. log: stream ("" is either), contains. fastcgi: port, script, query, params,
    status, contains. `deadline_s` bounds all retries together.
    """

    kind: CheckKind
    port: int = 0
    path: str = "/"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    tls: bool = False
    send: str = ""
    argv: tuple[str, ...] = ()
    exit_code: int = 0
    contains: str = ""
    deadline_s: float = 10.0
    start: Start | None = None
    name: str = ""
    user: str = ""
    stream: Literal["", "stdout", "stderr"] = ""
    script: str = ""
    query: str = ""
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Track:
    """Where new releases show up: the validated table, for the tracker (see docs/reference)."""

    source: Literal["index", "json", "text", "git-tags", "none"] = "none"
    options: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Keep:
    """`[keep]`: how much of a recipe is left by `minid gc`; None: as config.toml says."""

    images: int | None = None
    age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """An entry of `lint.ignore`: findings of a rule that are let be, and why; at these paths."""

    rule: str
    reason: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lint:
    """`[lint]`: what is let be of what lints find in the image."""

    ignore: tuple[Silence, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe. `kind` is `library` when the file has none of [rootfs], [image], [[check]].

    `folder` holds the recipe's patches and files; it need not exist.
    """

    name: str
    file: Path
    folder: Path
    kind: Literal["image", "library"]
    source: Source
    build: Build
    summary: str = ""
    license: str = ""
    homepage: str = ""
    track: Track = Track()
    contents: Contents = Contents()
    rootfs: Rootfs = Rootfs()
    image: ImageTable = ImageTable()
    checks: tuple[Check, ...] = ()
    keep: Keep = Keep()
    lint: Lint = Lint()


_PLACEHOLDER = re.compile(r"\{(version|major|minor|patch)\}")
_TAG = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@lru_cache(maxsize=256)
def version_parts(version: str) -> Mapping[str, str]:
    """`{version}`, `{major}`, `{minor}`, `{patch}` of a version; a missing component is `0`."""
    numbers = [*re.findall(r"\d+", version), "0", "0", "0"]
    return {"version": version, "major": numbers[0], "minor": numbers[1], "patch": numbers[2]}


def expand(template: str, version: str) -> str:
    """`template` with its placeholders filled in; other braces are left alone (shell, JSON)."""
    if "{" not in template:
        return template
    parts = version_parts(version)
    return _PLACEHOLDER.sub(lambda match: parts[match.group(1)], template)


def tag_names(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's tags as `repository:tag`, in the order of the file, each once.

    A tag is under the recipe's own name unless it brings one (`nginx:1.22` in nginx-1.22.toml).
    """
    tags = [expand(tag, recipe.source.version) for tag in recipe.image.tags]
    names = [tag if ":" in tag else f"{recipe.name}:{tag}" for tag in tags]
    for name in names:
        if not _TAG.fullmatch(name):
            raise RecipeError(f"{recipe.file}: image.tags: expected a tag name, got {name!r}")
    return tuple(dict.fromkeys(names))
