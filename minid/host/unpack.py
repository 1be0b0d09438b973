"""Unpacking a source archive or a root file system in a child that has given up its rights.

`unpack_archive` starts this module as a program of its own: decompressors and parsers are fed with
bytes from outside, so they run as the build user, with limits, in a process that may crash.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from minid.errors import HostError, MinidError, UnpackError
from minid.formats.tar_reader import TarLimits
from minid.host.confine import become, bind_to_parent, set_limits
from minid.host.extract import Profile, Unpacked

__all__ = ["ROOTFS_CAPS", "SOURCE_CAPS", "UnpackCaps", "Unpacked", "unpack_archive"]

_MAX_ANSWER = 1 << 16


@dataclass(frozen=True, slots=True)
class UnpackCaps:
    """What an archive may hold, and what the child that unpacks it may use."""

    tar: TarLimits = TarLimits()
    wall_s: float = 900
    cpu_s: int = 600
    memory_bytes: int = 1 << 30


SOURCE_CAPS = UnpackCaps()
ROOTFS_CAPS = UnpackCaps(
    tar=TarLimits(
        total_bytes=32 << 30,
        file_bytes=8 << 30,
        members=2_000_000,
        path_bytes=4095,
        header_bytes=4 << 20,
    ),
    wall_s=3600,
    cpu_s=1800,
)


def unpack_archive(
    archive: Path,
    target: Path,
    *,
    caps: UnpackCaps | None = None,
    uid: int | None,
    gid: int | None,
    profile: Profile = "source",
) -> Unpacked:
    """Unpack `archive` (tar, plain or as gz, bz2, xz or zst) into the empty folder `target`.

    With `uid` and `gid` (needs root) `target` is given to them and everything is made as them;
    without, as the caller. Files keep `mode & 0755` and their times in whole seconds; setuid bits,
    owners, extended attributes and times of folders are dropped. Of members with one name the last
    counts; a folder and something else with one name are an error.

    Profile `source`: one top folder that holds everything is taken away; devices and FIFOs are
    errors. Profile `rootfs`: everything stays where it is, devices and FIFOs are skipped and
    counted, files are readable and writable for their owner. `caps` defaults to the profile's.

    A symlink may have any text: nothing is ever created through one, builds see the tree only
    inside their sandbox, and real sources hold dangling and absolute ones in their tests.

    UnpackError for an archive that is damaged, hostile or over a cap, and when the child does not
    live to answer; HostError when the disk is full or rights are missing. The caller removes
    `target` then.
    """
    caps = caps or (ROOTFS_CAPS if profile == "rootfs" else SOURCE_CAPS)
    request: dict[str, object] = {
        "archive": str(archive.absolute()),
        "target": str(target.absolute()),
        "caps": asdict(caps),
        "uid": uid,
        "gid": gid,
        "profile": profile,
    }
    return _parse_answer(archive.name, _ask_child(archive.name, request, caps.wall_s))


def _ask_child(name: str, request: dict[str, object], wall_s: float) -> bytes:
    """The child's answer; UnpackError when it does not give one."""
    from minid.host.process import run

    try:
        finished = run(
            [sys.executable, "-I", "-m", "minid.host.unpack"],
            timeout_s=wall_s,
            input_bytes=json.dumps(request).encode(),
            cwd=Path("/"),
            max_output=_MAX_ANSWER,
        )
    except HostError as error:
        raise UnpackError(f"{name}: unpacker: {error.message}") from error
    if finished.status:
        tail = finished.stderr.decode("utf-8", "backslashreplace").splitlines()[-20:]
        raise UnpackError(
            f"{name}: unpacker: expected an answer, got exit status {finished.status}",
            log_tail=tail,
        )
    return finished.stdout


