"""`minid inspect`: an image's configuration, sizes and provenance, as JSON."""

from __future__ import annotations

import argparse
import json

from minid.cli.folder import add_json_option
from minid.cli.store_reader import StoredImage, add_image_argument, open_image
from minid.cli.words import print_json, printable
from minid.errors import UsageError
from minid.formats.json_path import NoFieldError, look_up

_HIDDEN = ("blobs", "report", "tree", "keys", "programs", "plan")
_SHOWN = 20


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid inspect`."""
    add_image_argument(parser)
    parser.add_argument(
        "--field",
        metavar="PATH",
        help="only this, such as config.Cmd, config.Env[0], sizes.unpacked; a text as it is",
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Always JSON, as docker inspect, but for a text that --field names; `--json` has that too."""
    facts = _facts(open_image(arguments))
    if arguments.field is None:
        print_json(facts)
        return 0
    value = _look_up(facts, arguments.field)
    if isinstance(value, str) and not arguments.json:
        print(printable(value))
    else:
        print_json(value)
    return 0


def _facts(image: StoredImage) -> dict[str, object]:
    report = json.loads(image.read("report"))
    shown = {key: value for key, value in image.facts.items() if key not in _HIDDEN}
    return shown | {
        "configuration": json.loads(image.read("config")),
        "manifest_json": json.loads(image.read("manifest")),
        "payload": {
            "files": len(report["reasons"]),
            "drops": report["drops"],
            "stripped_bytes": report["stripped_bytes"],
            "linked_bytes": report["linked_bytes"],
            "warnings": report["warnings"],
        },
        "source": report.get("source"),
        "needs": report.get("needs", []),
        "packages": [
            {key: value for key, value in package.items() if key != "texts"}
            for package in report.get("packages", [])
        ],
        "environment": report["environment"],
        "compression": report["compression"],
    }


def _look_up(facts: dict[str, object], path: str) -> object:
    """A field of what is printed, else of the configuration: `config.Cmd` as Docker has it."""
    if not path:
        raise UsageError("--field: expected a path such as config.Cmd, got nothing")
    try:
        return look_up(facts, path)
    except NoFieldError as error:
        missing = error
    configuration = facts["configuration"]
    try:
        return look_up(configuration, path)
    except NoFieldError as error:
        if error.reached:
            missing = error
    if not missing.known:
        raise UsageError(
            f"--field: expected no more after {missing.reached}, which has no fields, got {path!r}"
        )
    known = ", ".join(missing.known[:_SHOWN])
    place = f" at {missing.reached}" if missing.reached else ""
    raise UsageError(f"--field: expected one of {known}{place}, got {path!r}")
