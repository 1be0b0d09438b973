"""What the compile step says; what it does is tested with real builds in the integration tests."""

from __future__ import annotations

import re

import pytest

from minid.config_reader import config_schema
from minid.host.sandbox import SandboxResult
from minid.steps.compile import limit_key


@pytest.mark.parametrize(
    "ended_by", ["wall", "silence", "log", "cpu", "processes", "memory", "disk", "inodes", "file"]
)
def test_a_limit_is_called_as_in_config_toml(ended_by: str) -> None:
    """The hint tells people to raise this key: it must be one."""
    assert re.search(rf"\b{ended_by}\b", SandboxResult.__doc__ or "")
    found = config_schema()
    for word in limit_key(ended_by).split("."):
        found = found["properties"][word]
    assert "description" in found
