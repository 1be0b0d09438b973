"""JSON Schema (draft 2020-12), and the rows of a reference page, from a declared `Table`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minid.formats.table import Array, Either, Key, Pairs, Scalar, Table


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key as a page documents it. `path` shows arrays as `[]` and free names as `NAME`."""

    path: str
    key: Key

    @property
    def default(self) -> str:
        """The default as the page shows it."""
        if self.key.required:
            return "required"
        text = self.key.default
        return f"`{text}`" if text and is_toml_value(text) else text or "none"

    @property
    def markdown(self) -> str:
        """The key's row: key, meaning, value, default."""
        cells = (f"`{self.path}`", self.key.meaning, self.key.kind.expects, self.default)
        return f"| {' | '.join(_escape_cell(cell) for cell in cells)} |"


def _escape_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def is_toml_value(text: str) -> bool:
    """Whether a default is written as a TOML value rather than in words."""
    return text.startswith(tuple('"[{0123456789')) or text in ("true", "false")


def key_rows(table: Table, prefix: str = "") -> Iterator[KeyRow]:
    """Every key of the table and of those in it, in the order of the declaration."""
    for key in table.keys:
        path = f"{prefix}{key.name}"
        yield KeyRow(path, key)
        yield from _inner_rows(key.kind, path)


def _inner_rows(kind: object, path: str) -> Iterator[KeyRow]:
    if isinstance(kind, Table):
        yield from key_rows(kind, f"{path}.")
    elif isinstance(kind, Array):
        yield from _inner_rows(kind.item, f"{path}[]")
    elif isinstance(kind, Pairs):
        yield from _inner_rows(kind.value, f"{path}.NAME")
    elif isinstance(kind, Either):
        for inner in kind.kinds:
            yield from _inner_rows(inner, path)


def document_schema(table: Table, title: str) -> dict[str, Any]:
    """The schema of a whole file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return head | kind_schema(table)


def kind_schema(kind: object) -> dict[str, Any]:
    """The schema of one kind; keys that no table declares are refused."""
    if isinstance(kind, Scalar):
        return dict(kind.schema)
    if isinstance(kind, Array):
        return {
            "type": "array",
            "items": kind_schema(kind.item),
            **({"minItems": kind.minimum} if kind.minimum else {}),
            **({"uniqueItems": True} if kind.unique else {}),
        }
    if isinstance(kind, Pairs):
        return {
            "type": "object",
            "propertyNames": dict(kind.name.schema),
            "additionalProperties": kind_schema(kind.value),
        }
    if isinstance(kind, Either):
        return {"anyOf": [kind_schema(inner) for inner in kind.kinds]}
    if isinstance(kind, Table):
        return _table_schema(kind)
    raise TypeError(f"expected a kind, got {type(kind).__name__}")


def _table_schema(table: Table) -> dict[str, Any]:
    required = [key.name for key in table.keys if key.required]
    return {
        "type": "object",
        "properties": {
            key.name: kind_schema(key.kind) | {"description": _description(key)}
            for key in table.keys
        },
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _description(key: Key) -> str:
    if key.required or not key.default:
        return key.meaning
    return f"{key.meaning} Default: {key.default}."
