"""A container's bundle: its root file system, what is laid into it, and the runtime's config.json.

The namespace's side, as `container_server` is; runs as root of the container's user namespace.
"""

# Not pathlib: it would cost the child program as much time as its own work.
# ruff: noqa: PTH112

from __future__ import annotations

import base64
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from minid.errors import ImageError
from minid.formats import runtime_spec
from minid.host import container_fs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json = dict[str, Any]


def write_bundle(
    bundle: str,
    job: Json,
    layers: Sequence[str],
    *,
    argv: Sequence[str] = (),
    settings: Json | None = None,
    listener: str = "",
) -> str:
    """Fill the empty folder `bundle`; says how the root was laid.

    `argv` empty means the image's own command. `settings` are those of
    `container_settings.StartSettings`. ImageError where the image's users or command are at fault.
    """
    config = with_settings(job["config"], settings or {})
    how = container_fs.lay_root(layers, bundle, f"{bundle}/rootfs")
    root = os.open(f"{bundle}/rootfs", os.O_PATH | os.O_DIRECTORY)
    try:
        user = find_user(root, str(config.get("User") or ""))
        for file in (settings or {}).get("files", ()):
            _place_checked(root, file)
    finally:
        os.close(root)
    spec = runtime_spec.runtime_config(
        config,
        user,
        argv=argv,
        hostname=job["hostname"],
        binds=write_network_files(bundle, job["hostname"], job["address"]),
        sys=os.path.isdir("/sys/kernel"),
    )
    if listener:
        spec = runtime_spec.with_listener(spec, listener, os.uname().machine)
    with open(f"{bundle}/config.json", "w") as out:
        json.dump(spec, out)
    return how


def with_settings(config: Json, settings: Json) -> Json:
    """The image's settings as `docker run -e … IMAGE cmd…` changes them."""
    env = [*(config.get("Env") or ()), *settings.get("env", ())]
    cmd = settings.get("cmd")
    return config | {"Env": env} | ({} if cmd is None else {"Cmd": cmd})


def find_user(root: int, user: str) -> Json:
    """An image's `user` by the accounts below the folder `root`; see
    `runtime_spec.resolve_user`."""
    passwd, group = (container_fs.read_in_root(root, f"etc/{one}") for one in ("passwd", "group"))
    try:
        return runtime_spec.resolve_user(user, passwd, group)
    except ValueError as error:
        raise ImageError(f"etc/passwd: expected numbers as ids, got {error}") from error


def list_users(root: int) -> Mapping[int, str]:
    """The names of users by number, the first of each, by the passwd below the folder `root`."""
    return runtime_spec.user_names(container_fs.read_in_root(root, "etc/passwd"))


def _place_checked(root: int, file: Json) -> None:
    try:
        place_file(root, file)
    except OSError as error:
        reason = (error.strerror or "an error").lower()
        raise ImageError(
            f"check: start: {file['path']!r}: expected room for a file, got {reason}"
        ) from error


def place_file(root: int, file: Json) -> None:
    """Lay a file (path, data as base64, mode, owner) below the folder `root`: instead of what is
    there, with its folders. Links cannot lead out."""
    try:
        owner = find_user(root, file["owner"])
    except ImageError:
        raise ImageError(
            f"check: start: expected an owner of the image's passwd, got {file['owner']!r}"
        ) from None
    path = file["path"].strip("/")
    parent = _open_folder(root, path.rpartition("/")[0])
    name = path.rpartition("/")[2]
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        out = os.open(name, flags, 0o600, dir_fd=parent)
        with open(out, "wb") as stream:
            stream.write(base64.b64decode(file["data"]))
            os.fchown(out, owner["uid"], owner["gid"])
            os.fchmod(out, file["mode"])
    finally:
        os.close(parent)


def _open_folder(root: int, image_path: str) -> int:
    """A folder below `root`, made where it is not there."""
    flags = os.O_RDONLY | os.O_DIRECTORY
    at = container_fs.open_in_root(root, ".", flags)
    done = ""
    for name in filter(None, image_path.split("/")):
        done = f"{done}/{name}"
        try:
            below = container_fs.open_in_root(root, done, flags)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=at)
            below = container_fs.open_in_root(root, done, flags)
        os.close(at)
        at = below
    return at


def write_network_files(bundle: str, hostname: str, address: str) -> list[tuple[str, str]]:
    """hosts, hostname and resolv.conf, which Docker puts over those of every image."""
    texts = {
        "hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost\n{address}\t{hostname}\n",
        "hostname": f"{hostname}\n",
        "resolv.conf": "",
    }
    for name, text in texts.items():
        with open(f"{bundle}/{name}", "w") as file:
            file.write(text)
    return [(f"{bundle}/{name}", f"/etc/{name}") for name in texts]
