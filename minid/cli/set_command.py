"""`minid set`: change what an image's configuration says, on the same layers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from minid.cli.edit_words import edited_json, print_edited
from minid.cli.folder import add_json_option, add_message_option, load_folder_config
from minid.cli.store_reader import find_image, open_records
from minid.cli.words import print_json, printable
from minid.errors import UsageError
from minid.formats import image_words
from minid.formats.image_edit import Change
from minid.store.records import Records

if TYPE_CHECKING:
    from minid.workbench.edit import Wish


_T = TypeVar("_T")


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid set`."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a tag, a recipe, a digest, or a pattern of tags such as 'nginx:*'",
    )
    words = parser.add_argument_group(
        "what to set", "COMMAND is text for a shell, or a JSON array, as in a Dockerfile"
    )
    words.add_argument("--cmd", metavar="COMMAND", help="what the image runs")
    words.add_argument("--entrypoint", metavar="COMMAND", help="what is put before the command")
    words.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    words.add_argument("--unset-env", action="append", default=[], metavar="NAME")
    words.add_argument("--user", metavar="USER[:GROUP]", help="who runs the command")
    words.add_argument("--workdir", metavar="PATH", help="where the command starts")
    words.add_argument("--expose", action="append", default=[], metavar="PORT")
    words.add_argument("--volume", action="append", default=[], metavar="PATH")
    words.add_argument("--label", action="append", default=[], metavar="NAME=VALUE")
    words.add_argument("--unset-label", action="append", default=[], metavar="NAME")
    words.add_argument("--stop-signal", metavar="SIGNAL", help="the signal that ends it")
    words.add_argument("--author", metavar="TEXT", help="who made the image")
    words.add_argument("--comment", metavar="TEXT", help="what docker history shows as COMMENT")
    words.add_argument(
        "--tag", action="append", default=[], metavar="NAME:TAG", help="a further name"
    )
    parser.add_argument(
        "--layer", action="store_true", help="add lines of history, as a Dockerfile does"
    )
    parser.add_argument("--keep", action="store_true", help="make the edit again after a rebuild")
    add_message_option(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would change")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when every image says what was asked for; nothing is done where one could not."""
    wish = _wish(arguments)
    config = load_folder_config(arguments)
    records = open_records(config)
    manifests = _find(records, arguments.images)
    if any(_is_pattern(name) for name in arguments.images) and not arguments.dry_run:
        _ask(records, manifests, sure=arguments.yes)
    records.close()
    if wish.tags and len(manifests) > 1:
        raise UsageError(f"--tag: expected one image to name, got {len(manifests)}")
    from minid.line.workshop import open_guest
    from minid.workbench.edit import preview_edit, set_image
    from minid.workbench.people import acting_user

    with open_guest(config, {}) as shop:
        details = [shop.records.image(manifest) or {} for manifest in manifests]
        if arguments.dry_run or len(details) > 1:  # of several, all first
            done = [preview_edit(shop, detail, wish) for detail in details]
        if not arguments.dry_run:
            done = [set_image(shop, detail, wish, acting_user(os.environ)) for detail in details]
    if arguments.json:
        print_json([edited_json(item) for item in done])
    else:
        for item in done:
            print_edited(item, would=arguments.dry_run)
    return 0


def _find(records: Records, names: Sequence[str]) -> list[str]:
    """The manifest digests of the images that are meant, each once."""
    found: dict[str, None] = {}
    tags = records.tags()
    for name in names:
        if not _is_pattern(name):
            found[str(find_image(records, name)["manifest"])] = None
            continue
        matched = [row.manifest for row in tags if fnmatchcase(row.name, name)]
        if not matched:
            raise UsageError(f"set: expected a pattern of tags that are there, got {name!r}")
        found |= dict.fromkeys(matched)
    return list(found)


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _ask(records: Records, manifests: Iterable[str], *, sure: bool) -> None:
    """Name what a pattern touches, and wait for a yes."""
    rows = records.tags()
    for manifest in manifests:
        names = ", ".join(row.name for row in rows if row.manifest == manifest)
        print(f"{manifest[7:19]}  {printable(names)}", file=sys.stderr)
    if sure:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "set: expected a yes for what a pattern touches, got no terminal to ask at",
            hint="--yes to go on, --dry-run to look",
        )
    print("Change these? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("set: not confirmed, nothing was changed")


def _wish(arguments: argparse.Namespace) -> Wish:
    from minid.workbench.edit import Wish

    def one(option: str, parse: Callable[[str], _T]) -> _T | None:
        text = getattr(arguments, option.replace("-", "_"))
        return None if text is None else _parsed(option, parse, text)

    def each(option: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
        texts = getattr(arguments, option.replace("-", "_"))
        return tuple(_parsed(option, parse, text) for text in texts)

    change = Change(
        cmd=one("cmd", image_words.parse_command),
        entrypoint=one("entrypoint", image_words.parse_command),
        env=each("env", image_words.parse_variable),
        unset_env=each("unset-env", image_words.parse_variable_name),
        user=one("user", image_words.parse_user),
        workdir=one("workdir", image_words.parse_folder),
        expose=each("expose", image_words.parse_port),
        volumes=each("volume", image_words.parse_path),
        labels=each("label", image_words.parse_label),
        unset_labels=each("unset-label", image_words.parse_label_name),
        stop_signal=one("stop-signal", image_words.parse_signal),
        author=one("author", image_words.parse_line),
        comment=one("comment", image_words.parse_line),
    )
    tags = each("tag", image_words.parse_reference)
    if not change and not tags:
        raise UsageError("set: expected something to set, got nothing", hint="minid set --help")
    return Wish(change, arguments.layer, arguments.keep, arguments.message, tags)


def _parsed(option: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"--{option}: {error}") from error
