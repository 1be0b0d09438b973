"""`-- COMMAND...` at the end of a command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def take_command(parser: argparse.ArgumentParser) -> None:
    """Have what stands behind `--` in `words`, also where there is no NAME before it."""
    plain = parser.parse_known_args

    def parse(
        args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(args or ())
        at = words.index("--") if "--" in words else len(words)
        found, rest = plain(words[:at], namespace)
        found.words = words[at + 1 :]
        return found, rest

    parser.parse_known_args = parse  # type: ignore[method-assign,assignment]
