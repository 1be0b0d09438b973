"""Notifications over a real connection and through a real program."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from minid.config import Notifying
from minid.daemon.notify import Command, Notifier, NotToldError, Webhook
from minid.store.events import EventRow

pytestmark = pytest.mark.integration
EVENT = EventRow(1, 5.0, "failed", "web", 7, 'broke: "x"\n\x1b[31m', {"a": "b"})
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def hook(answer: Answer) -> AsyncIterator[str]:
    """A server on the loopback whose every POST is answered so; its address."""
    app = web.Application()
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def no_pause(_: float) -> None:
    pass


async def tell(settings: Notifying) -> list[str]:
    """Offer the event, wait for what comes of it; the reasons of what was lost."""
    lost: list[str] = []

    def on_lost(_: EventRow, target: str, reason: str) -> None:
        lost.append(f"{target}: {reason}")

    async with Notifier(settings, "build1", on_lost, pause=no_pause) as notifier:
        notifier.offer(EVENT)
        await notifier.close(30)
    return lost


def test_a_webhook_gets_json_by_post() -> None:
    heard: list[dict[str, Any]] = []
    heads: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(await request.json())
        heads.append({key.lower(): value for key, value in request.headers.items()})
        heads[-1]["target"] = request.path_qs
        return web.Response(status=204)

    async def main() -> list[str]:
        async with hook(answer) as address:
            return await tell(Notifying(webhook=f"http://me:word@{address}/a/b?token=1"))

    assert asyncio.run(main()) == []
    (body,) = heard
    assert (body["kind"], body["recipe"], body["run"]) == ("failed", "web", 7)
    assert (body["text"], body["host"], body["time"]) == (EVENT.text, "build1", 5.0)
    assert heads[0]["content-type"] == "application/json"
    assert heads[0]["target"] == "/a/b?token=1"
    assert heads[0]["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("statuses", "asked", "lost"),
    [
        ([503, 429, 200], 3, []),
        ([500, 500, 500], 3, ["expected status 200 to 299, got 500"]),
        ([404], 1, ["expected status 200 to 299, got 404"]),
        ([307], 1, ["expected status 200 to 299, got 307"]),
    ],
)
def test_what_may_pass_is_tried_again(statuses: list[int], asked: int, lost: list[str]) -> None:
    seen: list[int] = []

    async def answer(_: web.Request) -> web.Response:
        seen.append(statuses[len(seen)])
        return web.Response(status=seen[-1], headers={"Location": "/elsewhere"})

    async def main() -> tuple[str, list[str]]:
        async with hook(answer) as address:
            return address, await tell(Notifying(webhook=f"http://u:p@{address}/secret?token=x"))

    address, said = asyncio.run(main())
    assert len(seen) == asked
    assert said == [f"webhook http://{address}: {reason}" for reason in lost]


def test_a_webhook_that_does_not_answer_is_given_up() -> None:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async def main() -> None:
        async with hook(answer) as address:
            target = Webhook(f"http://{address}/", timeout_s=0.1)
            with pytest.raises(NotToldError, match=r"no answer within 0.1 s") as caught:
                await target.tell(b"{}")
            assert caught.value.again
            await target.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hidden@127.0.0.1:1/hidden?hidden=1",
        "http://user:hidden@localhost:99999/hidden",
        "http://[::1/hidden",
        "https://",
    ],
)
def test_nobody_there_and_no_secret_told(url: str) -> None:
    lost = asyncio.run(tell(Notifying(webhook=url)))
    assert len(lost) == 1
    assert "hidden" not in lost[0]


def test_a_command_gets_the_event_on_its_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = ("/bin/sh", "-c", 'cat > "$1"; env > "$1.env"', "sh", str(out))
    assert asyncio.run(tell(Notifying(command=argv))) == []
    assert json.loads(out.read_bytes())["text"] == EVENT.text
    names = {line.partition("=")[0] for line in (tmp_path / "out.env").read_text().splitlines()}
    assert names <= {"PATH", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("/bin/sh", "-c", "echo oh no >&2; exit 3"), "expected status 0, got 3: oh no"),
        (("/nowhere/mail",), "expected a program to start"),
        (("no-such-program-at-all",), "expected on PATH"),
        (("/bin/true",), ""),
        (("/bin/sh", "-c", "head -c 1000000 /dev/zero"), "bytes of output"),
    ],
)
def test_a_command_that_fails_is_told_once(argv: tuple[str, ...], says: str) -> None:
    lost = asyncio.run(tell(Notifying(command=argv)))
    assert len(lost) == bool(says)
    assert all(says in line for line in lost)


def test_a_command_that_hangs_is_killed_and_holds_up_nobody(tmp_path: Path) -> None:
    async def main() -> int:
        target = Command((sys.executable, "-c", "import time; time.sleep(60)"), timeout_s=0.5)
        telling = asyncio.create_task(target.tell(b"{}"))
        turns = 0
        while not telling.done():
            turns += 1
            await asyncio.sleep(0.01)
        with pytest.raises(NotToldError, match="expected to end within"):
            await telling
        return turns

    begin = time.monotonic()
    assert asyncio.run(main()) > 5
    assert time.monotonic() - begin < 50
