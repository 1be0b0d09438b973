"""Collections beside builds, killed at any instant: nothing live is lost, and all dead is freed."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.support.collecting import play
from tests.support.require import require

pytestmark = pytest.mark.integration
ROUNDS, FOLDERS = 100, 2


def test_two_hundred_rounds_of_builds_collections_and_kills() -> None:
    require("bwrap")
    require("make")
    with ProcessPoolExecutor(FOLDERS) as pool:
        played = list(pool.map(play, (20260204, 20260205), (ROUNDS, ROUNDS)))
    for rounds in played:
        assert rounds.lost == []
        assert rounds.left == []
        # It is only worth something if all of it happened.
        assert rounds.kills > ROUNDS // 4
        assert rounds.freed > ROUNDS
