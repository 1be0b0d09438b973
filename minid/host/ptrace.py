"""ptrace(2): another process's system calls, with their results; no program of the machine needed.

The result matters: what a seccomp listener is told of a call, it is told before the call is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from dataclasses import dataclass

from minid.host.launch import _libc

_CONT, _SYSCALL, _SEIZE, _INTERRUPT, _LISTEN = 7, 24, 0x4206, 0x4207, 0x4208
_GETEVENTMSG, _GET_SYSCALL_INFO = 0x4201, 0x420E
# TRACESYSGOOD, TRACEFORK, TRACEVFORK, TRACECLONE, TRACEEXEC, EXITKILL of linux/ptrace.h
_OPTIONS = 1 | 2 | 4 | 8 | 16 | 1 << 20
_WALL = 0x40000000  # threads too
_SYSCALL_STOP = 0x80 | 5
EVENTS_FORK, EVENT_EXEC, EVENT_STOP = (1, 2), 4, 128
_STOPPING = (19, 20, 21, 22)
_INFO_BYTES = 88
_ENTRY, _EXIT = 1, 2
# Machine → what AUDIT_ARCH_… of linux/audit.h says of a call in its own, 64-bit table.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_libc.waitpid.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.c_int]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a thread stopped. `ended` says that it is no more: `code` is its status, 128 plus the
    signal for one that was killed. Else: in a system call, at an `event`, or at a `signal`."""

    tid: int
    ended: bool = False
    code: int = 0
    in_call: bool = False
    event: int = 0
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A system call: at its beginning with `arguments`, else at its end with `result`, which is
    minus the error number where it failed."""

    number: int = 0
    arguments: tuple[int, ...] = ()
    result: int | None = None
    architecture: int = 0


def seize(tid: int) -> None:
    """Trace a thread and all that it starts; it stops at once. OSError where that is forbidden."""
    _ask(_SEIZE, tid, _OPTIONS)
    _ask(_INTERRUPT, tid, 0)


def resume(stop: Stop) -> None:
    """Let a stopped thread go on to its next system call; a signal is delivered."""
    if stop.event == EVENT_STOP and stop.signal in _STOPPING:
        request, signal = _LISTEN, 0  # a group that was stopped stays so
    else:
        request, signal = _SYSCALL, 0 if stop.event or stop.in_call else stop.signal
    with contextlib.suppress(ProcessLookupError):  # killed meanwhile: its end will be told
        _ask(request, stop.tid, signal)


def wait_stop() -> Stop | None:
    """The next stop of any thread, or end of any child; None when a signal came first.

    ChildProcessError where there is nobody left.
    """
    status = ctypes.c_int()
    tid = _libc.waitpid(-1, ctypes.byref(status), _WALL)
    if tid < 0:
        if ctypes.get_errno() == errno.EINTR:
            return None
        raise ChildProcessError
    value = status.value
    if os.WIFEXITED(value):
        return Stop(tid, ended=True, code=os.WEXITSTATUS(value))
    if os.WIFSIGNALED(value):
        return Stop(tid, ended=True, code=128 + os.WTERMSIG(value))
    signal = os.WSTOPSIG(value)
    if signal == _SYSCALL_STOP:
        return Stop(tid, in_call=True)
    return Stop(tid, event=value >> 16, signal=signal)


def read_call(tid: int) -> Call | None:
    """The call that a thread is in; None where it is gone."""
    buffer = ctypes.create_string_buffer(_INFO_BYTES)
    if _libc.ptrace(_GET_SYSCALL_INFO, tid, _INFO_BYTES, ctypes.addressof(buffer)) < 0:
        return None
    kind, architecture = struct.unpack_from("=BxxxI", buffer)
    if kind == _ENTRY:
        number, *arguments = struct.unpack_from("=7Q", buffer, 24)
        return Call(number, tuple(arguments), architecture=architecture)
    if kind == _EXIT:
        return Call(result=struct.unpack_from("=q", buffer, 24)[0], architecture=architecture)
    return None


def event_message(tid: int) -> int:
    """What an event says: the new process, or the thread that an exec was called in."""
    value = ctypes.c_ulong()
    _libc.ptrace(_GETEVENTMSG, tid, 0, ctypes.addressof(value))
    return value.value


def _ask(request: int, tid: int, data: int) -> None:
    if _libc.ptrace(request, tid, 0, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "ptrace")
