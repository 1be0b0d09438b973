"""A tracker with all that it works through, opened together: network, pages, archives, memory."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from minid.config import Config
from minid.host.web import Web
from minid.store.blobs import Blobs
from minid.store.database import Database
from minid.store.polls import Polls
from minid.store.releases import Releases
from minid.upstream.archives import Archives
from minid.upstream.ledger import OnEvent, OnMove
from minid.upstream.poller import Poller
from minid.upstream.tracker import Tracker


@asynccontextmanager
async def open_tracker(
    config: Config,
    blobs: Blobs,
    database: Database,
    *,
    clock: Callable[[], float],
    on_event: OnEvent,
    on_move: OnMove,
) -> AsyncIterator[Tracker]:
    """A tracker over the store, which follows nothing yet; `on_event`, `on_move` and `clock` are as
    `Tracker` has them."""
    async with Web(config.fetch, inside=config.track.inside) as web:
        poller = Poller(
            web, Polls(database), clock=clock, random=random.random, tracking=config.track
        )
        tracker = Tracker(
            poller,
            Archives(web, blobs, poller.hosts),
            Releases(database),
            tracking=config.track,
            clock=clock,
            on_event=on_event,
            on_move=on_move,
        )
        try:
            yield tracker
        finally:
            await tracker.close()
