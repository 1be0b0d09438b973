"""Watching what a sandbox uses, so that a limit ends it. Nothing here kills: it only tells why."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minid.host.cgroup import MemoryGroup
from minid.host.namespace import Namespace
from minid.model import Limits

# Folders are walked no more often than this, and a build is to have the machine to itself: a walk
# takes at most a fiftieth of the time, but comes every few seconds however long it takes.
DISK_INTERVAL_S = 0.5
_DISK_SHARE = 50
_DISK_INTERVAL_MAX_S = 5.0
# Below this much free space the machine itself is in danger, whatever a single limit says.
RESERVE_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What lies below some folders. `deep` is set where a path is too long to be looked at."""

    size_bytes: int = 0
    inodes: int = 0
    largest_bytes: int = 0
    deep: bool = False


def measure_disk(folders: Sequence[Path], stop_at_inodes: int) -> DiskUsage:
    """Blocks and inodes below the folders, no link followed; gives up once past `stop_at_inodes`.

    Folders that disappear or are closed meanwhile count as empty.
    """
    size, inodes, largest, deep = 0, 0, 0, False
    pending = [str(folder) for folder in folders]
    while pending and inodes <= stop_at_inodes:
        try:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    status = entry.stat(follow_symlinks=False)
                    inodes += 1
                    regular = stat.S_ISREG(status.st_mode)  # `is_file` would follow links
                    size += status.st_blocks * 512 // (status.st_nlink if regular else 1)
                    largest = max(largest, status.st_size if regular else 0)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(entry.path)
        except FileNotFoundError:
            continue
        except PermissionError:
            continue
        except OSError:
            deep = True
    return DiskUsage(size, inodes, largest, deep)


@dataclass(slots=True)
class Watch:
    """The limits of one sandbox and what has been seen of it so far."""

    limits: Limits
    folders: tuple[Path, ...]
    group: MemoryGroup | None
    started: float = field(default_factory=time.monotonic)
    last_output: float = field(default_factory=time.monotonic)
    output_bytes: int = 0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    next_disk: float = 0.0

    def note_output(self, size: int) -> None:
        """Count output, which also breaks a silence."""
        self.output_bytes += size
        self.last_output = time.monotonic()

    def exceeded(self, namespace: Namespace | None) -> str:
        """The name of a limit that is passed now, or an empty string."""
        now = time.monotonic()
        if now - self.started > self.limits.wall_s:
            return "wall"
        if now - self.last_output > self.limits.silence_s:
            return "silence"
        if self.output_bytes > self.limits.log_bytes:
            return "log"
        if namespace is not None and (reason := self._exceeded_by(namespace)):
            return reason
        return self._exceeded_on_disk(now) if now >= self.next_disk else ""

    def _exceeded_by(self, namespace: Namespace) -> str:
        """The limit that the processes passed: processor time or memory."""
        usage = namespace.usage()
        self.cpu_s = max(self.cpu_s, usage.cpu_s)
        if self.cpu_s > self.limits.cpu_s:
            return "cpu"
        if usage.processes > self.limits.processes:
            return "processes"
        if self.group is not None:
            return "memory" if self.group.was_exceeded() else ""
        resident = usage.resident_bytes
        if resident > self.limits.memory_bytes:
            resident = namespace.proportional_bytes()
        self.peak_bytes = max(self.peak_bytes, resident)
        return "memory" if resident > self.limits.memory_bytes else ""

    def _exceeded_on_disk(self, now: float) -> str:
        reason = self.judge_disk()
        took = time.monotonic() - now
        self.next_disk = now + took + _pause_after(took)
        return reason

    def judge_disk(self) -> str:
        """The limit that the writable folders passed: disk, inodes or the size of one file."""
        used = measure_disk(self.folders, self.limits.inodes)
        if used.inodes > self.limits.inodes or used.deep:
            return "inodes"
        if used.size_bytes > self.limits.disk_bytes or any(map(_is_nearly_full, self.folders)):
            return "disk"
        return "file" if used.largest_bytes >= self.limits.file_bytes else ""


def _pause_after(took_s: float) -> float:
    """How long not to walk after a walk that took so long."""
    # A walk of many seconds belongs to a tree of millions of files: half the time then.
    return max(DISK_INTERVAL_S, min(_DISK_SHARE * took_s, _DISK_INTERVAL_MAX_S), took_s)


def _is_nearly_full(folder: Path) -> bool:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize < min(RESERVE_BYTES, room.f_blocks * room.f_frsize // 50)
