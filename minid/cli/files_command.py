"""`minid files`: the files of an image, their sizes and where they are from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option
from minid.cli.store_reader import add_image_argument, open_image
from minid.cli.words import format_size, print_json, print_table
from minid.errors import UsageError

if TYPE_CHECKING:
    from minid.workbench.listing import Listed

_DEPTH = 3
# A folder with more than this, such as busybox's /bin, is one line until it is asked for.
_MANY = 24
_TYPES = {"file": "-", "hardlink": "-", "directory": "d", "symlink": "l"}


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid files`."""
    add_image_argument(parser)
    parser.add_argument("path", nargs="?", default="/", metavar="PATH", help="a folder or a file")
    parser.add_argument("--top", type=_count, metavar="N", help="the N largest files alone")
    parser.add_argument(
        "--depth", type=_count, metavar="N", help=f"levels that are shown (default: {_DEPTH})"
    )
    parser.add_argument("-a", "--all", action="store_true", help="every entry, at every level")
    add_json_option(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return int(text)


def execute(arguments: argparse.Namespace) -> int:
    """A tree with the sums of folders, or the largest files."""
    from minid.line.origins import Story
    from minid.workbench.listing import largest, list_files

    image = open_image(arguments)
    story = Story(image.facts, image.records, image.blobs)
    below = story.resolve(arguments.path, follow_last=True)
    if below and story.entry(below) is None:
        raise UsageError(f"{arguments.image}: expected a path of the image, got {arguments.path!r}")
    listed = list_files(story, below)
    chosen = largest(listed, arguments.top) if arguments.top else listed
    if arguments.json:
        print_json([_json(item) for item in chosen])
    elif arguments.top:
        print_table(_HEADER, [_row(item, "/" + item.entry.image_path) for item in chosen])
    else:
        depth = 10**9 if arguments.all else arguments.depth or _DEPTH
        print_table(_HEADER, list(_tree(listed, below, depth, everything=arguments.all)))
    return 0


def _json(item: Listed) -> dict[str, object]:
    entry = item.entry
    return {
        "path": "/" + entry.image_path,
        "kind": entry.kind,
        "size": item.size,
        "files": item.files,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": entry.mtime,
        "target": entry.target,
        "digest": str(entry.content.digest) if entry.content else "",
        "origin": str(item.origin),
        "from": item.origin.kind,
    }


_HEADER = ("SIZE", "MODE", "OWNER", "PATH", "FROM")


def _row(item: Listed, shown: str) -> tuple[str, ...]:
    entry = item.entry
    size = format_size(item.size) if item.size or entry.kind == "file" else ""
    mode = _TYPES[entry.kind] + f"{entry.mode:04o}"
    arrow = {"symlink": f" → {entry.target}", "hardlink": f" = /{entry.target}"}
    name = shown + arrow.get(entry.kind, "")
    origin = str(item.origin) if entry.kind != "directory" or item.origin.keys else ""
    return size.rjust(9), mode, f"{entry.uid}:{entry.gid}", name, origin


def _tree(
    listed: list[Listed], below: str, depth: int, *, everything: bool
) -> Iterator[tuple[str, ...]]:
    crowded: dict[str, list[Listed]] = {}
    for item in listed:
        if item.entry.kind != "directory":
            crowded.setdefault(item.entry.image_path.rpartition("/")[0], []).append(item)
    start = below.count("/") + 1 if below else 0
    for item in listed:
        path = item.entry.image_path
        level = (path.count("/") + 1 if path else 0) - start
        folder = path.rpartition("/")[0]
        if level > depth:
            continue
        many = not everything and folder != below and len(crowded.get(folder, ())) > _MANY
        if item.entry.kind != "directory":
            if not many:
                yield _row(item, "  " * level + _leaf(item, below))
            elif item is crowded[folder][0]:
                rest = crowded[folder]
                size = format_size(sum(other.size for other in rest))
                text = f"({len(rest)} files and links)"
                yield size.rjust(9), "", "", "  " * level + text, str(item.origin)
        else:
            yield _row(item, "  " * level + _leaf(item, below))


def _leaf(item: Listed, below: str) -> str:
    path = item.entry.image_path
    name = "/" + path if path == below else path.rpartition("/")[2]
    return name + "/" if item.entry.kind == "directory" and name != "/" else name
