"""`minid lint --image` and `--rules`: what lints find in an image, and what they look for."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable

from minid.cli.folder import load_folder_config
from minid.cli.store_reader import open_image
from minid.cli.words import print_json, printable
from minid.config import Config
from minid.errors import LintError
from minid.formats.lint import Finding
from minid.formats.lint_bytes import usable_host_name
from minid.formats.lint_rules import RULES
from minid.line.linting import (
    base_tree,
    describe,
    errors_among,
    image_to_lint,
    licenses_of,
    weigh,
)
from minid.recipe import Recipe
from minid.steps.lint import Facts, lint_image


def show_rules(*, as_json: bool) -> None:
    """Every rule, with what it means."""
    if as_json:
        rows = [(rule.name, rule.severity, rule.explanation) for rule in RULES]
        print_json(
            [dict(zip(("name", "severity", "explanation"), row, strict=True)) for row in rows]
        )
        return
    for rule in RULES:
        print(f"{rule.name} ({rule.severity})")
        print(textwrap.fill(rule.explanation, 96, initial_indent="  ", subsequent_indent="  "))


def lint_stored(arguments: argparse.Namespace) -> int:
    """Look over the image that the command line names; LintError's exit code for an error."""
    config = load_folder_config(arguments)
    stored = open_image(arguments)
    detail = stored.facts
    image = image_to_lint(
        detail,
        stored.blobs,
        stored.records,
        base=base_tree(detail, stored.blobs, stored.records),
        licenses=licenses_of(detail),
    )

    def recall(key: str, _stage: str, make: Callable[[], Facts]) -> Facts:
        return stored.records.result(key) or make()

    found = lint_image(image, stored.blobs, usable_host_name(os.uname().nodename), recall)
    recipe = _recipe_of(config, str(detail.get("recipe") or ""))
    findings = weigh(found, recipe, strict=config.lint.strict)
    if arguments.json:
        told = [finding.as_json() for finding in findings]
        facts = {"image": arguments.image, "manifest": detail["manifest"], "findings": told}
        print_json(facts)
    else:
        _print_findings(arguments.image, findings)
    return LintError.exit_code if errors_among(findings) else 0


def _print_findings(name: str, findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        print(printable(describe(finding)))
    if not findings:
        print(printable(f"{name}: nothing found"))


def _recipe_of(config: Config, name: str) -> Recipe | None:
    """The folder's recipe of that name, which may silence findings; None where there is none."""
    from minid.recipe_reader import load_recipe

    file = config.paths.recipes / f"{name}.toml"
    return load_recipe(file) if name and file.is_file() else None
