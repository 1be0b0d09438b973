"""Tools that a test needs. Missing ones skip at home and fail where MINID_REQUIRE names them."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(*tools: str) -> None:
    """Skip the calling test unless every tool is on PATH.

    MINID_REQUIRE is a comma-separated list of tools, or `all`: what it names must be there, and a
    missing one fails the test instead, so that continuous integration cannot pass by skipping.
    """
    for tool in tools:
        if not shutil.which(tool):
            demand_or_skip(tool, f"{tool} is not on PATH")


def demand_or_skip(part: str, reason: str) -> NoReturn:
    """Skip the calling test, or fail it where MINID_REQUIRE names this part of the machine."""
    demanded = os.environ.get("MINID_REQUIRE", "").split(",")
    if "all" in demanded or part in demanded:
        pytest.fail(f"{part} is required (MINID_REQUIRE): {reason}")
    pytest.skip(reason)
