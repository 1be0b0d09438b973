"""Changing what an image's configuration says, on the same layers.

Pure: the stored configuration and manifest in, their new bytes out. Fields that minid does not know
stay as they are, so images of others keep what is theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from minid.formats.digest import canonical_json
from minid.formats.edit_history import Instruction, add_history, rewrite_history
from minid.formats.oci import Descriptor

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What one edit asks for; None and empty leave a field alone.

    An `entrypoint` without a `cmd` clears the cmd, as in a Dockerfile; so does an empty `cmd`.
    """

    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: Pairs = ()
    unset_env: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    expose: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Pairs = ()
    unset_labels: tuple[str, ...] = ()
    stop_signal: str | None = None
    author: str | None = None
    comment: str | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, item.name) != item.default for item in fields(self))


def dump_change(change: Change) -> dict[str, object]:
    """What is asked for as JSON values, for the ledger."""
    return {
        item.name: getattr(change, item.name)
        for item in fields(change)
        if getattr(change, item.name) != item.default
    }


def parse_change(value: Mapping[str, object]) -> Change:
    """Read what `dump_change` wrote."""
    return Change(**{name: _frozen(found) for name, found in value.items()})  # type: ignore[arg-type]


def _frozen(value: object) -> object:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def edit_config(config: Mapping[str, Any], change: Change, *, layered: bool = False) -> bytes:
    """The configuration's bytes after the change.

    The layers are those of before. `layered` writes the change as lines of history of its own, as
    a Dockerfile does; else the lines that said it before say it now.
    """
    run = dict(config.get("config") or {})
    _change_run(run, change)
    value: dict[str, Any] = {**config, "config": run}
    for name in ("author", "comment"):
        wanted = getattr(change, name)
        if wanted is not None:
            value[name] = wanted
            if not wanted:
                del value[name]
    history = [dict(line) for line in config.get("history") or [] if isinstance(line, dict)]
    words, created = instructions(change), str(config.get("created", ""))
    if layered:
        add_history(history, words, created=created, change=change)
    else:
        comment = str(config.get("comment", ""))
        rewrite_history(history, words, created=created, comment=comment, change=change)
    value["history"] = history
    return canonical_json(value)


def _change_run(run: dict[str, Any], change: Change) -> None:
    env = dict(item.split("=", 1) for item in run.get("Env") or [] if "=" in item)
    env |= dict(change.env)
    labels = dict(run.get("Labels") or {}) | dict(change.labels)
    for name in change.unset_env:
        env.pop(name, None)
    for name in change.unset_labels:
        labels.pop(name, None)
    if change.env or change.unset_env:
        run["Env"] = [f"{name}={value}" for name, value in env.items()]
    if change.labels or change.unset_labels:
        run["Labels"] = labels
    if change.entrypoint is not None:
        run["Entrypoint"] = list(change.entrypoint)
        run["Cmd"] = []
    if change.cmd is not None:
        run["Cmd"] = list(change.cmd)
    if change.expose:
        run["ExposedPorts"] = dict(run.get("ExposedPorts") or {}) | {p: {} for p in change.expose}
    if change.volumes:
        run["Volumes"] = dict(run.get("Volumes") or {}) | {path: {} for path in change.volumes}
    for key, text in (
        ("User", change.user),
        ("WorkingDir", change.workdir),
        ("StopSignal", change.stop_signal),
    ):
        if text is not None:
            run[key] = text
    for key in ("Env", "Entrypoint", "Cmd", "Labels", "User", "WorkingDir", "StopSignal"):
        if key in run and not run[key]:
            del run[key]


def instructions(change: Change) -> list[Instruction]:
    """The change as lines of a Dockerfile; what it takes away has no such line."""
    found = [Instruction("ENV", f"{name}={value}", name) for name, value in change.env]
    found += [Instruction("LABEL", f"{name}={value}", name) for name, value in change.labels]
    for word, text in (
        ("USER", change.user),
        ("WORKDIR", change.workdir),
        ("STOPSIGNAL", change.stop_signal),
    ):
        if text is not None:
            found.append(Instruction(word, text))
    if change.expose:
        found.append(Instruction("EXPOSE", " ".join(change.expose)))
    if change.volumes:
        found.append(Instruction("VOLUME", json.dumps(list(change.volumes), ensure_ascii=False)))
    for word, words in (("ENTRYPOINT", change.entrypoint), ("CMD", change.cmd)):
        if words is not None:
            found.append(Instruction(word, json.dumps(list(words), ensure_ascii=False)))
    return found


def edit_manifest(manifest: Mapping[str, Any], config: Descriptor) -> bytes:
    """The manifest's bytes with another configuration, of the media type that it had."""
    before = manifest.get("config") or {}
    described = config.as_json() | {"mediaType": before.get("mediaType", config.media_type)}
    return canonical_json({**manifest, "config": described})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a configuration, before and after; None where it is not there."""

    field: str
    before: object
    after: object

    def as_json(self) -> dict[str, object]:
        """The change as JSON values."""
        return asdict(self)


_SHOWN = ("author", "comment")


def compare_configs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[FieldChange]:
    """The fields that people set which differ; of Env and Labels each entry by itself."""
    left, right = _flat(before), _flat(after)
    return [
        FieldChange(name, left.get(name), right.get(name))
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]


def _flat(config: Mapping[str, Any]) -> dict[str, object]:
    run = dict(config.get("config") or {})
    found: dict[str, object] = {name: config[name] for name in _SHOWN if config.get(name)}
    for item in run.pop("Env", None) or []:
        name, _, value = str(item).partition("=")
        found[f"Env.{name}"] = value
    for name, value in (run.pop("Labels", None) or {}).items():
        found[f"Labels.{name}"] = value
    for name in ("ExposedPorts", "Volumes"):
        if run.get(name):
            run[name] = sorted(run[name])
    return found | {name: value for name, value in run.items() if value not in (None, "", [], {})}
