"""What a child that reads strangers' bytes does to itself before it begins."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

from minid.errors import HostError

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9


def set_limits(limits: Mapping[int, int]) -> None:
    """Set soft and hard resource limits (`resource.RLIMIT_*`), none above what it is now."""
    import resource

    for what, limit in limits.items():
        _, hard = resource.getrlimit(what)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (allowed, allowed))


def become(uid: int, gid: int) -> None:
    """Change to this user for good, without further groups; HostError where that is not allowed."""
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise HostError(
            f"expected to become uid {uid}, gid {gid}, got {error.strerror}",
            hint="only root can unpack as another user",
        ) from error


def bind_to_parent() -> None:
    """Gain no rights by executing a program, and die with the parent. After `become`: a change of
    user takes the second back."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise HostError(f"prctl {option}: expected 0, got {os.strerror(ctypes.get_errno())}")
