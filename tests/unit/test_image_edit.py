"""Editing a stored configuration: the fields, the history, and all that stays as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minid.formats.digest import Digest
from minid.formats.image_edit import (
    Change,
    compare_configs,
    dump_change,
    edit_config,
    edit_manifest,
    parse_change,
)
from minid.formats.oci import CONFIG_TYPE, Descriptor

CONFIG: dict[str, Any] = {
    "created": "2025-01-01T00:00:00Z",
    "architecture": "amd64",
    "os": "linux",
    "comment": "web 1",
    "unknown": {"kept": True},
    "config": {
        "Env": ["PATH=/bin", "A=1"],
        "Cmd": ["web"],
        "Labels": {"org.minid.recipe": "web"},
        "Healthcheck": {"Test": ["NONE"]},
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    "history": [
        {"created_by": 'CMD ["sh"]', "empty_layer": True},
        {"created_by": "minid: web"},
        {"created_by": "ENV A=1", "empty_layer": True},
        {"created_by": '/bin/sh -c #(nop)  CMD ["web"]', "empty_layer": True, "comment": "web 1"},
    ],
}


def edited(change: Change, *, layered: bool = False) -> dict[str, Any]:
    value = json.loads(edit_config(CONFIG, change, layered=layered))
    assert value["rootfs"] == CONFIG["rootfs"]
    filled = [line for line in value["history"] if not line.get("empty_layer")]
    assert len(filled) == 1
    return dict(value)


def said(config: dict[str, Any]) -> list[str]:
    return [line["created_by"] for line in config["history"]]


def test_a_command_is_said_where_it_was_said() -> None:
    config = edited(Change(cmd=("web", "-d"), comment="new"))
    assert config["config"]["Cmd"] == ["web", "-d"]
    assert said(config) == ['CMD ["sh"]', "minid: web", "ENV A=1", 'CMD ["web", "-d"]']
    assert config["comment"] == config["history"][-1]["comment"] == "new"
    assert config["unknown"] == {"kept": True}
    assert config["config"]["Healthcheck"] == {"Test": ["NONE"]}


def test_a_line_of_its_own_as_a_dockerfile_has() -> None:
    config = edited(Change(cmd=("x",), comment="new", author="ann"), layered=True)
    assert said(config)[:4] == said(CONFIG)
    assert config["history"][3]["comment"] == "web 1"
    assert config["history"][4] == {
        "created": CONFIG["created"],
        "created_by": 'CMD ["x"]',
        "empty_layer": True,
        "comment": "new",
        "author": "ann",
    }


def test_what_no_line_said_is_added_and_the_comment_stays_last() -> None:
    config = edited(Change(user="web", env=(("A", "2"), ("B", "3"))))
    assert said(config)[2:] == ["ENV A=2", '/bin/sh -c #(nop)  CMD ["web"]', "ENV B=3", "USER web"]
    assert "comment" not in config["history"][3]
    assert config["history"][-1]["comment"] == "web 1"
    assert config["config"]["Env"] == ["PATH=/bin", "A=2", "B=3"]


def test_what_is_taken_away() -> None:
    config = edited(Change(unset_env=("A",), unset_labels=("gone",), comment=""))
    assert config["config"]["Env"] == ["PATH=/bin"]
    assert config["config"]["Labels"] == {"org.minid.recipe": "web"}
    assert "comment" not in config
    assert all("comment" not in line for line in config["history"])


def test_an_entrypoint_clears_the_command_as_in_a_dockerfile() -> None:
    assert "Cmd" not in edited(Change(entrypoint=("a",)))["config"]
    both = edited(Change(entrypoint=("a",), cmd=("b",)))["config"]
    assert (both["Entrypoint"], both["Cmd"]) == (["a"], ["b"])


def test_an_edit_of_nothing_is_the_same_bytes() -> None:
    first = edit_config(CONFIG, Change(cmd=("web",)))
    assert edit_config(json.loads(first), Change(cmd=("web",))) == first


def test_changes_come_back_from_the_ledger() -> None:
    change = Change(cmd=(), env=(("A", "1"),), expose=("80/tcp",), comment="")
    assert parse_change(json.loads(json.dumps(dump_change(change)))) == change
    assert not Change()
    assert Change(cmd=())


def test_the_manifest_keeps_what_it_had() -> None:
    before = {"layers": [1], "annotations": {"a": "b"}, "config": {"mediaType": "x/y", "size": 1}}
    after = json.loads(edit_manifest(before, Descriptor(CONFIG_TYPE, Digest.of(b"c"), 5)))
    assert after["config"] == {"mediaType": "x/y", "digest": str(Digest.of(b"c")), "size": 5}
    assert (after["layers"], after["annotations"]) == ([1], {"a": "b"})


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (Change(cmd=("x",)), {"Cmd": (["web"], ["x"])}),
        (Change(env=(("A", "2"),)), {"Env.A": ("1", "2")}),
        (Change(labels=(("l", "v"),)), {"Labels.l": (None, "v")}),
        (Change(expose=("80/tcp",)), {"ExposedPorts": (None, ["80/tcp"])}),
        (Change(comment="c"), {"comment": ("web 1", "c")}),
    ],
)
def test_fields_that_differ(change: Change, fields: dict[str, tuple[object, object]]) -> None:
    found = compare_configs(CONFIG, json.loads(edit_config(CONFIG, change)))
    assert {item.field: (item.before, item.after) for item in found} == fields
