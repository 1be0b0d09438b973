"""What 10,000 upstream pages cost the service: filled once, then asked again with nothing new.

    python benchmarks/poller.py FOLDER [--pages 10000] [--hosts 1] [--json]

The pages lie on a loopback server in a process of its own, on so many addresses of loopback; the
gap between requests to one host is switched off, and time is the benchmark's. CPU seconds are those
of the poller's process alone, its database included. A page that was not answered is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import sys
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from common import describe_machine

from minid.config import Fetching, Tracking
from minid.host.web import Web
from minid.store.database import Database
from minid.store.polls import Polls
from minid.upstream.poller import Poller, ResourceSpec

DAY = 86400.0
ENTRIES = 40


def make_page(number: int) -> bytes:
    """A listing of forty files."""
    names = (f"app{number}-1.{minor}.tar.gz" for minor in range(ENTRIES))
    lines = "\n".join(f'<a href="{name}">{name}</a>  01-Jan-2026 10:00  1234567' for name in names)
    return f"<html><body><h1>Index of /app{number}/</h1><pre>{lines}\n</pre></body></html>".encode()


async def serve(hosts: int, pipe: Connection) -> None:
    """A server that knows its pages' ETags; it ends with the process."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        etag = f'"{request.match_info["number"]}-1"'
        headers = {"ETag": etag, "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=headers)
        body = make_page(int(request.match_info["number"]))
        return web.Response(body=body, content_type="text/html", headers=headers)

    app = web.Application()
    app.router.add_get("/{number}/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = 0
    for host in range(1, hosts + 1):
        site = web.TCPSite(runner, f"127.0.0.{host}", port)
        await site.start()
        port = runner.addresses[0][1]
    pipe.send(port)
    await asyncio.Event().wait()


def run_server(hosts: int, pipe: Connection) -> None:
    asyncio.run(serve(hosts, pipe))


async def poll_all(poller: Poller, now: list[float]) -> Counter[str]:
    """Every page once; the outcomes, each page counted once."""
    now[0] += 6 * DAY
    outcomes: dict[str, str] = {}
    while (due := poller.next_due()) is not None and due <= now[0]:
        for result in await poller.poll_due():
            outcomes[result.url] = result.outcome
    return Counter(outcomes.values())


async def measure(folder: Path, urls: list[str]) -> list[dict[str, object]]:
    """The rounds: what each cost and brought."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "poller.sqlite"
    file.unlink(missing_ok=True)
    database = Database(file, writable=True)
    now, rounds = [1_800_000_000.0], []
    async with Web(Fetching(allow_private=True)) as web:
        poller = Poller(
            web,
            Polls(database),
            clock=lambda: now[0],
            random=random.Random(1).random,
            tracking=Tracking(gap_s=0.0),
        )
        poller.set_resources({url: ResourceSpec("index", 6 * 3600.0) for url in urls})
        for name, wanted in (("first, all fetched", "fresh"), ("again, all 304", "not-modified")):
            cpu, wall = time.process_time(), time.perf_counter()
            outcomes = await poll_all(poller, now)
            rounds.append(
                {
                    "round": name,
                    "cpu_s": round(time.process_time() - cpu, 2),
                    "wall_s": round(time.perf_counter() - wall, 2),
                    "lost": len(urls) - outcomes[wanted],
                    "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                }
            )
        poller.close()
    database.close()
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--hosts", type=int, default=1, help="addresses of loopback, at most 200")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = describe_machine()
    ours, theirs = multiprocessing.Pipe()
    start = multiprocessing.get_context("spawn").Process
    server = start(target=run_server, args=(options.hosts, theirs), daemon=True)
    server.start()
    try:
        port = ours.recv()
        urls = [f"http://127.0.0.{1 + n % options.hosts}:{port}/{n}/" for n in range(options.pages)]
        rounds = asyncio.run(measure(options.folder, urls))
    finally:
        server.terminate()
    if options.json:
        words = {"machine": machine, "pages": options.pages, "hosts": options.hosts}
        print(json.dumps(words | {"rounds": rounds}, indent=2))
    else:
        print(f"{machine}; {options.pages} pages on {options.hosts} hosts")
        for row in rounds:
            print(
                f"{row['round']:20} CPU {row['cpu_s']:6} s   wall {row['wall_s']:6} s   "
                f"lost {row['lost']}   RSS {row['rss_mb']} MB"
            )
    if any(row["lost"] for row in rounds):
        sys.exit("pages were lost")


if __name__ == "__main__":
    main()