def _parse_answer(name: str, line: bytes) -> Unpacked:
    """The child's JSON line as a value or as the error it names. The child is not trusted."""
    try:
        answer = json.loads(line)
        if "error" in answer:
            kind = HostError if answer["kind"] == "host" else UnpackError
            raise kind(f"{name}: {answer['error']}", hint=str(answer["hint"]))
        return Unpacked(
            members=int(answer["members"]),
            bytes=int(answer["bytes"]),
            newest_mtime=int(answer["newest_mtime"]),
            top_folder=str(answer["top_folder"]),
            skipped=int(answer["skipped"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnpackError(f"{name}: unpacker: expected a line of JSON, got other bytes") from error


def main() -> None:
    """The child: one request on standard input, one answer on standard output."""
    request = json.loads(sys.stdin.buffer.read(_MAX_ANSWER))
    try:
        answer: dict[str, object] = asdict(_serve(request))
    except MinidError as error:
        kind = "host" if isinstance(error, HostError) else "unpack"
        answer = {"kind": kind, "error": error.message, "hint": error.hint}
    except MemoryError:
        limit = request["caps"]["memory_bytes"]
        answer = {"kind": "unpack", "error": f"expected to need less than {limit} bytes of memory"}
        answer["hint"] = ""
    sys.stdout.write(json.dumps(answer) + "\n")


def _serve(request: dict[str, object]) -> Unpacked:
    """Open both ends with the caller's rights, give the rights up, and only then read."""
    from minid.formats.compression import HEAD_BYTES, decompress, detect_compression, load_decoder
    from minid.host.extract import extract

    caps = _parse_caps(request["caps"])
    archive_fd = _open_archive(str(request["archive"]))
    target_fd = _open_target(str(request["target"]))
    # Six bytes are compared, not parsed. All libraries are loaded now: the build user may have no
    # right to read them.
    compression = detect_compression(os.pread(archive_fd, HEAD_BYTES, 0))
    if compression != "none":
        load_decoder(compression)
    _limit(caps)
    _drop_rights(request["uid"], request["gid"], target_fd)
    os.umask(0)
    chunks = decompress(lambda size: os.read(archive_fd, size), compression, caps.tar.total_bytes)
    profile: Profile = "rootfs" if request["profile"] == "rootfs" else "source"
    return extract(chunks, target_fd, limits=caps.tar, profile=profile)


def _parse_caps(value: object) -> UnpackCaps:
    assert isinstance(value, dict)
    return UnpackCaps(**{**value, "tar": TarLimits(**value["tar"])})


def _open_archive(path: str) -> int:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise HostError(f"expected to open the archive, got {error.strerror}") from error
    if not os.path.isfile(f"/proc/self/fd/{opened}"):  # noqa: PTH113
        raise HostError("expected the archive to be a regular file, got another kind")
    return opened


def _open_target(path: str) -> int:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"target: expected a folder, got {error.strerror}") from error
    if os.listdir(opened):  # noqa: PTH208 (a descriptor)
        raise HostError("target: expected an empty folder, got one that holds files")
    return opened


def _drop_rights(uid: object, gid: object, target_fd: int) -> None:
    """Become the build user for good, and die with the parent."""
    if uid is not None or gid is not None:
        if not isinstance(uid, int) or not isinstance(gid, int):
            raise HostError("expected both a uid and a gid, or neither")
        if (os.geteuid(), os.getegid()) != (uid, gid) or os.geteuid() == 0:
            _become(uid, gid, target_fd)
    bind_to_parent()


def _become(uid: int, gid: int, target_fd: int) -> None:
    try:
        os.fchown(target_fd, uid, gid)
    except OSError as error:
        raise HostError(
            f"expected to give the target to uid {uid}, got {error.strerror}",
            hint="only root can unpack as another user",
        ) from error
    become(uid, gid)


def _limit(caps: UnpackCaps) -> None:
    import resource

    set_limits(
        {
            resource.RLIMIT_AS: caps.memory_bytes,
            resource.RLIMIT_FSIZE: caps.tar.file_bytes,
            resource.RLIMIT_CPU: caps.cpu_s,
            resource.RLIMIT_NOFILE: 64,
            resource.RLIMIT_CORE: 0,
        }
    )


if __name__ == "__main__":
    main()
