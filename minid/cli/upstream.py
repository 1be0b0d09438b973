"""What `check`, `approve`, `reject` and `pin` share: the service's tracker, or one for the moment.

Without a service the tracker works in this process, under the writer's lock; it moves recipes, and
`minid build` builds them.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from minid.cli.daemon_client import find_daemon
from minid.cli.folder import Folder, add_json_option, load_folder
from minid.cli.words import ago, print_json, printable
from minid.recipe_graph import unknown_recipe

if TYPE_CHECKING:
    from minid.daemon.requests import Request
    from minid.line.workshop import Workshop
    from minid.upstream.tracker import Tracker
    from minid.upstream.tracking import Decision

# Versions that do not count and are shown with the reason: the newest ones.
_REASONS = 12
T = TypeVar("T")
Work = Callable[["Tracker", "Workshop"], Awaitable[T]]


def ask_or_do(
    arguments: argparse.Namespace, request: Request, work: Work[list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The answers of the service where one runs, else those of `work` on a tracker of its own."""
    folder = load_folder(arguments)
    daemon = find_daemon(folder.config)
    if daemon is not None:
        return list(daemon.ask(request, patient=True))
    return track_here(folder, work)


def track_here(folder: Folder, work: Work[T]) -> T:
    """What `work` makes with a tracker over the folder's recipes, in this process."""
    import asyncio

    from minid.cli.progress import make_reporter
    from minid.line.workshop import open_workshop

    async def run(shop: Workshop) -> T:
        async with _tracker(folder, shop) as tracker:
            return await work(tracker, shop)

    with open_workshop(
        folder.config, folder.recipes, reporter=make_reporter(quiet=False, verbose=False)
    ) as shop:
        return asyncio.run(run(shop))


def add_release_arguments(parser: argparse.ArgumentParser) -> None:
    """A recipe and one of its releases, for commands that are a person's word on that."""
    parser.add_argument("name", metavar="NAME", help="the recipe")
    parser.add_argument("version", metavar="VERSION", help="the release")
    add_json_option(parser)


def say_of_release(
    arguments: argparse.Namespace,
    request: Request,
    say: Callable[[Tracker], Awaitable[Decision]],
) -> int:
    """Say a person's word to the tracker, print what it decides, and return 0."""

    async def work(tracker: Tracker, _shop: Workshop) -> list[dict[str, Any]]:
        return [(await say(tracker)).as_json()]

    (answer,) = ask_or_do(arguments, request, work)
    if arguments.json:
        print_json(answer)
    else:
        print_decision(answer)
    return 0


@asynccontextmanager
async def _tracker(folder: Folder, shop: Workshop) -> AsyncIterator[Tracker]:
    from minid.store.events import Events
    from minid.store.releases import Releases
    from minid.upstream.opening import open_tracker
    from minid.upstream.values import Event

    database = shop.records.database
    releases, events = Releases(database), Events(database)

    def tell(recipe: str, event: Event) -> None:
        events.add(event.kind, event.text, shop.clock(), recipe=recipe, detail=dict(event.detail))

    async with open_tracker(
        folder.config,
        shop.blobs,
        database,
        clock=shop.clock,
        on_event=tell,
        on_move=lambda name, lock: releases.set_lock(name, lock, shop.clock()),
    ) as tracker:
        tracker.set_recipes(folder.recipes)
        yield tracker


def need_known(folder: Folder, name: str) -> None:
    """UsageError where there is no recipe of that name."""
    if name not in folder.recipes:
        raise unknown_recipe(name, folder.recipes)


def print_decision(answer: dict[str, Any]) -> None:
    """A decision with its reasons, for a person."""
    name, current = str(answer["recipe"]), str(answer["current"])
    newest = str(answer["version"])
    moved = f" → {newest}" if newest not in ("", current) else ""
    print(printable(f"{name} {current}{moved}: {answer['decision']}"))
    note = str(answer.get("note") or "")
    if note:
        print(printable(f"  {note}"))
    due = answer.get("next_look")
    if isinstance(due, (int, float)):
        print(f"  next look at its archive: {_until(float(due))}")
    held = str(answer.get("held") or "")
    if held:
        print(printable(f"  `minid approve {name} {held}` takes it, `minid reject` never does"))
    reasons = [f"{reason['version']} {reason['reason']}" for reason in answer.get("reasons", ())]
    others = [reason for reason in reasons if reason != note]
    for reason in others[:_REASONS]:
        version, _, why = reason.partition(" ")
        print(printable(f"  not {version}: {why}"))
    if len(others) > _REASONS:
        print(f"  and {len(others) - _REASONS} more that do not count; --json has them all")


def _until(moment: float) -> str:
    import time

    left = moment - time.time()
    if left <= 0:
        return "now"
    return "in " + ago(0.0, left).removesuffix(" ago").replace("just now", "a moment")
