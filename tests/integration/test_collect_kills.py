"""Collections beside builds, killed at any instant: nothing live is lost, and all dead is freed."""

from __future__ import annotations

import random

import pytest

from tests.support.collecting import Rounds, prepare
from tests.support.line import Line, line_folder
from tests.support.require import require

pytestmark = pytest.mark.integration
ROUNDS = 200


def test_two_hundred_rounds_of_builds_collections_and_kills() -> None:
    require("bwrap")
    require("make")
    with line_folder() as folder:
        line = Line(folder)
        prepare(line)
        line.build()
        rounds = Rounds(line, random.Random(20260204))
        for number in range(ROUNDS):
            rounds.run(number)
        assert rounds.lost == []
        assert rounds.left == []
        # It is only worth something if all of it happened.
        assert rounds.kills > ROUNDS // 4
        assert rounds.freed > ROUNDS
        line.build()
        assert rounds.prove() == []
        assert {item["status"] for item in line.build().values()} == {"unchanged"}
