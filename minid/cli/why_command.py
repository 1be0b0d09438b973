"""`minid why`: where a file of an image is from, and the chain that brought it there."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option
from minid.cli.store_reader import add_image_argument, open_image
from minid.cli.words import print_json, printable
from minid.errors import UsageError

if TYPE_CHECKING:
    from minid.line.origins import Origin, Story
    from minid.model import Reason


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid why`."""
    add_image_argument(parser)
    parser.add_argument("path", metavar="PATH", help="a file, a link or a folder in the image")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Tell of the path itself, then of what its links lead to."""
    from minid.line.origins import Story

    image = open_image(arguments)
    story = Story(image.facts, image.records, image.blobs)
    place = story.resolve(arguments.path, follow_last=False)
    if not place or story.entry(place) is None:
        raise UsageError(
            f"{arguments.image}: expected a path of the image, got {arguments.path!r}",
            hint=_similar(story, arguments.path),
        )
    facts = [_facts(story, path) for path in _steps(story, place)]
    if arguments.json:
        shown = {"asked": arguments.path} | facts[0] | {"leads_to": facts[1:]}
        print_json(shown)
        return 0
    if "/" + place != "/" + arguments.path.strip("/"):
        print(printable(f"{arguments.path} is /{place}"))
    for fact in facts:
        _print_facts(fact)
    return 0


def _similar(story: Story, path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2]
    found = [e.image_path for e in story.tree.entries if e.image_path.rpartition("/")[2] == name]
    return f"there is /{', /'.join(found[:3])}" if name and found else "`minid files` lists them"


def _steps(story: Story, place: str) -> list[str]:
    """The path, and where it leads if it is a link: each link's target, then the file."""
    steps = [place]
    while len(steps) < 40:
        entry = story.entry(steps[-1])
        if entry is None or entry.kind != "symlink":
            break
        folder = steps[-1].rpartition("/")[0]
        target = entry.target if entry.target.startswith("/") else f"{folder}/{entry.target}"
        following = story.resolve(target, follow_last=False)
        if following in steps or story.entry(following) is None:
            break
        steps.append(following)
    return steps


def _facts(story: Story, path: str) -> dict[str, object]:
    """What is known of one entry, as JSON values."""
    entry, origin = story.entry(path), story.origin(path)
    assert entry is not None
    name = story.root.get(path)
    holder = story.holder(path)
    inner = holder.origin(path) if holder is not story else None
    return {
        "path": "/" + path,
        "kind": name.kind if name else entry.kind,
        "target": name.target if name else "",
        "origin": f"{origin}: {inner}" if inner else str(origin),
        "from": _origin_json(origin),
        "in_base": _origin_json(inner) if inner else None,
        "chain": [_reason_json(reason) for reason in holder.chain(path)],
    }


def _origin_json(origin: Origin) -> dict[str, object]:
    package = asdict(origin.package) if origin.package else None
    if package:
        package.pop("texts")
    return {
        "kind": origin.kind,
        "recipe": origin.recipe,
        "version": origin.version,
        "image": origin.image,
        "name": origin.name,
        "package": package,
        "keys": [f"rootfs.{key}" for key in origin.keys],
    }


def _reason_json(reason: Reason) -> dict[str, str]:
    return {
        "path": reason.image_path,
        "how": reason.how,
        "via": reason.via,
        "detail": reason.detail,
    }


def _print_facts(fact: dict[str, object]) -> None:
    kind = {"symlink": "link to ", "hardlink": "the same file as /"}.get(str(fact["kind"]), "")
    target = f" ({kind}{fact['target']})" if kind else ""
    folder = "/" if fact["kind"] == "directory" else ""
    print(printable(f"{fact['path']}{folder}{target}: {fact['origin']}"))
    chain = fact["chain"]
    for depth, reason in enumerate(chain if isinstance(chain, list) else ()):
        via = f" by /{reason['via'].strip('/')}" if reason["via"] else ""
        detail = f" ({reason['detail']})" if reason["detail"] else ""
        path = reason["path"].strip("/")
        print(printable(f"{'  ' * (depth + 1)}/{path}: {reason['how']}{via}{detail}"))
