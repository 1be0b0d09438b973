"""One GNU make jobserver for all builds that run side by side, so that together they keep to N.

The pipe holds N tokens. Each build takes one for itself (`Jobserver.slot`), and the makes inside
take the rest as they are free. In the sandbox a `make` before the real one drops `-jN`, with which
GNU make would leave the jobserver; a `ninja`, which knows no such pipe, takes what tokens are free
when it starts and gives them back at its end.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from minid.errors import BuildError

_TOKEN = b"+"

# A recipe may have put a folder of its own before the shims': without them wherever they stand, the
# next of the same name is the real program, and not the shim again.
_REAL_PATH = """\
case :$PATH in
*:/minid/bin:*) p=:$PATH; p=${p%%:/minid/bin:*}:${p#*:/minid/bin:}; PATH=${p#:} ;;
esac
"""

_MAKE_SHIM = """\
#!/bin/sh
# Keeps make in minid's jobserver: -jN on the command line would leave it.
REAL_PATH\
case " $MAKEFLAGS " in
*" --jobserver-auth="*) ;;
*) exec NAME "$@" ;;
esac
left=$#
number=
while [ "$left" -gt 0 ]; do
  word=$1
  shift
  left=$((left - 1))
  if [ -n "$number" ]; then
    number=
    case $word in *[!0-9]* | '') ;; *) continue ;; esac
  fi
  case $word in
  -j | --jobs) number=expected ;;
  --jobs=*) ;;
  -j*[!0-9]*) set -- "$@" "$word" ;;
  -j*) ;;
  *) set -- "$@" "$word" ;;
  esac
done
PATH=/minid/bin:$PATH exec "$(command -v NAME)" "$@"
"""

_NINJA_SHIM = """\
#!/bin/sh
# ninja knows no jobserver pipe: it gets the tokens that are free now, and its own.
REAL_PATH\
# A tool of ninja's own (`-t restat`, which CMake calls) compiles nothing, and refuses -j.
case " $* " in *" -t "*) exec NAME "$@" ;; esac
tokens=$(dd if=/proc/self/fd/8 iflag=nonblock bs=1 count=$((${JOBS:-1} - 1)) 2>/dev/null)
give_back() { printf %s "$tokens" >&9; tokens=; }
trap give_back EXIT
trap 'exit 130' INT TERM HUP
NAME "$@" -j$((${#tokens} + 1))
"""


def _shim(text: str, name: str) -> str:
    return text.replace("REAL_PATH", _REAL_PATH).replace("NAME", name)


SHIMS = {
    "make": _shim(_MAKE_SHIM, "make"),
    "gmake": _shim(_MAKE_SHIM, "gmake"),
    "ninja": _shim(_NINJA_SHIM, "ninja"),
}
"""Programs that stand before the real ones in the PATH of a sandbox with a jobserver."""


def make_flags(fds: tuple[int, int]) -> str:
    """MAKEFLAGS for a build that has the jobserver's pipe at these descriptor numbers."""
    return f" -j --jobserver-auth={fds[0]},{fds[1]}"


class Jobserver:
    """A pipe with `jobs` tokens. Its `fds` go into sandboxes; `slot` is a build's own token.

    A build that is killed may take tokens with it; they are made up for when no build runs. With
    `fds` the pipe is another process's, who refills it.
    """

    def __init__(self, jobs: int, fds: tuple[int, int] | None = None) -> None:
        self.jobs = jobs
        self.fds = fds or os.pipe2(os.O_CLOEXEC)
        self._own = fds is None
        if self._own:
            # A build runs as another user and may reopen the pipe through /proc (the ninja shim
            # does).
            os.fchmod(self.fds[0], 0o666)
        # A build may have filled the pipe: nobody else is to wait for room in it.
        self._reader = _open_without_blocking(self.fds[0], os.O_RDONLY)
        self._writer = _open_without_blocking(self.fds[1], os.O_WRONLY)
        self._lock = threading.Lock()
        self._builds = 0
        if self._own:
            self.refill()

    @contextmanager
    def slot(self, cancel: threading.Event | None = None) -> Iterator[None]:
        """Hold one token while a build runs; BuildError when `cancel` is set while waiting."""
        with self._lock:
            self._builds += 1
        token = b""
        try:
            token = self._take(cancel)
            yield
        finally:
            self._give(token)

    def close(self) -> None:
        """Close the pipe; no build may be running."""
        for fd in (*self.fds, self._reader, self._writer):
            os.close(fd)

    def _take(self, cancel: threading.Event | None) -> bytes:
        while cancel is None or not cancel.is_set():
            select.select([self._reader], [], [], 0.2)
            with suppress(BlockingIOError):
                return os.read(self._reader, 1)
        raise BuildError("jobs: expected a free slot, got cancelled")

    def _give(self, token: bytes) -> None:
        with self._lock:
            self._builds -= 1
            if self._builds == 0 and self._own:
                self.refill()
            elif token:
                self._put(token)

    def give_back(self) -> None:
        """Put back the token of a build that was killed in another process."""
        self._put(_TOKEN)

    def refill(self) -> None:
        """Have all tokens in the pipe again; no build may be running."""
        with suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        self._put(_TOKEN * self.jobs)

    def _put(self, tokens: bytes) -> None:
        with suppress(BlockingIOError):  # full: there are more tokens than anybody can take
            os.write(self._writer, tokens)


def _open_without_blocking(fd: int, mode: int) -> int:
    """An end of the same pipe that never blocks, while make's own keeps blocking."""
    try:
        return os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK)
    except FileNotFoundError:  # no /proc: GNU make copes with a pipe that does not block
        os.set_blocking(fd, False)
        return os.dup(fd)
