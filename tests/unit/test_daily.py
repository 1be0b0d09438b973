"""When the service collects: once a day, if asked to, whatever the clock did."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minid.config import Config, Keeping, Paths, Publishing
from minid.daemon.daily import DAY_S, Daily, collect_once
from minid.formats.digest import Digest
from minid.line.workshop import Workshop, open_workshop
from minid.store.queue import Queue
from minid.workbench.scratch import Design, make_image

NOW = 1_000_000.0


def config_of(folder: Path, collect: str) -> Config:
    keep = Keeping(images=1, age_s=0, logs_s=0, collect=collect)  # type: ignore[arg-type]
    paths = Paths(recipes=folder / "recipes", state=folder / "var")
    return Config(file=None, paths=paths, publish=Publishing(docker="off"), keep=keep)


def service_of(shop: Workshop, told: list[str]) -> Any:
    """The parts of a service that a collection needs."""
    desk = SimpleNamespace(
        clock=lambda: NOW,
        queue=Queue(shop.records.database),
        tell=lambda kind, text: told.append(f"{kind}: {text}"),
    )
    catalogue = SimpleNamespace(recipes={}, problems={})
    return SimpleNamespace(config=shop.config, desk=desk, catalogue=catalogue)


@pytest.mark.parametrize(
    ("collect", "last", "due"),
    [
        ("daily", "", True),
        ("daily", str(NOW - DAY_S), True),
        ("daily", str(NOW - DAY_S + 1), False),
        ("daily", str(NOW + 1), True),
        ("daily", "nonsense", True),
        ("off", "", False),
    ],
)
def test_when_it_is_due(tmp_path: Path, collect: str, last: str, *, due: bool) -> None:
    with open_workshop(config_of(tmp_path, collect), {}) as shop:
        service = service_of(shop, [])
        if last:
            service.desk.queue.set_setting("collected", last)
        assert Daily(service, lambda error: None).is_due() == due


def test_it_collects_beside_the_service_and_says_what(tmp_path: Path) -> None:
    told: list[str] = []
    with open_workshop(config_of(tmp_path, "daily"), {}, role="daemon") as shop:
        make_image(shop, Design())
    with open_workshop(config_of(tmp_path, "daily"), {}, role="daemon") as shop:
        dead = shop.blobs.path(Digest.of(b"nobody's"))
        dead.write_bytes(b"nobody's")
        service = service_of(shop, told)
        daily = Daily(service, lambda error: told.append(repr(error)))

        async def a_while() -> None:
            task = asyncio.create_task(daily.run(0.0, 0.01))
            while not told:
                await asyncio.sleep(0.01)
            task.cancel()

        asyncio.run(asyncio.wait_for(a_while(), 30))
        assert not dead.exists()
        assert not daily.is_due()
    assert told == ["collected: freed 8 B: 0 images, 1 blobs, 0 logs"]


def test_nothing_to_do_is_not_worth_a_word(tmp_path: Path) -> None:
    config = config_of(tmp_path, "daily")
    with open_workshop(config, {}) as shop:
        make_image(shop, Design())
    assert collect_once(config, {}, lambda: NOW, complete=True) == ""
