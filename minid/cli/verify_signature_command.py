"""`minid verify-signature`: whether a key that is named signed exactly these bytes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.push_command import add_registry_options, registry_place
from minid.cli.sign_command import named_file
from minid.cli.store_reader import find_image, open_blobs, open_records
from minid.cli.words import print_json, printable
from minid.errors import SignatureError, UsageError
from minid.formats.digest import Digest
from minid.formats.registry_name import RegistryName, has_registry, parse_registry_name

if TYPE_CHECKING:
    from minid.config import Config
    from minid.host.signature_check import Held, Pinned

_REGISTRY = "docker://"


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid verify-signature`."""
    parser.add_argument(
        "what",
        metavar="IMAGE|FILE|REGISTRY/REPO:TAG",
        help="an image of the store, a file, or an image of a registry (docker://… is always that)",
    )
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--key",
        metavar="PUBKEY",
        help="a public key of minisign or OpenSSH: its file, or the key itself "
        "(default: sign.public of config.toml)",
    )
    key.add_argument(
        "--allowed-signers", type=Path, metavar="FILE", help="OpenSSH's, see ssh-keygen(1)"
    )
    parser.add_argument(
        "--signature", type=Path, metavar="FILE", help="the signature (default: the one beside it)"
    )
    add_registry_options(parser)
    add_json_option(parser)


def execute(arguments: argparse.Namespace) -> int:
    """0 only where a named key signed exactly these bytes; SignatureError otherwise."""
    config = load_folder_config(arguments)
    pinned = _pinned(arguments, config)
    name = arguments.what
    path = None if name.startswith(_REGISTRY) else named_file(name)
    if path is not None:
        facts, held = {"name": name, "in": "file"}, _check_file(path, pinned, arguments.signature)
    elif name.startswith(_REGISTRY) or _is_remote(config, name):
        facts, held = _check_remote(arguments, config, pinned)
    else:
        facts, held = _check_image(arguments, config, pinned)
    told = {"kind": held.kind, "key": held.key, "signer": held.signer, "comment": held.comment}
    if arguments.json:
        print_json(facts | told)
        return 0
    by = f"{held.kind} {held.key}" + (f" ({printable(held.signer)})" if held.signer else "")
    print(f"{printable(name)}: good signature by {by}")
    if "manifest" in facts:
        print(f"  manifest {facts['manifest']}, in the {facts['in']}")
    if held.comment:
        print(f"  {printable(held.comment)}")
    return 0


def _pinned(arguments: argparse.Namespace, config: Config) -> Pinned:
    from minid.host.signature_check import load_allowed_signers, load_public_key

    if arguments.allowed_signers:
        return load_allowed_signers(arguments.allowed_signers)
    key = arguments.key or (config.publish.sign.public and str(config.publish.sign.public))
    if not key:
        raise UsageError(
            "verify-signature: expected --key or --allowed-signers, got neither",
            hint="or set sign.public in config.toml; what a signature says of its key proves "
            "nothing",
        )
    return load_public_key(key)


def _check_file(path: Path, pinned: Pinned, signature: Path | None) -> Held:
    from minid.host.signature_check import check_any
    from minid.host.signing import SUFFIXES

    if not path.is_file():
        raise UsageError(f"{path}: expected a file, got none")
    beside = signature or path.with_name(path.name + SUFFIXES[pinned.kind])
    found = [_read_signature(beside)] if signature or beside.exists() else []
    with path.open("rb") as file:
        return check_any(str(path), pinned, found, file)


def _read_signature(path: Path) -> bytes:
    from minid.host.signature_check import MAX_BYTES

    if not path.is_file():
        raise SignatureError(f"{path}: expected a signature, got no file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _is_remote(config: Config, name: str) -> bool:
    """Whether a name with a registry means that; a tag of the store comes first."""
    if not has_registry(name):
        return False
    stored = config.paths.records.is_file()
    return not (stored and open_records(config).tagged(name))


def _check_image(
    arguments: argparse.Namespace, config: Config, pinned: Pinned
) -> tuple[dict[str, str], Held]:
    from minid.host.signature_check import check_any
    from minid.host.signing import open_bytes
    from minid.store.signatures import Signatures

    records = open_records(config)
    manifest = str(find_image(records, arguments.what)["manifest"])
    found = [row.signature for row in Signatures(records.database).of(manifest)]
    if arguments.signature:
        found = [_read_signature(arguments.signature)]
    data = open_blobs(config).read(Digest.parse(manifest))
    with open_bytes(data) as file:
        held = check_any(arguments.what, pinned, found, file)
    return {"name": arguments.what, "manifest": manifest, "in": "store"}, held


def _check_remote(
    arguments: argparse.Namespace, config: Config, pinned: Pinned
) -> tuple[dict[str, str], Held]:
    from minid.host.registry_referrers import remote_signatures
    from minid.host.signature_check import check_any
    from minid.host.signing import open_bytes

    name = _registry_name(arguments.what.removeprefix(_REGISTRY))
    manifest, tried = remote_signatures(registry_place(arguments, config, name), pinned.kind)
    found = list(tried)
    if arguments.signature:
        found = [_read_signature(arguments.signature)]
    with open_bytes(manifest) as file:
        held = check_any(str(name), pinned, found, file)
    return {"name": str(name), "manifest": str(Digest.of(manifest)), "in": "registry"}, held


def _registry_name(text: str) -> RegistryName:
    try:
        return parse_registry_name(text)
    except ValueError as error:
        raise UsageError(f"verify-signature: {error}") from error
