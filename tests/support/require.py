"""Tools that a test needs. Missing ones skip at home and fail where MINID_REQUIRE names them."""

from __future__ import annotations

import os
import shutil

import pytest


def require(*tools: str) -> None:
    """Skip the calling test unless every tool is on PATH.

    MINID_REQUIRE is a comma-separated list of tools, or `all`: what it names must be there, and a
    missing one fails the test instead, so that continuous integration cannot pass by skipping.
    """
    demanded = os.environ.get("MINID_REQUIRE", "").split(",")
    for tool in tools:
        if shutil.which(tool):
            continue
        if "all" in demanded or tool in demanded:
            pytest.fail(f"{tool} is required (MINID_REQUIRE) and is not on PATH")
        pytest.skip(f"{tool} is not on PATH")
