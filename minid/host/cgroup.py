"""A memory cgroup for one sandbox, where the machine lets minid make one."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """One cgroup with a memory limit. `version` is 1 or 2: their files have different names."""

    folder: Path
    version: int

    @property
    def procs(self) -> str:
        """The file that a process writes its number to, to join."""
        return str(self.folder / "cgroup.procs")

    def was_exceeded(self) -> bool:
        """Whether the kernel killed a process of it for want of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return any(
            line.startswith("oom_kill ") and line.split()[1] != "0"
            for line in _read(self.folder / name).splitlines()
        )

    def peak_bytes(self) -> int | None:
        """The most it used at a time; None where the kernel does not tell."""
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        text = _read(self.folder / name).strip()
        return int(text) if text.isdigit() else None

    def remove(self) -> None:
        """Remove it; its processes are dead, the kernel may need a moment to see it."""
        for _ in range(50):
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.05)
            else:
                with suppress(OSError):
                    self.folder.parent.rmdir()
                return


def make_memory_group(name: str, limit_bytes: int) -> MemoryGroup | None:
    """A new cgroup of that name, or None where there is no right or no controller.

    The name is to begin with this process's number and a dash: groups of dead ones are removed.
    """
    for version, parent in (2, _delegated_v2()), (1, _own_v1()):
        if parent is None:
            continue
        group = MemoryGroup(parent / name, version)
        _remove_left_over(parent)
        try:
            group.folder.mkdir(parents=True, exist_ok=False)
            _set_limit(group, limit_bytes)
        except OSError:
            with suppress(OSError):
                group.folder.rmdir()
            continue
        return group
    return None


def enter_supervisor() -> bool:
    """Move this process from the group that `Delegate=yes` gave the service into its child
    `supervisor`: groups with limits can then be made beside it.

    Whether it was done; it is not where no group was delegated, or the version is 1. To be called
    before threads and children are started: the kernel moves processes one by one.
    """
    own = _own_v2()
    if own is None or own.name == _SUPERVISOR or not _is_delegated(own):
        return False
    try:
        (own / _SUPERVISOR).mkdir(exist_ok=True)
        (own / _SUPERVISOR / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        return False
    return True


def _is_delegated(folder: Path) -> bool:
    """systemd marks what it gives away; the right to write alone would be root's everywhere."""
    for name in ("user.delegate", "trusted.delegate"):
        with suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def _remove_left_over(parent: Path) -> None:
    """Remove empty groups that a killed minid left."""
    for folder in parent.glob("[0-9]*-*"):
        if not Path("/proc", folder.name.partition("-")[0]).exists():
            with suppress(OSError):
                folder.rmdir()


def _set_limit(group: MemoryGroup, limit_bytes: int) -> None:
    if group.version == 1:
        (group.folder / "memory.limit_in_bytes").write_text(str(limit_bytes))
        return
    (group.folder / "memory.max").write_text(str(limit_bytes))
    with suppress(OSError):
        (group.folder / "memory.swap.max").write_text("0")


def _own_v1() -> Path | None:
    """minid's own folder of the version 1 memory controller, which only root may make."""
    controller = _ROOT / "memory"
    if os.geteuid() == 0 and (controller / "memory.limit_in_bytes").exists():
        return controller / "minid"
    return None


def _delegated_v2() -> Path | None:
    """The delegated folder to put groups in: only one without processes may limit its children.

    A service that was given one with `Delegate=yes` moves itself into a child named `supervisor`.
    """
    own = _own_v2()
    if own is None or own.name != _SUPERVISOR:
        return None
    with suppress(OSError):
        (own.parent / "cgroup.subtree_control").write_text("+memory")
    return own.parent if "memory" in _read(own.parent / "cgroup.subtree_control") else None


def _own_v2() -> Path | None:
    line = next((x for x in _read(Path("/proc/self/cgroup")).splitlines() if x[:3] == "0::"), "")
    return _ROOT / line[4:] if line else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
