"""Files around an unpacking target, and a picture of them that shows whether anything changed."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def make_canaries(box: Path) -> Path:
    """Lay canaries into `box` and return the empty target among them."""
    canary = box / "canary"
    canary.mkdir(parents=True)
    (canary / "secret").write_bytes(b"the canary sings")
    (canary / "secret").chmod(0o640)
    (canary / "program").write_bytes(b"#!/bin/sh\n")
    (canary / "program").chmod(0o755)
    (canary / "link").symlink_to("secret")
    os.link(canary / "secret", canary / "twin")
    (canary / "open").mkdir()
    (canary / "open").chmod(0o777)
    target = box / "target"
    target.mkdir(mode=0o700)
    return target


def picture(box: Path, target: Path) -> dict[str, tuple[object, ...]]:
    """Everything in `box` but what is in `target`: stat without access time, and a hash.

    The target's own times change with its contents: they are left out, and its owner, who may be
    given it.
    """
    seen: dict[str, tuple[object, ...]] = {
        "/minid-escaped": (Path("/minid-escaped").exists(),),
        ".": _look(box),
        "target": (stat.S_IMODE(target.stat().st_mode),),
    }
    for folder, folders, files in os.walk(box):
        if Path(folder) == box:
            folders.remove("target")
        for name in folders + files:
            path = Path(folder) / name
            seen[str(path.relative_to(box))] = _look(path)
    return seen


def _look(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    digest = ""
    if stat.S_ISREG(status.st_mode):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return (
        status.st_mode,
        status.st_ino,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        digest,
    )
