"""Dotted paths into JSON values."""

from __future__ import annotations

import pytest

from minid.formats.json_path import NoFieldError, look_up

VALUE = {
    "config": {"Cmd": ["a", "b"], "Labels": {"org.x": "1", "org.x.y": "2", "org": {"z": 3}}},
    "layers": [{"digest": "d0"}, {"digest": "d1"}],
    "empty": [],
    "none": None,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("config.Cmd", ["a", "b"]),
        ("config.Cmd[1]", "b"),
        ("config.Labels.org.x", "1"),
        ("config.Labels.org.x.y", "2"),
        ("config.Labels.org.z", 3),
        ("layers[-1].digest", "d1"),
        ("none", None),
        ("", VALUE),
    ],
)
def test_found(path: str, expected: object) -> None:
    assert look_up(VALUE, path) == expected


@pytest.mark.parametrize(
    ("path", "reached", "known"),
    [
        ("nope", "", tuple(VALUE)),
        ("config.Nope", "config", ("Cmd", "Labels")),
        ("config.Cmd[2]", "config.Cmd", ("[0] to [1]",)),
        ("empty[0]", "empty", ()),
        ("none.x", "none", ()),
        ("layers[0", "layers", ("[0] to [1]",)),
        ("layers[99999999999999999999]", "layers", ("[0] to [1]",)),
        ("config..Cmd", "config", ("Cmd", "Labels")),
        ("." * 1000, "", tuple(VALUE)),
        ("a" * 5000, "", tuple(VALUE)),
    ],
)
def test_not_found_says_what_there_is(path: str, reached: str, known: tuple[str, ...]) -> None:
    with pytest.raises(NoFieldError) as found:
        look_up(VALUE, path)
    assert found.value.known == known
    assert found.value.reached.startswith(reached)


def test_names_with_many_dots_take_no_time() -> None:
    value: object = 1
    for _ in range(60):
        value = {"a": value, "a.a": value}
    with pytest.raises(NoFieldError):
        look_up(value, "a." * 100 + "x")
