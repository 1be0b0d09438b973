"""`minid verify`: prove that a store is whole, and mend what can be mended."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from minid.cli.folder import Folder, add_json_option, load_folder
from minid.cli.store_reader import find_image, open_records
from minid.cli.words import is_terminal, print_json, printable, seconds
from minid.errors import StoreError, UsageError

if TYPE_CHECKING:
    from minid.workbench.proof import Finding
    from minid.workbench.selftest import Trial


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid verify`."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="images (default: the whole store)"
    )
    parser.add_argument("--contents", action="store_true", help="hash every blob, inflate layers")
    parser.add_argument(
        "--repair", action="store_true", help="hash every blob, and mend what can be mended"
    )
    parser.add_argument(
        "--selftest", action="store_true", help="break a scratch store in ten ways, and find each"
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when nothing is wrong, or nothing is left after a repair; else StoreError's status."""
    folder = load_folder(arguments)
    arguments.contents |= arguments.repair  # what was not looked at is not mended
    if arguments.selftest:
        return _selftest(arguments, folder)
    if arguments.repair and arguments.names:
        raise UsageError("verify: expected --repair of the whole store, got names with it")
    open_records_file(folder)
    found = _verify(arguments, folder)
    mended: list[str] = []
    if arguments.repair:
        from minid.line.workshop import open_guest
        from minid.workbench.repairing import repair

        with open_guest(folder.config, folder.recipes) as shop:
            mended = repair(shop, found)
        found = _verify(arguments, folder)
    if arguments.json:
        print_json(
            {"passed": not found, "findings": [_fact(item) for item in found]}
            | ({"mended": mended} if arguments.repair else {})
        )
    else:
        _print(arguments, found, mended)
    return StoreError.exit_code if found else 0


def open_records_file(folder: Folder) -> None:
    """UsageError where there is no store; one that cannot be read is a finding."""
    try:
        open_records(folder.config).close()
    except StoreError:
        return


def _verify(arguments: argparse.Namespace, folder: Folder) -> list[Finding]:
    from minid.store.records import Records
    from minid.workbench.proof import Case, Finding
    from minid.workbench.verifying import open_case, verify

    try:
        records = Records(folder.config.paths.records, writable=False)
    except StoreError as error:
        return [Finding("database", "records.sqlite", error.message)]
    try:
        images = [find_image(records, name) for name in arguments.names]
        only = {str(image["manifest"]): image for image in images} if arguments.names else None

        def open_it() -> Case:
            return open_case(
                folder.config,
                records,
                folder.recipes,
                only,
                contents=arguments.contents,
                progress=_show_progress if _shows(arguments) else lambda _done, _all: None,
            )

        return verify(open_it)
    finally:
        records.close()
        if _shows(arguments):
            print("\r\x1b[K", end="", file=sys.stderr)


def _shows(arguments: argparse.Namespace) -> bool:
    return bool(arguments.contents and is_terminal() and not arguments.json)


def _show_progress(done: int, total: int) -> None:
    share = 100 * done // total if total else 100
    print(f"\rhashed {share} %", end="", file=sys.stderr, flush=True)


def _fact(finding: Finding) -> dict[str, object]:
    return asdict(finding) | {"blob": str(finding.blob) if finding.blob else ""}


def _print(arguments: argparse.Namespace, found: list[Finding], mended: list[str]) -> None:
    from minid.workbench.proof import INVARIANTS

    for line in mended:
        print(printable(f"mended: {line}"))
    for item in found:
        print(printable(f"{item.invariant}: {item.where}: {item.text}"))
    broken = {item.invariant for item in found}
    if found:
        print(f"{len(INVARIANTS) - len(broken)} of {len(INVARIANTS)} invariants hold")
        if arguments.repair:
            print("`minid build` makes again what is lost; of a tagged image with --force")
        else:
            print("`minid verify --repair` mends what can be mended")
    else:
        what = "with every byte" if arguments.contents else "without hashing every byte"
        print(f"all {len(INVARIANTS)} invariants hold, {what}")


def _selftest(arguments: argparse.Namespace, folder: Folder) -> int:
    from minid.workbench.selftest import run_selftest

    parent = folder.config.paths.state
    parent.mkdir(parents=True, exist_ok=True)
    trials = run_selftest(parent)
    passed = all(trial.passed for trial in trials)
    if arguments.json:
        print_json({"passed": passed, "trials": [_trial_fact(trial) for trial in trials]})
    else:
        for trial in trials:
            told = ", ".join(dict.fromkeys(item.invariant for item in trial.found)) or "nothing"
            word = "as it should" if trial.passed else "WRONG"
            print(f"{trial.done}: told as {told}, {word}, {seconds(trial.seconds)}")
    return 0 if passed else StoreError.exit_code


def _trial_fact(trial: Trial) -> dict[str, object]:
    return {
        "invariant": trial.invariant,
        "done": trial.done,
        "passed": trial.passed,
        "findings": [_fact(item) for item in trial.found],
    }
