"""`minid new`: draft a recipe from a source archive."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from minid.cli.daemon_client import find_daemon
from minid.cli.folder import load_folder_config
from minid.config import Config, Fetching
from minid.errors import FetchError, UsageError
from minid.formats.digest import Digest
from minid.host.draft import draft_name, draft_recipe
from minid.host.files import write_file
from minid.host.http import download
from minid.line.workshop import open_workshop
from minid.store.blobs import Blobs, Sink


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid new`."""
    parser.add_argument("url", metavar="URL", help="of a source archive")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="default: recipes/NAME.toml; - prints"
    )
    parser.add_argument("--archive", type=Path, metavar="FILE", help="the archive, if it is here")
    parser.add_argument("--sha256", metavar="HEX", help="what the archive must be")


def execute(arguments: argparse.Namespace) -> int:
    """Fetch, look inside, write the draft; an existing recipe is never replaced."""
    config = load_folder_config(arguments)
    name = draft_name(arguments.url)
    target = Path(arguments.output or config.paths.recipes / f"{name}.toml")
    if target.exists() and arguments.output != "-":
        raise UsageError(f"{target}: expected no file, got one", hint="choose one with --output")
    local = arguments.archive or _mirrored(config.mirrors, arguments.url)
    if local is not None and not local.is_file():
        raise UsageError(f"--archive: expected a file, got {str(local)!r}")
    expected = _read_digest(arguments.sha256) if arguments.sha256 else None
    with _open_blobs(config) as blobs:
        with blobs.receive() as sink:
            if local:
                with local.open("rb") as file:
                    while chunk := file.read(1 << 20):
                        sink.write(chunk)
            else:
                _download(arguments.url, sink, config.fetch)
            digest = sink.commit(expected)
        text = draft_recipe(blobs.path(digest), arguments.url, digest)
    if arguments.output == "-":
        print(text, end="")
        return 0
    os.makedirs(target.parent, exist_ok=True)  # noqa: PTH103
    write_file(target, text.encode())
    here = Path.cwd()
    shown = target.relative_to(here) if target.is_relative_to(here) else target
    print(f"wrote {shown}: look it over, then: minid build {target.stem}")
    return 0


def _download(url: str, sink: Sink, limits: Fetching) -> None:
    try:
        download(url, sink.write, limits, progress=None)
    except FetchError as error:
        error.hint = error.hint or "an archive that is here: --archive FILE, or a mirror folder"
        raise


@contextmanager
def _open_blobs(config: Config) -> Iterator[Blobs]:
    """The store, so that the first build finds the archive; beside a service, which alone writes
    there, a folder for the moment."""
    if find_daemon(config) is None:
        with open_workshop(config, {}) as shop:
            yield shop.blobs
        return
    with TemporaryDirectory(prefix="minid-") as folder:
        blobs = Blobs(Path(folder))
        blobs.prepare()
        yield blobs


def _read_digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise UsageError(f"--sha256: {error}") from None


def _mirrored(mirrors: tuple[str, ...], url: str) -> Path | None:
    """The archive in a folder among the mirrors, if one has it under the URL's name."""
    name = url.split("?", maxsplit=1)[0].rpartition("/")[2]
    folders = [Path(mirror.removeprefix("file:")) for mirror in mirrors if mirror[:5] == "file:"]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
