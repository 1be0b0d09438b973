"""`minid fetch`: the archives of recipes into the store, several at once."""

from __future__ import annotations

import argparse
import sys

from minid.cli.daemon_client import refuse_beside_daemon
from minid.cli.folder import add_json_option, load_folder, need_recipes
from minid.cli.main import error_json, report_error
from minid.cli.words import format_size, print_json
from minid.errors import MinidError
from minid.line.planning import recipe_order
from minid.line.workshop import open_workshop
from minid.steps.fetch import fetch_all


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid fetch`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes (default: all)")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when every archive is here; else the exit code of the first that is not. StoreError where a
    service runs: it fetches what it needs."""
    folder = load_folder(arguments)
    refuse_beside_daemon(folder.config, "fetch")
    order = recipe_order(folder.recipes, need_recipes(folder, arguments.names))
    show = sys.stderr.isatty() and not arguments.json

    def progress(name: str, done: int, total: int | None) -> None:
        if show:
            of = f" of {format_size(total)}" if total else ""
            sys.stderr.write(f"\r{name}: {format_size(done)}{of}\x1b[K")

    with open_workshop(folder.config, folder.recipes) as shop:
        sources = {name: folder.recipes[name].source for name in order}
        results = fetch_all(
            sources, shop.blobs, folder.config.mirrors, folder.config.fetch, progress=progress
        )
        shop.blobs.flush()
    if show:
        sys.stderr.write("\r\x1b[K")
    failures = [result for result in results.values() if isinstance(result, MinidError)]
    if arguments.json:
        print_json(
            {
                name: {"error": error_json(result)}
                if isinstance(result, MinidError)
                else {
                    "file": result.file_name,
                    "digest": str(result.digest),
                    "size": result.size,
                    "origin": result.origin,
                }
                for name, result in results.items()
            }
        )
    else:
        for name, result in results.items():
            if isinstance(result, MinidError):
                report_error(result, as_json=False)
            else:
                print(f"{name}: {result.file_name} {format_size(result.size)} from {result.origin}")
    return failures[0].exit_code if failures else 0
