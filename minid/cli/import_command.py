"""`minid import`: a root file system, a folder or a tar, as an image of one layer."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from minid.cli.folder import add_json_option, add_message_option, load_folder_config
from minid.cli.image_words import reference
from minid.cli.load_command import loaded_json, opened, print_loaded
from minid.cli.words import print_json
from minid.errors import UsageError
from minid.formats import image_words
from minid.formats.oci import RunConfig


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid import`."""
    parser.add_argument("source", metavar="DIR|TAR", help="a folder, a tar archive, or - for input")
    parser.add_argument(
        "name", nargs="?", metavar="NAME:TAG", help="the image's name (default: the source's)"
    )
    parser.add_argument("--cmd", default="", metavar="COMMAND", help="what it runs, as `minid set`")
    parser.add_argument("--entrypoint", default="", metavar="COMMAND")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--user", default="", metavar="USER[:GROUP]")
    parser.add_argument("--workdir", default="", metavar="PATH")
    parser.add_argument("--expose", action="append", default=[], metavar="PORT")
    parser.add_argument("--comment", default="", metavar="TEXT", help="shown by docker history")
    parser.add_argument("--replace", action="store_true", help="take the tag from another image")
    add_message_option(parser)
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the image is in the store."""
    config = load_folder_config(arguments)
    source = Path(arguments.source)
    tag = _name(arguments.name, source)
    run, comment = _run_config(arguments)
    from minid.line.workshop import open_guest
    from minid.workbench.loading import Arrival, load_root, naming
    from minid.workbench.people import acting_user

    with open_guest(config, {}) as shop:
        who = acting_user(os.environ)
        origin = source.name if arguments.source != "-" else "standard input"
        arrival = Arrival("import", who, origin, arguments.message, (tag,), arguments.replace)
        if source.is_dir():
            import tempfile

            from minid.host.folder_tar import write_folder

            shop.jobs_folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=shop.jobs_folder) as file:
                absent = write_folder(source, file.write)
                loaded = replace(load_root(shop, file, arrival, run, comment), left_out=absent)
        else:
            with opened(arguments.source, shop) as stream, naming(origin):
                loaded = load_root(shop, stream, arrival, run, comment)
    if arguments.json:
        print_json(loaded_json(loaded))
    else:
        print_loaded(loaded)
    return 0


def _name(given: str | None, source: Path) -> str:
    if given is not None:
        return reference("import", given)
    from minid.workbench.loading import name_of_file

    if str(source) != "-" and not source.exists():
        raise UsageError(f"{source}: expected a folder or a tar archive, got nothing")
    name = name_of_file(source.resolve().name) if str(source) != "-" else ""
    if not name:
        raise UsageError(f"import: {source}: expected a name for it, got none", hint="NAME:TAG")
    return name


def _run_config(arguments: argparse.Namespace) -> tuple[RunConfig, str]:
    try:
        env = [image_words.parse_variable(text) for text in arguments.env]
        run = RunConfig(
            env=tuple(f"{name}={value}" for name, value in env),
            entrypoint=image_words.parse_command(arguments.entrypoint),
            cmd=image_words.parse_command(arguments.cmd),
            user=image_words.parse_user(arguments.user),
            workdir=image_words.parse_path(arguments.workdir) if arguments.workdir else "",
            expose=tuple(image_words.parse_port(text) for text in arguments.expose),
        )
        return run, image_words.parse_line(arguments.comment)
    except ValueError as error:
        raise UsageError(f"import: {error}") from error
