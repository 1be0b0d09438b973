"""`minid install-service`: put the systemd service in place."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

from minid.cli.folder import add_json_option
from minid.cli.words import print_json, printable
from minid.errors import HostError, UsageError
from minid.host.service_files import check_user_name
from minid.host.service_install import (
    Change,
    Installation,
    install_service,
    uninstall_service,
)


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid install-service`."""
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="the tree of an image in place of this machine",
    )
    parser.add_argument("--user", default="minid", metavar="NAME", help="whom it runs as")
    parser.add_argument(
        "--program", metavar="PATH", help="minid's own program, in DIR (default: this one)"
    )
    parser.add_argument("--uninstall", action="store_true", help="remove the service's files")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be")
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Install it, or remove it, and tell each step. A second run changes nothing."""
    job = Installation(
        root=_check_root(arguments),
        user=check_user_name(arguments.user),
        program=arguments.program or _own_program(),
        shipped=find_service_files(),
        dry_run=arguments.dry_run,
    )
    changes = []
    for change in uninstall_service(job) if arguments.uninstall else install_service(job):
        changes.append(change)
        if not arguments.json:
            _print_change(change, dry_run=job.dry_run)
    after = "" if arguments.uninstall else "systemctl enable --now minid"
    if arguments.json:
        facts = {"dry_run": job.dry_run, "root": str(job.root), "user": job.user, "next": after}
        print_json({**facts, "changes": [asdict(change) for change in changes]})
    elif after and not job.dry_run:
        print(f"next: {after if job.is_machine else 'boot it, then ' + after}")
    return 0


def find_service_files() -> Path:
    """The folder of the unit and its companions: in the checkout, or where a package keeps data."""
    places = (
        Path(__file__).parents[2] / "systemd",
        Path(sys.prefix) / "share" / "minid" / "systemd",
    )
    for place in places:
        if (place / "minid.service").is_file():
            return place
    raise HostError(f"{places[-1]}: expected minid's unit, got nothing", hint="install minid again")


def _check_root(arguments: argparse.Namespace) -> Path:
    root = Path(os.path.normpath(arguments.root.absolute()))
    if not (root / "etc").is_dir():
        raise UsageError(f"--root: expected the tree of a system, got {str(arguments.root)!r}")
    if root == Path("/") and os.geteuid() != 0 and not arguments.dry_run:
        raise UsageError("install-service: expected root, got an ordinary user", hint="use sudo")
    return root


def _own_program() -> str:
    """The program that was called, as others can call it; not a module that Python was given."""
    called = Path(sys.argv[0]).absolute()
    for path in (called, Path(sys.executable).absolute().parent / "minid"):
        if path.name == "minid" and path.is_file() and os.access(path, os.X_OK):
            return os.path.normpath(path)
    raise UsageError("--program: expected the path of minid's program, got none")


def _print_change(change: Change, *, dry_run: bool) -> None:
    done = not dry_run or change.deed in ("unchanged", "kept")
    deed = change.deed if done else f"would be {change.deed}"
    detail = f" ({printable(change.detail)})" if change.detail else ""
    print(f"{deed:<{17 if dry_run else 9}} {printable(change.what)}{detail}")
