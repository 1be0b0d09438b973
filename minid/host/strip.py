"""Stripping ELF files with an environment's own `strip`, in the sandbox: it parses our output."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from minid.errors import BuildError
from minid.host.files import temporary_folder
from minid.host.sandbox import BuildIdentity, SandboxSpec, run_sandbox
from minid.model import Environment, Limits, StripRequest

# Names are numbers, so that a file's own name never reaches a command line. A file that strip
# refuses stays as it is: it may be no more than almost an ELF file.
_SCRIPT = 'for file in /build/files/*; do strip "$1" -- "$file" || true; done'
_TAIL = 4096


def strip_files(
    request: StripRequest,
    *,
    environment: Environment,
    identity: BuildIdentity,
    jobs_folder: Path,
    limits: Limits,
) -> Mapping[str, bytes]:
    """The files of `request` that strip made smaller, by image path.

    BuildError when the environment has no strip or it passes a limit.
    """
    paths = sorted(request.files)
    output = bytearray()
    with temporary_folder(jobs_folder, "strip-") as job:
        folder = job / "files"
        folder.mkdir()
        for number, path in enumerate(paths):
            file = folder / f"{number:06d}"
            file.write_bytes(request.files[path])
            if identity.uid is not None:
                os.chown(file, identity.uid, identity.gid or 0)
        if identity.uid is not None:
            for place in (job, folder):
                os.chown(place, identity.uid, identity.gid or 0)
        spec = SandboxSpec(
            environment=environment,
            argv=("sh", "-c", _SCRIPT, "strip", request.option),
            binds=((folder, "/build/files", True),),
            limits=replace(limits, wall_s=min(limits.wall_s, 600)),
            workdir="/build",
        )
        result = run_sandbox(spec, identity, output=output.extend)
        tail = tuple(bytes(output[-_TAIL:]).decode("utf-8", "replace").splitlines())
        missing = any("strip: not found" in line for line in tail)
        if result.ended_by or result.status or missing:
            got = "no such program" if missing else f"status {result.status}"
            raise BuildError(
                f"strip: expected to run in environment {environment.name!r}, "
                f"got {result.ended_by or got}",
                hint="the environment needs binutils; or set contents.strip = false",
                log_tail=tail,
            )
        return {
            path: data
            for number, path in enumerate(paths)
            if (data := _read(folder / f"{number:06d}")) is not None
            and len(data) < len(request.files[path])
        }


def _read(path: Path) -> bytes | None:
    """The file's bytes; None for what is no regular file any more."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read() if os.path.isfile(file.fileno()) else None  # noqa: PTH113
