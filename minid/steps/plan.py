"""What a recipe's image depends on, and the keys under which the store knows its stages.

A key is the SHA-256 of the canonical JSON of everything that shapes a stage's output. A stage whose
key has a result is not run again. `Inputs` keeps the same facts by name, so that `explain` can say
which of them changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache

from minid.errors import RecipeError
from minid.formats.digest import Digest
from minid.formats.lint import LINT_VERSION
from minid.recipe import (
    Certificate,
    Check,
    Contents,
    Directory,
    Edit,
    File,
    Group,
    ImageTable,
    Recipe,
    Rootfs,
    Silence,
    Start,
    StartFile,
    User,
)

# Raised when a stage's code changes what it makes: results of older code are not used then.
STAGE_VERSIONS = {"compile": 1, "pack": 3, "compose": 2, "image": 4, "check": 1}

_MAX_OWN_FILE = 64 << 20


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """The files of a recipe's folder that it names: patches in order, and sources of the rootfs."""

    patches: tuple[tuple[str, bytes], ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The keys of one recipe's stages, hex, and the named inputs behind them.

    `image` and what follows are empty for a library recipe.
    """

    compile: str
    pack: str = ""
    compose: str = ""
    image: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)


def load_own_files(recipe: Recipe) -> OwnFiles:
    """Read what the recipe names below its own folder; RecipeError where a file is missing."""
    patches = tuple((name, _read_own(recipe, name)) for name in recipe.source.patches)
    sources = [item.source for item in recipe.rootfs.files if item.source is not None]
    return OwnFiles(patches, {name: _read_own(recipe, name) for name in sources})


def _read_own(recipe: Recipe, name: str) -> bytes:
    path = recipe.folder / name
    try:
        # A recipe comes from anywhere: its links must not read the operator's other files.
        if not path.resolve().is_relative_to(recipe.folder.resolve()) or not path.is_file():
            raise FileNotFoundError
        if path.stat().st_size > _MAX_OWN_FILE:
            raise RecipeError(f"{recipe.file}: {path}: expected at most {_MAX_OWN_FILE} bytes")
        return path.read_bytes()
    except OSError:
        raise RecipeError(
            f"{recipe.file}: expected the file {name!r} in {recipe.folder}, got nothing"
        ) from None


def _key(stage: str, inputs: Mapping[str, object]) -> str:
    return Digest.of(
        _JSON.encode({"stage": stage, "version": STAGE_VERSIONS[stage], **inputs}).encode()
    ).hex


_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(item.name for item in fields(kind))
    for kind in (
        *(Contents, Rootfs, User, Group, Directory, File, Edit, ImageTable),
        *(Check, Start, StartFile, Certificate, Silence),
    )
}


def _plain(value: object) -> object:
    """One level of a recipe's table as JSON values."""
    return {name: getattr(value, name) for name in _FIELDS[type(value)]}


# `canonical_json` of values that hold dataclasses: ten thousand plans are made at a start.
_JSON = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,
    check_circular=False,
    default=_plain,
)


def _text(value: object) -> str:
    """The JSON of a named input."""
    if value == ():
        return "[]"
    return "null" if value is None else _JSON.encode(value)


@cache
def _machine_text(architecture: str) -> str:
    return _text({**STAGE_VERSIONS, "architecture": architecture})


def _flatten(prefix: str, value: Contents | Rootfs | ImageTable) -> Iterable[tuple[str, str]]:
    """One named input per field of a recipe's table, with its JSON as value."""
    for name in _FIELDS[type(value)]:
        yield f"{prefix}.{name}", _text(getattr(value, name))


def make_plan(
    recipe: Recipe,
    *,
    archive: Digest,
    environment: Digest,
    needs: Mapping[str, str],
    base: Plan | None,
    files: OwnFiles,
    architecture: str,
) -> Plan:
    """The plan of one recipe.

    `needs` gives the compile keys of the library recipes it needs, `base` the plan of the recipe
    below (None for `scratch`), `architecture` the kernel's machine name.
    """
    patches = [[name, Digest.of(data).hex] for name, data in files.patches]
    compile_key = _key(
        "compile",
        {
            "name": recipe.name,
            "release": recipe.source.version,
            "released": recipe.source.released,
            "archive": archive.hex,
            "patches": patches,
            "environment": environment.hex,
            # In their order: where two have a file of one name, the later one's is seen.
            "needs": [list(item) for item in needs.items()],
            "variables": recipe.build.variables,
            "steps": list(recipe.build.steps),
            "architecture": architecture,
        },
    )
    inputs = {
        "minid": _machine_text(architecture),
        "source.version": recipe.source.version,
        "source.released": _text(recipe.source.released),
        "source.archive": str(archive),
        "source.patches": _text(patches),
        "environment": str(environment),
        "build.needs": _text(list(needs)),
        "build.steps": _text(list(recipe.build.steps)),
        "build.variables": _text(recipe.build.variables),
    }
    inputs |= {f"needs.{name}": key for name, key in needs.items()}
    if recipe.kind == "library":
        return Plan(compile=compile_key, inputs=inputs)
    own = {name: Digest.of(data).hex for name, data in files.files.items()}
    return _plan_image(recipe, compile_key, base, own, inputs)


def _plan_image(
    recipe: Recipe,
    compile_key: str,
    base: Plan | None,
    own: Mapping[str, str],
    inputs: Mapping[str, str],
) -> Plan:
    """The plan of an image recipe; `own` are the digests of its rootfs' sources by name."""
    # The closure reads the name service configuration that the image will have.
    pack_key = _key(
        "pack",
        {"compile": compile_key, "contents": recipe.contents, "nss": nsswitch_text(recipe)},
    )
    compose_key = _key(
        "compose",
        {
            "pack": pack_key,
            "base": base.compose if base else "",
            "rootfs": recipe.rootfs,
            "files": own,
            "squash": recipe.image.squash,
        },
    )
    words = {name: str(getattr(recipe, name)) for name in ("summary", "license", "homepage")}
    image_key = _key(
        "image",
        {
            "compose": compose_key,
            "base": base.image if base else "",
            "image": recipe.image,
            "checks": recipe.checks,
            **words,
        },
    )
    named = {
        **inputs,
        **dict(_flatten("contents", recipe.contents)),
        **dict(_flatten("rootfs", recipe.rootfs)),
        **{f"rootfs.files:{name}": digest for name, digest in own.items()},
        **dict(_flatten("image", recipe.image)),
        **words,
        "check": _text(recipe.checks),
        "lint": _text([LINT_VERSION, recipe.lint.ignore]),
        "base": base.image if base else "scratch",
    }
    return Plan(compile_key, pack_key, compose_key, image_key, named)


def nsswitch_text(recipe: Recipe) -> str:
    """The recipe's own nsswitch.conf, or empty: the closure then assumes files and dns."""
    for item in recipe.rootfs.files:
        if item.path == "/etc/nsswitch.conf" and item.content is not None:
            return item.content
    return ""


def changed_inputs(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """The names of inputs that differ, sorted."""
    return tuple(
        sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    )
