"""The command `minid`: finds the subcommand, runs it, and turns errors into words and a status."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from minid import __version__
from minid.errors import HostError, MinidError, UsageError

# Name → what it does. The module of the same name (`_` for `-`) has `configure_parser` and
# `execute`; only the one that is asked for is imported, so that the command line starts fast.
COMMANDS = {
    "approve": "take a release that waits for a person, or was refused",
    "build": "bring recipes up to date: fetch, compile, pack, test, tag",
    "cancel": "end runs that wait or run",
    "check": "ask upstreams now, and say what was decided and why",
    "daemon": "keep images in step with recipes and upstreams, until told to stop",
    "diff": "show how two images differ, or an image and a container",
    "doctor": "say what this machine lacks, and how to mend it",
    "drain": "start no run any more, and wait until none runs",
    "edits": "show what was done to images by hand, by whom and why",
    "events": "show what happened, or follow what happens",
    "explain": "say which inputs of a recipe changed, and what that redoes",
    "fetch": "fetch the archives of recipes into the store",
    "files": "show the files of an image, their sizes and where they are from",
    "gc": "remove what nothing stands on any more",
    "history": "show an image's layers and edits, as docker history does",
    "import": "take a root file system in as an image of one layer",
    "init": "make a working folder: config.toml and recipes/",
    "inspect": "show an image's configuration, sizes and provenance",
    "install-service": "put the systemd service in place",
    "lint": "check recipes and say everything that is wrong with them",
    "list": "list the images in the store",
    "load": "take images from an archive of any engine into the store",
    "logs": "show the log of a recipe's last run, or follow it",
    "new": "draft a recipe from a source archive",
    "pause": "start no run until resumed",
    "pin": "keep a recipe at a release, in the record or in its file",
    "probe": "run an image's program and say what it missed",
    "provenance": "print how an image came to be, as an in-toto statement",
    "pull": "take an image of a registry into the store",
    "push": "push an image to a registry, byte for byte",
    "queue": "show the runs that wait and run, and what for",
    "rebuild": "build again from the same inputs, and say whether it is the same",
    "reject": "never take a release",
    "reload": "have the service read config.toml and the recipes again",
    "resume": "start runs again after a pause",
    "rollback": "move tags to an earlier image",
    "save": "write images, or a container's files, to archives",
    "sbom": "print an image's bill of materials, as SPDX or CycloneDX",
    "schema": "print the JSON Schema of recipes, for editors",
    "set": "change an image's metadata: command, environment, comment, …",
    "shell": "work in the root of an image, see what changed, take it back or keep it",
    "sign": "sign images and files with the operator's key",
    "status": "show each recipe: version, tag, last run, what is to be done",
    "test": "run an image's smoke tests now and show what it answered",
    "undo": "take an edit of an image's metadata back",
    "verify": "prove that the store is whole, and mend it",
    "verify-signature": "say whether a named key signed an image or a file",
    "why": "show why a file is in an image",
}


def make_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of `command` alone, or of what all commands are: forty of them take time."""
    parser = argparse.ArgumentParser(
        prog="minid",
        description="Recipe in, minimal tested container image out.",
        epilog="minid COMMAND --help tells more. Manual: docs/",
    )
    parser.add_argument("--version", action="version", version=f"minid {__version__}")
    parser.add_argument(
        "-C", "--config", metavar="FILE", help="config.toml (default: here, above, /etc/minid)"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name in COMMANDS if command is None else [command]:
        text = COMMANDS[name]
        child = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == command:
            _module(name).configure_parser(child)
    return parser


def find_command(words: Sequence[str]) -> str | None:
    """The command among the words: the first that is neither an option nor the value of one. None
    where there is none, or where help or the version is asked for before it; UsageError where it is
    no command."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            if word not in COMMANDS:
                raise _unknown_command(word)
            return word
        if word in ("-h", "--help", "--version"):
            return None
        if word == "-C" or (word.startswith("--c") and "=" not in word):
            next(rest, None)
    return None


def _unknown_command(word: str) -> UsageError:
    from difflib import get_close_matches

    near = get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean `minid {near[0]}`?" if near else "`minid --help` lists them"
    return UsageError(f"expected a command, got {word!r}", hint=hint)


def _module(command: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 (a module with a protocol)
    return importlib.import_module(f"minid.cli.{command.replace('-', '_')}_command")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; see docs/reference/errors.md."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        command = find_command(words)
    except UsageError as error:
        report_error(error, as_json="--json" in words)
        return error.exit_code
    arguments = make_parser(command).parse_args(words)
    if arguments.command is None:
        make_parser(None).print_help()
        return 2
    try:
        return int(_module(arguments.command).execute(arguments))
    except MinidError as error:
        report_error(error, as_json=getattr(arguments, "json", False))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has what it wanted.
        sys.stderr.close()
        return 0
    except OSError as error:
        # A full disk, a right that is missing: the machine's, whatever step met it.
        met = HostError(
            f"{error.filename or arguments.command}: expected to be read or written, "
            f"got {error.strerror or error}",
            hint="run it as the user whose folder this is"
            if isinstance(error, PermissionError)
            else "minid doctor says what this machine lacks",
        )
        report_error(met, as_json=getattr(arguments, "json", False))
        return met.exit_code


def error_json(error: MinidError) -> dict[str, object]:
    """An error as JSON values."""
    return error.as_json()


def report_error(error: MinidError, *, as_json: bool) -> None:
    """Tell a person, or a program, what went wrong."""
    if as_json:
        import json

        print(json.dumps({"error": error_json(error)}, indent=2))
        return
    from minid.cli.words import printable

    for line in error.log_tail:
        print("  | " + printable(line), file=sys.stderr)
    for line in error.message.splitlines():
        print("minid: " + printable(line), file=sys.stderr)
    if error.hint:
        print("  hint: " + printable(error.hint), file=sys.stderr)
