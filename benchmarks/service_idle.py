"""What the service costs while nothing happens: recipes that are built, and pages with nothing new.

    python benchmarks/service_idle.py FOLDER [--recipes 1000] [--seconds 60] [--json]

FOLDER becomes a working folder and is kept. The pages lie on a loopback server in a process of its
own, each on the page of one recipe, and answer 304 to who knows them. A first service asks for all
of them; then they are due one after the other over six hours, as they are in the long run, and a
second service is looked at for a while. Figures are those of its process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import re
import sqlite3
import time
from multiprocessing.connection import Connection
from pathlib import Path

from common import describe_machine, show_figures, write_text
from folder import make_recipes
from service_common import record_in_own_process, service, wait_until

HOSTS = 50
EVERY_S = 6 * 3600.0
WARM_UP_S = 15.0


def make_page(number: int) -> bytes:
    """The listing of a recipe's releases: the one it has, and older ones."""
    names = [f"nginx{number}-1.26.{minor}.tar.gz" for minor in range(4)]
    names += [f"tool{number}-{number}.{minor}.1.tar.xz" for minor in range(5)]
    lines = "\n".join(f'<a href="{name}">{name}</a>  01-Jan-2026 10:00  1234567' for name in names)
    return f"<html><body><pre>{lines}\n</pre></body></html>".encode()


async def serve(pipe: Connection) -> None:
    """A server that knows its pages' ETags; it ends with the process."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        number = request.match_info["number"]
        headers = {"ETag": f'"{number}"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=make_page(int(number)), content_type="text/html", headers=headers)

    app = web.Application()
    app.router.add_get("/{number}/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = 0
    for host in range(1, HOSTS + 1):
        await web.TCPSite(runner, f"127.0.0.{host}", port).start()
        port = runner.addresses[0][1]
    pipe.send(port)
    await asyncio.Event().wait()


def run_server(pipe: Connection) -> None:
    """The server's process."""
    asyncio.run(serve(pipe))


def prepare(folder: Path, recipes: int, port: int) -> None:
    """The folder: every recipe is built and has a page of its own."""
    make_recipes(folder, recipes)
    inside = ", ".join(f'"127.0.0.{host}"' for host in range(1, HOSTS + 1))
    with (folder / "config.toml").open("a") as file:
        file.write(f"\n[track]\ngap = 0\ninside = [{inside}]\n")
    for n in range(recipes):
        path = folder / "recipes" / f"r{n:05}.toml"
        page = f'[track]\nfrom = "index"\nurl = "http://127.0.0.{1 + n % HOSTS}:{port}/{n}/"\n'
        text = re.sub(r"\[track\]\nfrom = .*\nurl = .*\n", page, path.read_text())
        write_text(path, text)
    record_in_own_process(folder)


def measure(folder: Path, recipes: int, seconds: float) -> dict[str, float]:
    """A first service that asks all pages, and a second that has little to do."""
    with service(folder) as daemon:
        wait_until(lambda: _asked(folder) >= recipes, 300, every_s=0.5)
        found = {"all pages asked, rss MB": daemon.megabytes()}
    _spread(folder)
    with service(folder) as daemon:
        time.sleep(WARM_UP_S)
        processor, wakeups, rss = daemon.processor_s(), daemon.wakeups(), daemon.megabytes()
        polled = _polled(folder)
        time.sleep(seconds)
        found |= {
            "start to READY s": daemon.ready_s,
            "processor %": (daemon.processor_s() - processor) / seconds * 100,
            "wake-ups a second": (daemon.wakeups() - wakeups) / seconds,
            "pages asked meanwhile": len(_polled(folder) - polled),
            "rss before MB": rss,
            "rss MB": daemon.megabytes(),
            "peak MB": daemon.megabytes("VmHWM"),
        }
    return found


def _spread(folder: Path) -> None:
    """Have the pages be due at random within the six hours to come."""
    chance, now = random.Random(1), time.time()
    with sqlite3.connect(folder / "var" / "records.sqlite") as connection:
        for (url,) in connection.execute("SELECT url FROM resources").fetchall():
            due = now + chance.uniform(0.0, EVERY_S)
            connection.execute("UPDATE resources SET next_poll = ? WHERE url = ?", (due, url))


def _asked(folder: Path) -> int:
    return len(_rows(folder))


def _polled(folder: Path) -> set[tuple[str, float]]:
    return set(_rows(folder))


def _rows(folder: Path) -> list[tuple[str, float]]:
    with sqlite3.connect(f"file:{folder}/var/records.sqlite?mode=ro", uri=True) as connection:
        return connection.execute(
            "SELECT url, next_poll FROM resources WHERE state LIKE '%digest%'"
        ).fetchall()


def main() -> None:
    """Make the folder, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = describe_machine()
    folder = options.folder.resolve()
    ours, theirs = multiprocessing.Pipe()
    start = multiprocessing.get_context("spawn").Process
    server = start(target=run_server, args=(theirs,), daemon=True)
    server.start()
    try:
        prepare(folder, options.recipes, ours.recv())
        found = measure(folder, options.recipes, options.seconds)
    finally:
        server.terminate()
    show_figures(machine, found, as_json=options.json)


if __name__ == "__main__":
    main()
