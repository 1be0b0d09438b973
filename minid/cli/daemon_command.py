"""`minid daemon`: keep images in step with recipes and upstreams, until it is told to stop."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from minid.cli.folder import config_file


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """`minid daemon` has no options: all is in config.toml."""
    del parser


def execute(arguments: argparse.Namespace) -> int:
    """0 once it was told to stop and has; the exit code of what kept it from starting."""
    import asyncio

    from minid.config_reader import load_config
    from minid.daemon.serve import serve

    file, start, environ = config_file(arguments), Path.cwd(), dict(os.environ)
    return asyncio.run(serve(lambda: load_config(file, environ, start=start), environ))
