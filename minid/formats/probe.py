"""What a probe saw of a program, and what it concluded: values, and the noise that every start has.

An `Event` is one different question to the kernel; a `Finding` is one thing that the root lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from minid.formats.recipe_lines import RecipeLines

OK, EPERM, ENOENT, EACCES, ENOTDIR = 0, 1, 2, 13, 20
CREATES, IS_FOLDER = 4, 8
_READING = frozenset({"open", "stat", "access", "readlink", "exec", "statfs", "truncate", "chmod"})
_MAKING = frozenset({"mkdir", "mknod", "symlink", "link", "rename"})

# What nearly every program looks for and does without.
_NOISE = re.compile(
    r"/(proc|sys)(/|$)"
    r"|/etc/(ld\.so\.(preload|cache|conf)|ld-musl-[^/]*\.path|localtime|timezone|gai\.conf|host\.conf"
    r"|resolv\.conf|hosts|hostname|suid-debug|malloc\.conf|selinux(/.*)?|machine-id|environment"
    r"|passwd|group|shadow|nsswitch\.conf|ssl/openssl\.cnf|krb5\.conf|inputrc|busybox\.conf|sysconfig/.*)$"
    r"|/(var/)?run/(nscd|systemd|dbus|user)(/|$)"
    r"|/usr/(share|lib)/(zoneinfo|locale|terminfo)(/|$)|/(usr/)?lib/terminfo(/|$)"
    r"|.*/(glibc-hwcaps|tls|haswell|gconv/gconv-modules(\.cache)?|openssl\.cnf)(/|$)"
    r"|.*\.(pyc|mo)$"
)
_DEVICE = re.compile(r"/dev/(?!shm(/|$)|mqueue(/|$)|pts(/|$)|fd(/|$)|log$)[A-Za-z0-9_./-]+")
_LIBRARY = re.compile(r"[^/]+\.so(\.[0-9A-Za-z_.-]+)?")


@dataclass(frozen=True, slots=True)
class Event:
    """A call, what it named and how it ended: `error` is the error number, 0 for success.

    `flags`: 1 or 2 for writing, CREATES, IS_FOLDER. It came first `at_ms` after the start; `last`
    grows with the time it came last. `uid` is who asked, where that matters.
    """

    call: str
    path: str
    flags: int
    error: int
    at_ms: int = 0
    last: int = 0
    tid: int = 0
    uid: int = 0
    times: int = 1

    @property
    def reads(self) -> bool:
        """Whether it asked for something that is to be there."""
        return self.call in _READING and not self.flags & CREATES

    @property
    def makes(self) -> bool:
        """Whether it was to make something."""
        return self.call in _MAKING or bool(self.flags & CREATES)

    @property
    def leaf(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of a program. `names` are (kind, name) that it asked of the C library; `refused` is
    what the runtime said where it did not start it; `background` says that its first process ended
    well and left others, which engines end too."""

    events: tuple[Event, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    alive: bool = False
    exit_code: int | None = None
    background: bool = False
    output: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it ended as it should not."""
        return not self.alive and (self.exit_code != 0 or self.background)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something missing: `what` of a `kind`, with `why` in words. `needed` says that the program
    does not do its work without; `supplied` names who supplies it besides a recipe. `lines` are
    the recipe's that would, `advice` is for what no line can say."""

    kind: str
    what: str
    why: str
    at_ms: int = 0
    needed: bool = True
    lines: RecipeLines = field(default_factory=RecipeLines)
    supplied: str = ""
    advice: str = ""


def parse_seen(facts: Mapping[str, Any]) -> Seen:
    """What `ProbeContainer.probe` gives, as values."""
    return Seen(
        events=tuple(Event(*row) for row in facts.get("rows", ())),
        names=tuple((str(kind), str(name)) for kind, name in facts.get("names", ())),
        alive=bool(facts.get("alive")),
        exit_code=facts.get("exit_code"),
        background=bool(facts.get("background")),
        output=tuple(facts.get("tail", ())),
        answers=tuple(facts.get("answers", ())),
        refused=tuple(facts.get("refused", ())),
    )


def is_library(leaf: str) -> bool:
    """Whether a file's name is a shared library's."""
    return _LIBRARY.fullmatch(leaf) is not None and not leaf.startswith("ld.so.")


def is_device(path: str) -> bool:
    """Whether it is a device's path, and not of what engines mount below /dev."""
    return _DEVICE.fullmatch(path) is not None


def missed_events(events: Iterable[Event]) -> list[Event]:
    """The events that failed because something was not there, in order of time, without noise:
    what every program looks for, and what was found at another place or time."""
    events = list(events)
    there = {event.path for event in events if event.error == OK}
    leaves = {event.leaf for event in events if event.error == OK and event.reads}
    return [
        event
        for event in events
        if event.error in (ENOENT, ENOTDIR)
        and event.path not in there
        and not (event.reads and event.leaf in leaves and event.leaf)
        and not _NOISE.match(event.path)
        and event.path not in ("", "/")
    ]
