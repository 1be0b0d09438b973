"""`minid pin`: keep a recipe at a release, in minid's record or in the recipe's own file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from minid.cli.daemon_client import find_daemon
from minid.cli.folder import Folder, add_json_option, load_folder
from minid.cli.upstream import need_known, track_here
from minid.cli.words import print_json, printable
from minid.daemon.requests import Pin, Unpin
from minid.errors import UsageError
from minid.formats.digest import Digest

if TYPE_CHECKING:
    from minid.line.workshop import Workshop
    from minid.upstream.tracker import Tracker


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid pin`."""
    parser.add_argument("name", metavar="NAME", help="the recipe")
    parser.add_argument(
        "version", nargs="?", metavar="VERSION", help="the release (default: the one it is at)"
    )
    parser.add_argument(
        "--write", action="store_true", help="write it into the recipe's file, format kept"
    )
    parser.add_argument(
        "--release",
        action="store_true",
        help="let the recipe be what its file says, and follow its upstream again",
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the recipe is where it was asked to be; FetchError's status where the release's
    archive cannot be had."""
    folder, name = load_folder(arguments), arguments.name
    need_known(folder, name)
    if arguments.release:
        if arguments.version or arguments.write:
            raise UsageError("pin: expected --release alone, got it with a version or --write")
        answer = _release(folder, name)
    else:
        version = arguments.version or folder.recipes[name].source.version
        answer = _pin(folder, name, version)
        if arguments.write:
            answer |= _write(folder, name, answer)
    if arguments.json:
        print_json(answer)
        return 0
    print(printable(f"{name} {answer['version']}: {answer['text']}"))
    if "file" in answer:
        print(printable(f"  written to {answer['file']}"))
        for key in answer["gone"]:
            print(f"  source.{key} is gone: it was of the old release alone")
    return 0


def _pin(folder: Folder, name: str, version: str) -> dict[str, Any]:
    daemon = find_daemon(folder.config)
    if daemon is not None:
        return daemon.ask_once(Pin(name, version), patient=True)

    async def work(tracker: Tracker, shop: Workshop) -> dict[str, Any]:
        from minid.store.releases import Releases

        lock, verdict = await tracker.find_release(name, version)
        Releases(shop.records.database).set_lock(name, lock, shop.clock())
        return lock.as_json(name) | {"text": verdict.reason}

    return track_here(folder, work)


def _release(folder: Folder, name: str) -> dict[str, Any]:
    daemon = find_daemon(folder.config)
    if daemon is not None:
        return daemon.ask_once(Unpin(name))

    async def work(tracker: Tracker, _shop: Workshop) -> dict[str, Any]:
        lock = tracker.follow(name)
        version = lock.of_version if lock else folder.recipes[name].source.version
        text = f"back to the file's {version}" if lock else "was not moved"
        return {"recipe": name, "version": version, "text": text}

    return track_here(folder, work)


def _write(folder: Folder, name: str, answer: dict[str, Any]) -> dict[str, Any]:
    from minid.formats.pinned_source import write_source
    from minid.host.files import write_file
    from minid.recipe_reader import parse_recipe

    file = folder.recipes[name].file
    text, gone = write_source(
        file.read_text(encoding="utf-8"),
        version=str(answer["version"]),
        url=str(answer["url"]),
        sha256=Digest.parse(str(answer["sha256"])),
    )
    data = text.encode()
    parse_recipe(data, file)  # what is written must be a recipe still
    # A link of the folder stays one: the file that it leads to is written.
    write_file(file.resolve(), data, mode=file.stat().st_mode & 0o777)
    return {"file": str(file), "gone": gone}
