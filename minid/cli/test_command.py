"""`minid test`: the smoke tests of a recipe on its stored image, now."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import asdict

from minid.cli.folder import add_json_option, load_folder
from minid.cli.store_reader import find_image, open_blobs, open_records
from minid.cli.words import print_json, printable, seconds
from minid.errors import CheckError, UsageError
from minid.formats.image_record import parse_image
from minid.line.checking import check_stored, make_runner
from minid.model import CheckReport, CheckResult, Image

_SHOWN_MISSED = 20
_SHOWN_PAGE = 20
_SHOWN_OUTPUT = 3


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid test`."""
    parser.add_argument("image", metavar="IMAGE", help="a recipe, a tag, or a digest")
    parser.add_argument(
        "--runner",
        choices=("sandbox", "docker"),
        help="where to run it (default: check.runner of config.toml)",
    )
    parser.add_argument(
        "--audit", action="store_true", help="show the libraries it mapped and the files it missed"
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when every smoke test passes, CheckError's exit code otherwise. Records nothing."""
    folder = load_folder(arguments)
    config, blobs = folder.config, open_blobs(folder.config)
    image = parse_image(find_image(open_records(config), arguments.image))
    recipe = folder.recipes.get(image.recipe)
    if recipe is None:
        raise UsageError(
            f"{arguments.image}: expected recipe {image.recipe!r}, whose checks these are, "
            "got no such file"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no container is left
    runner = make_runner(
        arguments.runner or config.check.runner,
        image,
        layers=config.paths.layers,
        blobs=blobs,
        machine=os.uname().machine,
    )
    report = check_stored(recipe, image, blobs, runner, audit=arguments.audit)
    if arguments.json:
        head = {"recipe": image.recipe, "version": image.version, "manifest": str(image.manifest)}
        print_json(head | {"passed": report.passed} | asdict(report))
    else:
        _print_report(image, report, audit=arguments.audit)
    return 0 if report.passed else CheckError.exit_code


def _shown(result: CheckResult) -> list[str]:
    """The beginning of a page or an output; all of what a failed test saw."""
    lines = result.detail.splitlines()
    if not result.passed:
        return lines
    limit = _SHOWN_OUTPUT if result.name.startswith("exec ") else _SHOWN_PAGE
    more = [f"... ({len(lines) - limit} more lines)"] if len(lines) > limit else []
    return lines[:limit] + more


def _print_report(image: Image, report: CheckReport, *, audit: bool) -> None:
    where = "Docker" if report.runner == "docker" else "the sandbox"
    print(f"{image.recipe} {image.version} in {where}: {str(image.manifest)[:19]}")
    for result in report.results:
        word = "passed" if result.passed else "FAILED"
        print(f"  {printable(result.name)}: {word} in {seconds(result.seconds)}")
        for line in _shown(result):
            print(f"    | {printable(line)}".rstrip())
    if not report.results:
        print("  the recipe has no [[check]], and the image no program to start")
    if audit and report.passed:
        ended = "" if report.libraries else ", as far as was seen before it ended"
        print(f"  libraries mapped: {len(report.libraries)}{ended}")
        for path in report.libraries:
            print(f"    {printable(path)}")
        print(f"  files looked for in vain: {len(report.missed)}")
        for path in report.missed[:_SHOWN_MISSED]:
            print(f"    {printable(path)}")
        if len(report.missed) > _SHOWN_MISSED:
            print(f"    and {len(report.missed) - _SHOWN_MISSED} more (--json has all)")
    if not report.passed:
        for line in report.output_tail:
            print("  | " + printable(line), file=sys.stderr)
