"""Watching the folder of recipes: which of them may have changed, told soon and not too often.

Events where the kernel gives them, else a look at the folder every few seconds; `state` says which,
and why. Nothing here opens a recipe.
"""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minid.daemon.folder_events import FolderEvents
from minid.daemon.folder_gather import NOTHING, Gathering
from minid.daemon.folder_poll import Snapshot, silent_file_system, take_snapshot

Mode = Literal["events", "polling", "stopped"]
OnChange = Callable[[frozenset[str] | None], None]

# How often a folder that went away is looked for: a checkout that makes it again takes no longer.
_MISSING_S = 0.2
# A look at the folder takes at most this share of the time.
_POLL_SHARE = 50
# How long to poll before asking for events again, where they were refused.
_RETRY_S = 60.0
_GONE = "the folder is not there"


@dataclass(frozen=True, slots=True)
class WatchState:
    """How the folder is watched. `reason` is empty where all is well; `since` in seconds since the
    epoch."""

    mode: Mode
    reason: str
    since: float


class FolderWatch:
    """Watches `folder` while it is entered: what changes from then on is told to `on_change`.

    `on_change` is called on a thread of the watch's own, with the names of the recipes that may
    have changed, or None when all of them are to be read again; it must not raise. A file counts
    when it is closed, renamed or deleted, or was left alone for `settle_s`. `poll_s` is how often
    the folder is looked at where there are no events.
    """

    def __init__(
        self,
        folder: Path,
        on_change: OnChange,
        *,
        poll_s: float = 2.0,
        settle_s: float = 3.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._on_change = on_change
        self._poll_s = poll_s
        self._clock = clock
        self._wake = threading.Condition()
        self._gathering = Gathering(settle_s)
        self._stopping = False
        self._lost = ""
        self._refused = ""
        self._next_look = 0.0
        self._retry = 0.0
        self._identity: tuple[int, int] | None = None
        self._events: FolderEvents | None = None
        self._told: Snapshot = {}
        self._seen: Snapshot = {}
        self._state = WatchState("stopped", "", clock())
        self._thread = threading.Thread(target=self._run, name="recipes", daemon=True)

    @property
    def state(self) -> WatchState:
        """How the folder is watched now."""
        return self._state

    def __enter__(self) -> FolderWatch:
        self._begin()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    # Called by `FolderEvents`, on its thread.

    def touched(self, relative: str, *, settled: bool | None) -> None:
        """Something happened to a path in the folder, or to the folder itself ("")."""
        with self._wake:
            now = time.monotonic()
            if not relative:
                self._gathering.touch_everything(now)
            else:
                if settled is None:
                    settled = not self._gathering.is_unsettled(relative)
                self._gathering.touch(relative, settled=settled, now=now)
            self._wake.notify()

    def lost(self, why: str) -> None:
        """Events were lost: watch anew, and have everything read again."""
        with self._wake:
            self._lost = why
            self._wake.notify()

    def failed(self, why: str) -> None:
        """Events are refused from now on."""
        with self._wake:
            self._refused = why
            self._wake.notify()

    # The watch's own thread.

    def _run(self) -> None:
        reason = "an error of minid's own ended it"
        try:
            while self._wait():
                self._turn(time.monotonic())
                self._tell()
            reason = ""
        finally:
            self._end_events()
            self._set_state("stopped", reason)

    def _wait(self) -> bool:
        with self._wake:
            due = min(self._gathering.due(), self._next_look)
            if not (self._stopping or self._lost or self._refused):
                self._wake.wait(max(0.0, due - time.monotonic()))
            return not self._stopping

    def _turn(self, now: float) -> None:
        """Look at the folder where that is due or was asked for."""
        with self._wake:
            lost, refused = self._lost, self._refused
            self._lost = self._refused = ""
        if refused:
            self._begin(refused)
            self._tell_everything()
        elif lost or (now >= self._next_look and self._identify() != self._identity):
            self._begin()
            if self._state.mode == "events" and lost:
                self._set_state("events", f"{lost}: all recipes were read again")
            self._tell_everything()
        elif now >= self._next_look:
            self._look(now)

    def _look(self, now: float) -> None:
        if self._state.mode != "polling":
            self._next_look = now + self._poll_s
        elif self._identity is None:
            self._next_look = now + min(_MISSING_S, self._poll_s)
        elif now >= self._retry and not silent_file_system(self._folder):
            self._begin()
            self._tell_everything()
        else:
            self._poll(now)

    def _tell(self) -> None:
        with self._wake:
            news = self._gathering.take(time.monotonic())
        if news != NOTHING:
            self._on_change(news)

    def _tell_everything(self) -> None:
        with self._wake:
            self._gathering.touch_everything(time.monotonic())

    def _begin(self, refused: str = "") -> None:
        """Watch the folder anew, with events where they can be had and are not `refused`."""
        self._end_events()
        self._identity = self._identify()
        now = time.monotonic()
        self._next_look = now + self._poll_s
        if self._identity is None:
            self._next_look = now + min(_MISSING_S, self._poll_s)
            self._set_state("polling", _GONE)
            return
        silent = silent_file_system(self._folder)
        reason = refused or (f"a file system of type {silent} tells no events" if silent else "")
        if not reason:
            try:
                # Through the links, which may point elsewhere later: then it is another folder.
                self._events = FolderEvents(self._folder.resolve(), self)
            except (OSError, RuntimeError) as error:
                reason = (getattr(error, "strerror", None) or str(error)).lower()
        if reason:
            self._begin_polling(reason, now)
        else:
            self._set_state("events", "")

    def _begin_polling(self, reason: str, now: float) -> None:
        self._retry = now + _RETRY_S
        self._seen = take_snapshot(self._folder)
        self._told = dict(self._seen)
        self._set_state("polling", reason)

    def _end_events(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

    def _identify(self) -> tuple[int, int] | None:
        """Which folder the path leads to now; None where it leads to none."""
        try:
            status = self._folder.stat()
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None

    def _poll(self, now: float) -> None:
        """Tell recipes that are not as they were told last, once they stay as they are."""
        current = take_snapshot(self._folder)
        for name in current.keys() | self._told.keys():
            state = current.get(name)
            if state != self._told.get(name) and state == self._seen.get(name):
                if state is None:
                    del self._told[name]
                else:
                    self._told[name] = state
                with self._wake:
                    self._gathering.touch_name(name, now)
        self._seen = current
        took = time.monotonic() - now
        self._next_look = now + max(self._poll_s, _POLL_SHARE * took)

    def _set_state(self, mode: Mode, reason: str) -> None:
        before = self._state
        if (before.mode, before.reason) != (mode, reason):
            self._state = WatchState(mode, reason, self._clock())
