"""`minid sign`: detached signatures of images and files by the operator's key."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.store_reader import find_image, open_records
from minid.cli.words import print_json, printable
from minid.errors import HostError, UsageError
from minid.formats.digest import Digest

if TYPE_CHECKING:
    from minid.config import Config
    from minid.host.signing import Signer


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid sign`."""
    parser.add_argument(
        "what", nargs="+", metavar="IMAGE|FILE", help="an image of the store, or a file"
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="a secret key of minisign or OpenSSH, or the public half of one that an agent has "
        "(default: sign.key of config.toml)",
    )
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 when all of it is signed."""
    from minid.host.signing import open_signer

    config = load_folder_config(arguments)
    key = arguments.key or config.publish.sign.key
    if key is None:
        raise UsageError(
            "sign: expected --key FILE, got none", hint="or set sign.key in config.toml"
        )
    files = {name: path for name in arguments.what if (path := named_file(name)) is not None}
    images = [name for name in arguments.what if name not in files]
    if images:  # before anything is signed
        records = open_records(config)
        for name in images:
            find_image(records, name)
    signer = open_signer(key, os.environ, _ask if sys.stdin.isatty() else None)
    results = [_sign_file(path, signer) for path in files.values()]
    results += _sign_images(config, images, signer) if images else []
    if arguments.json:
        print_json(results)
    else:
        for item in results:
            place = item.get("signature") or item["manifest"]
            print(f"{printable(item['name'])}: {printable(place)}, by {item['kind']} {item['key']}")
    return 0


def named_file(name: str) -> Path | None:
    """The file that a word of the command line means; None where it means an image."""
    path = Path(name)
    if name.startswith(("./", "../", "/")) or path.is_file():
        return path
    return None


def _ask() -> str:
    import getpass

    return getpass.getpass("Password of the key: ")


def _sign_file(path: Path, signer: Signer) -> dict[str, str]:
    from minid.host.files import write_file

    target = path.with_name(path.name + signer.suffix)
    try:
        if not path.is_file():
            raise UsageError(f"{path}: expected a file to sign, got none")
        write_file(target, signer.sign_file(path))
    except OSError as error:
        raise HostError(f"{target}: expected to be written, got {error.strerror}") from error
    return {"name": str(path), "signature": str(target), "kind": signer.kind, "key": signer.key}


def _sign_images(config: Config, names: list[str], signer: Signer) -> list[dict[str, str]]:
    from minid.line.workshop import open_guest
    from minid.store.signatures import sign_manifest

    done = []
    with open_guest(config, {}) as shop:
        for name in names:
            digest = Digest.parse(str(find_image(shop.records, name)["manifest"]))
            database, now = shop.records.database, shop.clock()
            sign_manifest(digest, name, signer, shop.blobs, database, now)
            facts = {"name": name, "manifest": str(digest), "kind": signer.kind, "key": signer.key}
            done.append(facts)
    return done
