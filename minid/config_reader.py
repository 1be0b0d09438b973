"""config.toml to a frozen Config, with every problem told at once.

The format itself is declared in `minid.config_tables`. The environment is passed in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from minid.config import Config, EnvironmentSpec, Paths, Publishing, Serving, Signing
from minid.config_tables import CONFIG, MIRROR
from minid.errors import ConfigError
from minid.formats.table import Problem, Problems, read_table
from minid.formats.toml import MAX_BYTES, TomlError, parse_toml

SYSTEM_CONFIG = Path("/etc/minid/config.toml")
SYSTEM_STATE = Path("/var/lib/minid")
SIGNING_CREDENTIAL = "sign.key"
_BUILT_IN = (
    EnvironmentSpec(name="debian", kind="debian"),
    EnvironmentSpec(name="host", kind="host", packages=()),
)


def find_config(start: Path, environ: Mapping[str, str]) -> Path | None:
    """The config.toml that counts in the folder `start`, or None where there is none.

    MINID_CONFIG names it, whether or not it exists; else it lies in `start`, in a folder above it,
    or in /etc/minid.
    """
    if named := environ.get("MINID_CONFIG"):
        return start / named
    for folder in (start, *start.absolute().parents):
        file = folder / "config.toml"
        if file.is_file():
            return file
    return SYSTEM_CONFIG if SYSTEM_CONFIG.is_file() else None


def load_config(
    file: Path | None, environ: Mapping[str, str], *, start: Path | None = None
) -> Config:
    """Read config.toml, or make the defaults of a folder when there is none.

    Relative paths in the file are relative to its folder; those in MINID_STATE and MINID_MIRRORS,
    and the defaults without a file, to `start` (the current folder). ConfigError holds every
    problem, one a line.
    """
    start = (start or Path.cwd()).absolute()
    if file is None:
        document: dict[str, Any] = {}
        folder, shown = start, "the defaults"
    else:
        file = start / file
        document, folder, shown = _read_document(file), file.parent, str(file)
    values, problems = read_table(CONFIG, document, shown)
    extra = tuple(_mirrors_of(environ, start, problems))
    if values is None or problems.count:
        raise ConfigError(problems.text(), hint="see docs/reference/config.md for every key")
    return _make_config(file, folder, values, environ, start=start, mirrors=extra)


def config_problems(text: bytes, file: Path) -> tuple[Problem, ...]:
    """The problems of a config.toml's text, as values."""
    try:
        document = parse_toml(text)
    except TomlError as error:
        problems = Problems(str(file))
        problems.add_at_line(error.line, error.expected, error.got)
        return tuple(problems.found)
    return tuple(read_table(CONFIG, document, str(file))[1].found)


def config_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of config.toml, for editors."""
    from minid.formats.schema import document_schema

    return document_schema(CONFIG, "minid config.toml")


def _read_document(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "an error").lower()
        raise ConfigError(f"{file}: expected a readable file, got {reason}") from error
    try:
        return parse_toml(data)
    except TomlError as error:
        where = f"{file}:{error.line}" if error.line else str(file)
        raise ConfigError(f"{where}: {error}") from error


def _make_config(
    file: Path | None,
    folder: Path,
    values: dict[str, Any],
    environ: Mapping[str, str],
    *,
    start: Path,
    mirrors: tuple[str, ...],
) -> Config:
    own = tuple(_resolve_mirror(mirror, folder) for mirror in values.pop("mirrors", ()))
    paths = values.pop("paths", {})
    state = SYSTEM_STATE if file == SYSTEM_CONFIG else Path("var")
    where = Paths(
        recipes=_absolute(folder, paths.get("recipes", "recipes")),
        state=_absolute(folder, paths.get("state", state)),
    )
    if named := environ.get("MINID_STATE"):
        where = replace(where, state=_absolute(start, named))
    publish = values.pop("publish", {})
    for key in ("export", "registry_ca"):
        if key in publish:
            publish[key] = _absolute(folder, publish[key])
    publish["sign"] = _make_signing(values.pop("sign", {}), folder, environ)
    daemon = values.pop("daemon", {})
    if "socket" in daemon:
        daemon["socket"] = _absolute(folder, daemon["socket"])
    return Config(
        file=file,
        paths=where,
        mirrors=tuple(dict.fromkeys((*mirrors, *own))),
        environments=_make_environments(values.pop("environments", ()), folder),
        publish=Publishing(**publish),
        daemon=Serving(**daemon),
        **values,
    )


def _make_signing(values: dict[str, Any], folder: Path, environ: Mapping[str, str]) -> Signing:
    """The keys of the file; without a secret one there, systemd's credential if it gives one."""
    keys = {name: _absolute(folder, path) for name, path in values.items()}
    given = environ.get("CREDENTIALS_DIRECTORY", "")
    if "key" not in keys and given and Path(given, SIGNING_CREDENTIAL).exists():
        keys["key"] = Path(given, SIGNING_CREDENTIAL)
    return Signing(**keys)


def _make_environments(
    pairs: tuple[tuple[str, dict[str, Any]], ...], folder: Path
) -> tuple[EnvironmentSpec, ...]:
    specs = {spec.name: spec for spec in _BUILT_IN}
    for name, fields in pairs:
        if "mirror" in fields:
            fields["mirror"] = _resolve_mirror(fields["mirror"], folder)
        specs[name] = EnvironmentSpec(name=name, **fields)
    return tuple(specs[name] for name in sorted(specs))


def _mirrors_of(environ: Mapping[str, str], start: Path, problems: Problems) -> Iterator[str]:
    outside = Problems("MINID_MIRRORS")
    for mirror in environ.get("MINID_MIRRORS", "").split():
        if MIRROR.read(mirror, "", outside) is not None:
            yield _resolve_mirror(mirror, start)
    problems.extend(outside)


def _resolve_mirror(mirror: str, folder: Path) -> str:
    if not mirror.startswith("file:"):
        return mirror.rstrip("/")
    # file:///srv and file:/srv are the same folder; Path keeps exactly two leading slashes.
    bare = re.sub(r"^/{2,}", "/", mirror.removeprefix("file:"))
    return f"file:{_absolute(Path(_quote(str(folder.absolute()))), bare)}"


def _quote(path: str) -> str:
    """A path as the part of a URL that it is: a folder may be called `50%` or `c#`."""
    return re.sub("[%#?]", lambda match: f"%{ord(match[0]):02X}", path)


def _absolute(folder: Path, path: str | Path) -> Path:
    return Path(os.path.normpath(folder.absolute() / path))
