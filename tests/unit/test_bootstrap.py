"""What mmdebstrap is asked for."""

from __future__ import annotations

from pathlib import Path

from minid.host.bootstrap import DebianTree, _options


def included(*packages: str) -> list[str]:
    options = list(_options(DebianTree("bookworm", packages), Path("/")))
    (line,) = [option for option in options if option.startswith("--include=")]
    return line.removeprefix("--include=").split(",")


def test_what_packages_take_for_granted_comes_with_them() -> None:
    assert "util-linux" in included("gcc", "cmake")
    assert "util-linux" not in included("gcc")
