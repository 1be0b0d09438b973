"""inotify on the recipes folder and the folders below it, through watchdog's lowest layer.

watchdog's observers hold back what was moved away for half a second, and keep to themselves that
the kernel's queue ran over; `InotifyFD` below them tells both at once. Its thread calls `Listener`.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Protocol

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from minid.daemon.folder_poll import walk_folders

# Two watches for each recipe of a very large folder; beyond it something else was put there.
MAX_FOLDERS = 50_000

_IN = InotifyConstants
_SETTLED = _IN.IN_CLOSE_WRITE | _IN.IN_MOVED_FROM | _IN.IN_MOVED_TO | _IN.IN_DELETE
_OF_ITSELF = _IN.IN_DELETE_SELF | _IN.IN_MOVE_SELF
_MASK = Mask(_SETTLED | _OF_ITSELF | _IN.IN_CREATE | _IN.IN_MODIFY | _IN.IN_ATTRIB | _IN.IN_ONLYDIR)
# A folder that vanishes while it is to be watched is no trouble: its removal is an event too.
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class Listener(Protocol):
    """Who is told. Called from another thread, and never after `FolderEvents.close`."""

    def touched(self, relative: str, *, settled: bool | None) -> None:
        """Something happened to a path, "" for the folder itself. `settled` False: somebody may
        still write the file; None: only its attributes changed."""

    def lost(self, why: str) -> None:
        """Events were lost, or the folder itself is another: everything is to be looked at."""

    def failed(self, why: str) -> None:
        """There will be no more events."""


class _Watch:
    """The callback of one watched folder; `relative` is "" for the recipes folder itself."""

    __slots__ = ("_tree", "relative")

    def __init__(self, tree: FolderEvents, relative: str) -> None:
        self._tree = tree
        self.relative = relative

    def on_event(self, event: InotifyEvent) -> None:
        """watchdog's call for each event."""
        self._tree.take_event(self.relative, event)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """watchdog's call when the kernel has dropped the watch."""
        self._tree.drop_watch(self.relative, wd)

    def on_queue_overflow(self) -> None:
        """watchdog's call when the kernel's queue ran over."""
        if not self.relative:
            self._tree.tell_lost("more changed at once than the kernel's queue holds")


class FolderEvents:
    """Events of one folder, from being made until `close`. OSError where they cannot be had."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._folder = folder
        self._listener = listener
        self._lock = threading.RLock()
        self._watches: dict[str, tuple[WatchDescriptor, CallbackId]] = {}
        self._count = 0
        self._closed = False
        self._inotify = InotifyFD()
        self._inotify.start()
        try:
            if not self._add_watch(""):
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._add_below("")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the events and their thread."""
        with self._lock:
            self._closed = True
        self._inotify.stop()
        if self._inotify is not threading.current_thread():
            self._inotify.join()

    def take_event(self, parent: str, event: InotifyEvent) -> None:
        """One event of a watched folder, on watchdog's thread."""
        if self._closed:
            return
        if not event.name:
            self._take_own_event(parent, event.mask)
            return
        name = os.fsdecode(event.name)
        relative = f"{parent}/{name}" if parent else name
        if event.mask & _IN.IN_ISDIR:
            self._take_folder_event(relative, name, event.mask)
        elif event.mask & _SETTLED:
            self._listener.touched(relative, settled=True)
        elif event.mask & _IN.IN_CREATE:
            self._take_new(relative)
        elif event.mask & _IN.IN_MODIFY:
            self._listener.touched(relative, settled=False)
        else:
            self._listener.touched(relative, settled=None)

    def _take_own_event(self, relative: str, mask: int) -> None:
        """What happened to a watched folder itself; of others than the first its parent tells."""
        if not relative and mask & _OF_ITSELF:
            self.tell_lost("the folder was moved or removed")
        elif not relative and mask & _IN.IN_ATTRIB:
            self._listener.touched("", settled=True)

    def _take_new(self, relative: str) -> None:
        """A hard link has its bytes already, a symbolic one may be to a folder; nobody closes
        either. Other files are being written."""
        try:
            status = (self._folder / relative).lstat()
        except OSError:
            return  # gone again, which is an event of its own
        if stat.S_ISLNK(status.st_mode) and "/" not in relative:
            self._watch_folder(relative)
        whole = not stat.S_ISREG(status.st_mode) or status.st_nlink > 1
        self._listener.touched(relative, settled=whole)

    def _take_folder_event(self, relative: str, name: str, mask: int) -> None:
        if name.startswith("."):
            return
        self._forget(relative, below=bool(mask & _IN.IN_MOVED_FROM))
        if not mask & (_IN.IN_DELETE | _IN.IN_MOVED_FROM):
            self._watch_folder(relative)
        self._listener.touched(relative, settled=True)

    def _watch_folder(self, relative: str) -> None:
        try:
            if self._add_watch(relative):
                self._add_below(relative)
        except OSError as error:
            self._listener.failed(error.strerror or str(error))

    def _add_below(self, relative: str) -> None:
        for path in walk_folders(self._folder, relative):
            self._add_watch(path)

    def _add_watch(self, relative: str) -> bool:
        """Whether the folder is watched now; not where it vanished or may not be read."""
        path = os.fsencode(self._folder / relative)
        with self._lock:
            if self._closed:
                return False
            if relative in self._watches:
                return True
            if len(self._watches) >= MAX_FOLDERS:
                raise OSError(errno.ENOSPC, f"more than {MAX_FOLDERS} folders to watch")
            self._count += 1
            ticket = CallbackId(self._count)
            try:
                made = self._inotify.add_callback(path, _MASK, _Watch(self, relative), ticket)
            except OSError as error:
                if error.errno in _VANISHED:
                    return False
                raise
            if made == -1:  # watchdog's way of saying that permission is denied
                self._inotify.remove_callbacks([(made, ticket)])
                if not relative:
                    raise OSError(errno.EACCES, os.strerror(errno.EACCES))
                return False
            self._watches[relative] = (made, ticket)
            return True

    def _forget(self, relative: str, *, below: bool) -> None:
        """Drop the watch of a folder that is another now; `below`: those of all in it as well.

        A folder that was removed was empty, so that what was in it has been dropped already.
        """
        with self._lock:
            gone = [relative] if relative in self._watches else []
            if below:
                gone += [path for path in self._watches if path.startswith(f"{relative}/")]
            self._inotify.remove_callbacks([self._watches.pop(path) for path in gone])

    def drop_watch(self, relative: str, wd: WatchDescriptor) -> None:
        """The kernel dropped a watch: its folder was removed or unmounted."""
        with self._lock:
            known = self._watches.get(relative)
            if self._closed or known is None or known[0] != wd:
                return
            del self._watches[relative]
        if not relative:
            self.tell_lost("the folder was removed")

    def tell_lost(self, why: str) -> None:
        """Everything is to be looked at again."""
        if not self._closed:
            self._listener.lost(why)
