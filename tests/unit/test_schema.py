"""JSON Schema of the declared formats."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from minid.config_reader import config_schema
from minid.formats.schema import is_toml_value, kind_schema
from minid.recipe_reader import recipe_schema


def _objects(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            found.append((path, schema))
        for key, value in schema.items():
            found += _objects(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for value in schema:
            found += _objects(value, path)
    return found


@pytest.mark.parametrize("schema", [recipe_schema(), config_schema()], ids=["recipe", "config"])
def test_every_table_refuses_unknown_keys_and_describes_its_own(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema
    objects = _objects(schema)
    assert len(objects) > 5
    for path, table in objects:
        assert table["additionalProperties"] is False, path
        for name, key in table["properties"].items():
            assert key["description"], f"{path}/{name}"


def test_recipe_schema_says_what_is_required_and_which_values_fit() -> None:
    schema = recipe_schema()
    assert schema["required"] == ["source", "build"]
    source = schema["properties"]["source"]
    assert source["required"] == ["version", "url", "sha256"]
    assert source["properties"]["distro"]["anyOf"][1]["required"] == ["package"]
    steps = schema["properties"]["build"]["properties"]["steps"]
    assert (steps["type"], steps["minItems"]) == ("array", 1)
    tags = schema["properties"]["image"]["properties"]["tags"]
    assert tags["uniqueItems"] is True
    assert tags["description"].endswith('Default: ["{version}", "latest"].')
    parity = schema["properties"]["track"]["properties"]["parity"]
    assert parity["enum"] == ["even", "odd"]


def _patterns(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
        return own + [p for value in schema.values() for p in _patterns(value)]
    if isinstance(schema, list):
        return [p for value in schema for p in _patterns(value)]
    return []


def test_patterns_are_anchored_and_within_what_ecmascript_knows() -> None:
    patterns = _patterns(recipe_schema()) + _patterns(config_schema())
    assert len(patterns) > 50
    for pattern in patterns:
        re.compile(pattern)
        assert pattern.startswith("^"), pattern
        assert not re.search(r"\(\?P|\\[AZ]|\(\?[aiLmsux]", pattern), pattern


def test_what_is_no_kind_has_no_schema() -> None:
    with pytest.raises(TypeError, match="expected a kind, got str"):
        kind_schema("text")


def test_defaults_in_words_and_in_toml() -> None:
    assert is_toml_value('"x"')
    assert is_toml_value("true")
    assert not is_toml_value("no limit")
    assert not is_toml_value("")
