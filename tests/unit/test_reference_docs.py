"""The reference pages and the declared formats say the same, key by key."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli

from minid import config, recipe
from minid.config_tables import CONFIG
from minid.formats.schema import KeyRow, is_toml_value, key_rows
from minid.formats.table import Array, Either, Pairs, Problems, Table
from minid.model import Limits
from minid.recipe_check import KINDS
from minid.recipe_tables import RECIPE

ROOT = Path(__file__).parents[2]
PAGES = {"recipe.md": RECIPE, "config.md": CONFIG}


@pytest.mark.parametrize("page", PAGES)
def test_page_has_exactly_the_rows_of_the_declared_keys(page: str) -> None:
    text = (ROOT / "docs/reference" / page).read_text()
    written = re.findall(r"^\| `[a-zA-Z].*\|$", text, re.MULTILINE)
    written = [row for row in written if not row.startswith("| `MINID_")]
    declared = [row.markdown for row in key_rows(PAGES[page])]
    missing = [row for row in declared if row not in written]
    assert not missing, "paste these rows into the page:\n" + "\n".join(missing)
    unknown = [row for row in written if row not in declared]
    assert not unknown, "the page documents what is not declared:\n" + "\n".join(unknown)
    assert len(written) == len(set(written))


@pytest.mark.parametrize("page", PAGES)
def test_every_example_of_the_page_is_read_without_a_problem(page: str) -> None:
    text = (ROOT / "docs/reference" / page).read_text()
    examples = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        problems = Problems(page)
        PAGES[page].read(tomli.loads(example), "", problems)
        wrong = [str(p) for p in problems.found if p.got != "nothing" or "." in p.key]
        assert not wrong, example


def _tables(table: Table, prefix: str = "") -> list[tuple[str, Table]]:
    found = [(prefix, table)]
    for key in table.keys:
        found += _inner_tables(key.kind, f"{prefix}{key.name}.")
    return found


def _inner_tables(kind: object, prefix: str) -> list[tuple[str, Table]]:
    if isinstance(kind, Table):
        return _tables(kind, prefix)
    if isinstance(kind, Array):
        return _inner_tables(kind.item, prefix)
    if isinstance(kind, Pairs):
        return _inner_tables(kind.value, prefix)
    if isinstance(kind, Either):
        return [found for inner in kind.kinds for found in _inner_tables(inner, prefix)]
    return []


# Which dataclass a table becomes where its maker is a function.
MADE: dict[str, type] = {
    "recipe.md:source.": recipe.Source,
    "recipe.md:image.": recipe.ImageTable,
    "recipe.md:check.": recipe.Check,
    "recipe.md:check.start.": recipe.Start,
    "config.md:environments.": config.EnvironmentSpec,
    "config.md:publish.": config.Publishing,
}
# Fields that come from elsewhere than a key of the same table.
NOT_KEYS = {
    recipe.Check: {
        *("kind", "port", "path", "status", "headers", "tls", "send", "argv", "name", "user"),
        *("stream", "script", "query", "params"),
    },
    config.EnvironmentSpec: {"name"},
    config.Publishing: {"sign"},
    recipe.Source: {"moved_from"},
}
KEYS_ONLY = {recipe.Check: {*KINDS} - {"start"}, recipe.ImageTable: {"also"}}
ALL = [(f"{page}:{prefix}", t) for page in PAGES for prefix, t in _tables(PAGES[page])]
CLASSES = [
    (prefix, table, made)
    for prefix, table in ALL
    if dataclasses.is_dataclass(made := MADE.get(prefix, table.make)) and isinstance(made, type)
]


@pytest.mark.parametrize(("prefix", "table", "made"), CLASSES, ids=[c[0] for c in CLASSES])
def test_keys_are_the_fields_of_the_dataclass_with_its_defaults(
    prefix: str, table: Table, made: type
) -> None:
    fields = {field.name: field for field in dataclasses.fields(made)}
    keys = {key.field or key.name: key for key in table.keys}
    assert set(keys) - KEYS_ONLY.get(made, set()) == set(fields) - NOT_KEYS.get(made, set())
    for name in set(keys) & set(fields):
        key, default = keys[name], fields[name].default
        if fields[name].default_factory is not dataclasses.MISSING:
            default = fields[name].default_factory()
        if key.required or (default is dataclasses.MISSING and " " in key.default):
            continue
        assert default is not dataclasses.MISSING, f"{prefix}{name} has no default"
        if is_toml_value(key.default):
            value = tomli.loads(f"x = {key.default}")["x"]
            # An empty text is what no kind of path or name would take.
            read = value if value == "" else key.kind.read(value, name, Problems("default"))
            assert read == default, f"{prefix}{name}"
        elif not isinstance(key.kind, Table):
            assert default in (None, "", ()), f"{prefix}{name}: {default!r} is not documented"


def test_the_dataclasses_were_found() -> None:
    names = {made.__name__ for _, _, made in CLASSES}
    assert {"Source", "Build", "Rootfs", "User", "ImageTable", "Check", "Fetching"} <= names
    assert Limits.__name__ in names


def test_every_key_has_a_meaning_that_is_a_sentence() -> None:
    def bad(row: KeyRow) -> bool:
        return not row.key.meaning.endswith((".", ").")) or len(row.key.meaning) < 10

    check: Callable[[KeyRow], bool] = bad
    assert not [r.path for table in PAGES.values() for r in key_rows(table) if check(r)]


def test_the_shipped_config_shows_every_default() -> None:
    text = (ROOT / "config.toml").read_text()
    shown = re.sub(r"^# (?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE)
    document = tomli.loads(shown)
    problems = Problems("config.toml")
    CONFIG.read(document, "", problems)
    assert not problems.found
    for section in ("fetch", "check", "publish", "build", "paths"):
        key = next(key for key in CONFIG.keys if key.name == section)
        assert isinstance(key.kind, Table)
        assert {inner.name for inner in key.kind.keys} == set(document[section])
