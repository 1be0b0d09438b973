"""Once a day, where the configuration asks for it, the service removes what is not kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from minid.config import Config
from minid.daemon.service import Service
from minid.errors import MinidError
from minid.formats.quantity import format_size
from minid.recipe import Recipe

DAY_S = 86400.0
_SETTING = "collected"
_FIRST_S = 30.0
_LOOK_S = 600.0


class Daily:
    """Looks now and then whether a collection is due, as long as `run` runs. `on_fault` is told
    what went wrong; the next day it is tried again."""

    def __init__(self, service: Service, on_fault: Callable[[BaseException], None]) -> None:
        self._service = service
        self._on_fault = on_fault

    async def run(self, first_s: float = _FIRST_S, look_s: float = _LOOK_S) -> None:
        """Never returns. Times in seconds: until the first look, and between looks."""
        await asyncio.sleep(first_s)
        while True:
            if self.is_due():
                await self._collect()
            await asyncio.sleep(look_s)

    def is_due(self) -> bool:
        """Whether the configuration wants it, and the last one is a day ago, or was never, or is
        still to come: the clock was ahead then."""
        if self._service.config.keep.collect != "daily":
            return False
        desk = self._service.desk
        try:
            ago = desk.clock() - float(desk.queue.setting(_SETTING, "0"))
        except ValueError:
            return True
        return not 0 <= ago < DAY_S

    async def _collect(self) -> None:
        service, desk = self._service, self._service.desk
        recipes = dict(service.catalogue.recipes)
        complete = not service.catalogue.problems
        try:
            # First: what fails is not to be tried every few minutes.
            desk.queue.set_setting(_SETTING, str(desk.clock()))
            text = await asyncio.to_thread(
                collect_once, service.config, recipes, desk.clock, complete=complete
            )
        except (MinidError, OSError) as error:
            self._on_fault(error)
            return
        if text:
            desk.tell("collected", text)


def collect_once(
    config: Config, recipes: Mapping[str, Recipe], clock: Callable[[], float], *, complete: bool
) -> str:
    """Collect, and say what went; empty where nothing did."""
    from minid.line.workshop import open_guest
    from minid.workbench.collecting import collect

    with open_guest(config, dict(recipes), clock=clock) as shop:
        done = collect(shop, complete=complete)
    if not (done.images or done.blobs or done.logs or done.environments):
        return ""
    size = format_size(done.blob_bytes + done.log_bytes)
    return f"freed {size}: {len(done.images)} images, {done.blobs} blobs, {done.logs} logs"
