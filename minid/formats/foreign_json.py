"""JSON of others, taken at its word only where it has the shape that is expected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from minid.errors import UnpackError
from minid.formats.digest import Digest

_MAX_LAYERS = 512


def read_json(data: bytes, where: str) -> object:
    """The value; UnpackError for what is no JSON, also for what JSON of another reader is not: NaN,
    and halves of surrogate pairs, which no UTF-8 can hold."""
    try:
        value: object = json.loads(data, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise UnpackError(f"{where}: expected JSON, got {str(error)[:80]}") from None
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"the number {text}")


def typed(value: object, kind: type, where: str) -> Any:  # noqa: ANN401 (JSON)
    """The value, which must be of that type; UnpackError otherwise."""
    if not isinstance(value, kind):
        raise UnpackError(f"{where}: expected a {kind.__name__}, got {type(value).__name__}")
    return value


def get(value: object, key: str, kind: type, where: str) -> Any:  # noqa: ANN401 (JSON)
    """A field of an object, which must be there and of that type."""
    return typed(typed(value, dict, where).get(key), kind, f"{where}: {key}")


def get_optional(value: Mapping[str, Any], key: str, kind: type, where: str) -> Any:  # noqa: ANN401
    """A field of that type; its empty value where it is missing or null."""
    found = value.get(key)
    return kind() if found is None else typed(found, kind, f"{where}: {key}")


def get_texts(value: Mapping[str, Any], key: str, where: str) -> list[str]:
    """A list of strings; empty where it is missing or null."""
    rows = get_optional(value, key, list, where)
    return [typed(row, str, f"{where}: {key}") for row in rows]


def digest_of(descriptor: Mapping[str, Any], where: str) -> Digest:
    """The digest of a descriptor."""
    return parse_digest(descriptor.get("digest"), where)


def parse_digest(value: object, where: str) -> Digest:
    """A SHA-256 digest with its name in front; UnpackError for anything else."""
    try:
        if str(value).startswith("sha256:"):
            return Digest.parse(str(value))
    except ValueError:
        pass
    raise UnpackError(f"{where}: expected a sha256 digest, got {str(value)[:80]!r}")


def bound_layers(rows: Sequence[object], where: str) -> None:
    """UnpackError for more layers than any engine mounts."""
    if len(rows) > _MAX_LAYERS:
        raise UnpackError(f"{where}: expected at most {_MAX_LAYERS} layers, got {len(rows)}")
