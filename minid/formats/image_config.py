"""The configuration of somebody's image: what minid needs of it, and that all of it has the shape
of the OCI image specification, so that whoever reads it later need not look again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minid.errors import UnpackError
from minid.formats.digest import Digest
from minid.formats.foreign_json import (
    bound_layers,
    get,
    get_optional,
    get_texts,
    parse_digest,
    read_json,
    typed,
)

_LISTS = ("Cmd", "Entrypoint", "Env", "OnBuild", "Shell")
_TEXTS = ("User", "WorkingDir", "StopSignal")
_MAPS = ("ExposedPorts", "Volumes", "Labels")


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """What loading needs of a configuration. `created` as it is written, and may be empty."""

    diff_ids: tuple[Digest, ...]
    labels: Mapping[str, str]
    created: str
    history: tuple[tuple[str, str], ...]
    """`created_by` and `comment` of the lines that have a layer."""


def parse_config(data: bytes, where: str) -> ConfigFacts:
    """Read an image configuration; UnpackError for what is none, or not for Linux."""
    value = typed(read_json(data, where), dict, where)
    system = get_optional(value, "os", str, where)
    if system not in ("", "linux"):
        raise UnpackError(f"{where}: expected an image for linux, got {system[:40]!r}")
    for key in ("architecture", "author", "comment"):
        get_optional(value, key, str, where)
    rows = get(get(value, "rootfs", dict, where), "diff_ids", list, where)
    bound_layers(rows, where)
    return ConfigFacts(
        diff_ids=tuple(parse_digest(row, where) for row in rows),
        labels=_check_run(get_optional(value, "config", dict, where), where),
        created=get_optional(value, "created", str, where),
        history=_history(value, where),
    )


def _check_run(run: Mapping[str, Any], where: str) -> Mapping[str, str]:
    """The labels of what an image runs, all of which has its right shape."""
    for key in _LISTS:
        get_texts(run, key, where)
    for key in _TEXTS:
        get_optional(run, key, str, where)
    for key in _MAPS:
        get_optional(run, key, dict, where)
    labels: dict[str, str] = get_optional(run, "Labels", dict, where)
    for item in labels.values():
        typed(item, str, f"{where}: Labels")
    return labels


def _history(value: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    found = []
    for row in get_optional(value, "history", list, where):
        line = typed(row, dict, f"{where}: history")
        words = [
            get_optional(line, key, str, f"{where}: history")
            for key in ("created_by", "comment", "created", "author")
        ]
        if not get_optional(line, "empty_layer", bool, f"{where}: history"):
            found.append((words[0], words[1]))
    return tuple(found)
