"""`minid undo`: take an edit of an image back; the others stay."""

from __future__ import annotations

import argparse
import os

from minid.cli.edit_words import edited_json, print_edited
from minid.cli.folder import add_json_option, add_message_option, load_folder_config
from minid.cli.store_reader import find_image, open_records
from minid.cli.words import print_json


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid undo`."""
    parser.add_argument("image", metavar="IMAGE", help="a tag, a recipe, or a digest")
    parser.add_argument(
        "edit",
        nargs="?",
        type=int,
        default=0,
        metavar="EDIT",
        help="a number of `minid edits`; an undo's makes its edit again (default: the last)",
    )
    add_message_option(parser)
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when the image is as if the edit had never been; UsageError for one not in effect."""
    config = load_folder_config(arguments)
    open_records(config).close()
    from minid.line.workshop import open_guest
    from minid.workbench.edit import undo_edit
    from minid.workbench.people import acting_user

    with open_guest(config, {}) as shop:
        detail = find_image(shop.records, arguments.image)
        who = acting_user(os.environ)
        done = undo_edit(shop, detail, arguments.edit, who, arguments.message)
    if arguments.json:
        print_json(edited_json(done))
    else:
        print_edited(done)
    return 0
