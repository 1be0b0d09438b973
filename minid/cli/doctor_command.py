"""`minid doctor`: what this machine lacks for minid's work, and the command that mends it."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.words import print_json, printable
from minid.errors import HostError
from minid.host.doctor import Finding, probe_machine

_WIDTH = 16


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid doctor`."""
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when builds and checks can work here, HostError's exit code otherwise.

    What is missing and not needed, as an engine with the default configuration, is shown and does
    not count.
    """
    findings = probe_machine(load_folder_config(arguments))
    good = all(finding.ok or not finding.needed for finding in findings)
    if arguments.json:
        print_json({"ok": good, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print_finding(finding)
        print("builds and checks work here" if good else "minid cannot work here yet: see above")
    return 0 if good else HostError.exit_code


def _print_finding(finding: Finding) -> None:
    word = "ok" if finding.ok else "missing" if finding.needed else "optional"
    print(f"{word:<9} {finding.what:<{_WIDTH}} {printable(finding.detail)}".rstrip())
    if finding.mend:
        print(f"{'':<9} {'':<{_WIDTH}} mend: {printable(finding.mend)}")
