"""Findings of lints, and which of them a recipe silences. The rules are in `formats.lint_rules`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from minid.formats.globs import compile_globs
from minid.recipe import Silence

Severity = Literal["error", "warning"]

# The rules by name, for readers of recipes, which need no rule's code.
RULE_NAMES = (
    "build-path",
    "build-rpath",
    "dangling-link",
    "foreign-libc",
    "host-name",
    "license-changed",
    "missing-interpreter",
    "missing-library",
    "no-ca-bundle",
    "nss-module",
    "secret",
    "setuid",
    "size-grown",
    "symbol-version",
    "tmp-mode",
    "unknown-user",
    "unstripped",
    "world-writable",
)
LINT_VERSION = 1
"""Raised when a rule finds more or less than before, so that every image is looked over again."""
UNUSED = "unused-ignore"
"""The finding that an entry of `lint.ignore` silences nothing."""
# Found on some machines or in some releases only: an entry for them may wait.
_NOW_AND_THEN = frozenset({"host-name", "license-changed", "size-grown"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found. `image_path` is empty where it is about the image as a whole; `silenced`
    is the recipe's reason to let it be."""

    rule: str
    image_path: str
    detail: str
    severity: Severity = "warning"
    silenced: str = ""

    def __str__(self) -> str:
        where = f"/{self.image_path}: " if self.image_path else ""
        return f"{self.rule}: {where}{self.detail}"

    def as_json(self) -> dict[str, str]:
        """The finding as JSON values; see docs/reference/lints.md."""
        found = {
            "rule": self.rule,
            "severity": self.severity,
            "path": f"/{self.image_path}" if self.image_path else "",
            "detail": self.detail,
        }
        return found | ({"silenced": self.silenced} if self.silenced else {})


def parse_finding(value: Mapping[str, object]) -> Finding:
    """Read what `Finding.as_json` gave."""
    return Finding(
        str(value.get("rule", "")),
        str(value.get("path", "")).removeprefix("/"),
        str(value.get("detail", "")),
        "error" if value.get("severity") == "error" else "warning",
        str(value.get("silenced", "")),
    )


def silence(findings: Iterable[Finding], entries: Sequence[Silence]) -> tuple[Finding, ...]:
    """The findings, those that an entry of `lint.ignore` names with its reason; then one for each
    entry that names none, unless it may wait for the next release."""
    patterns = [compile_globs(entry.paths) if entry.paths else None for entry in entries]
    used: set[int] = set()
    told: list[Finding] = []
    for finding in findings:
        fitting = [
            position
            for position, (entry, pattern) in enumerate(zip(entries, patterns, strict=True))
            if entry.rule == finding.rule
            and (pattern is None or pattern.fullmatch(finding.image_path))
        ]
        used.update(fitting)
        reason = entries[fitting[0]].reason if fitting else ""
        told.append(replace(finding, silenced=reason) if reason else finding)
    return (*told, *_unused(entries, used))


def _unused(entries: Sequence[Silence], used: set[int]) -> Iterator[Finding]:
    for position, entry in enumerate(entries):
        if position in used or entry.rule in _NOW_AND_THEN:
            continue
        where = f" at {', '.join(entry.paths)}" if entry.paths else ""
        yield Finding(
            UNUSED,
            "",
            f"lint.ignore[{position}]: expected a finding of {entry.rule}{where}, got none",
        )


def make_strict(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with every warning an error."""
    return tuple(replace(finding, severity="error") for finding in findings)
