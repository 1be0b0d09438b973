"""The doors that the line works through, opened once and passed in: nothing is read deep inside."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minid.config import Config
from minid.errors import HostError, StoreError
from minid.report import Reporter, Silence
from minid.store.blobs import Blobs
from minid.store.lease import await_heirs, clear_leases, dead_leases, living_leases, open_lease
from minid.store.lock import writer_lock
from minid.store.records import Records

if TYPE_CHECKING:
    from minid.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Assignment:
    """The one run that a process works on for the service, which queued it and will end it.

    `jobserver` has the number of jobs and the two descriptors of the service's pipe.
    """

    run: int
    reason: str
    jobserver: tuple[int, int, int] | None = None

    @property
    def part(self) -> str:
        """The name of this run's own place among the job folders and temporary files."""
        return f"run-{self.run}"


@dataclass(frozen=True, slots=True)
class Workshop:
    """Configuration, recipes, store and clock of one working folder, open for writing.

    With an `assignment` others write beside this process, and for a `guest` too. `lock_fd` is the
    writer's lock, to be passed on to those.
    """

    config: Config
    recipes: dict[str, Recipe]
    blobs: Blobs
    records: Records
    reporter: Reporter
    clock: Callable[[], float]
    machine: str
    cancel: threading.Event
    assignment: Assignment | None = None
    lock_fd: int = -1
    guest: str = ""

    @property
    def jobs_folder(self) -> Path:
        """Where this process's builds have their folders."""
        return self.config.paths.jobs / (self.assignment.part if self.assignment else self.guest)


@contextmanager
def open_workshop(
    config: Config,
    recipes: dict[str, Recipe],
    *,
    reporter: Reporter | None = None,
    clock: Callable[[], float] = time.time,
    cancel: threading.Event | None = None,
    role: str = "",
) -> Iterator[Workshop]:
    """Take the writer's lock, make what is missing, and clear what a killed minid left.

    With a `role` (`store.lock`) the records are shared: processes that inherit `lock_fd` may write
    too, with `open_delegate`. StoreError, without a `role`, where the holder of the lock has one.
    """
    reporter = reporter or Silence()
    state = config.paths.state
    state.mkdir(parents=True, exist_ok=True)
    refuse_foreign(state)

    def tell(holder: str) -> None:
        pid, _, other = holder.partition(" ")
        if other and not role:  # a service does not end by itself
            raise StoreError(
                f"{state}: expected to write there, got a {other} (process {pid}) that does",
                hint="ask again: what can goes through it",
            )
        reporter.note("minid", f"waiting for another minid (process {pid}) to end")

    name = f"{role or 'build'}-{os.getpid()}-{os.urandom(3).hex()}"
    with (
        writer_lock(state / "lock", tell, role) as lock_fd,
        open_lease(config.paths.leases, name) as lease,
    ):
        blobs = Blobs(config.paths.store, lease=lease)
        blobs.prepare()
        records = Records(config.paths.records, writable=True, shared=bool(role))
        try:
            if role:
                _open_to_askers(config.paths.records)
            recover(config, blobs, records, clock)
            yield Workshop(
                config=config,
                recipes=recipes,
                blobs=blobs,
                records=records,
                reporter=reporter,
                clock=clock,
                machine=os.uname().machine,
                cancel=cancel or threading.Event(),
                lock_fd=lock_fd,
            )
        finally:
            records.close()


def _open_to_askers(records: Path) -> None:
    """Let the group read the records, whatever the umask is: who may ask the service is told from
    there how runs ended."""
    mode = records.stat().st_mode
    if not mode & stat.S_IRGRP:
        records.chmod(stat.S_IMODE(mode) | stat.S_IRGRP)


def refuse_foreign(state: Path) -> None:
    """HostError for root in another user's state folder: files of root's would be left there that
    the service of that user could not write."""
    owner = state.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        import pwd

        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise HostError(
            f"{state}: expected to be run as {name}, whose folder this is, got root",
            hint=f"runuser -u {name} -- minid …",
        )


@contextmanager
def open_delegate(
    config: Config,
    recipes: dict[str, Recipe],
    assignment: Assignment,
    *,
    reporter: Reporter,
    clock: Callable[[], float],
    cancel: threading.Event,
) -> Iterator[Workshop]:
    """The store of a process that holds the lock, for one run on its behalf.

    Nothing is cleared but this run's own place, which is gone afterwards.
    """
    with _open_part(
        config,
        recipes,
        assignment.part,
        reporter=reporter,
        clock=clock,
        cancel=cancel,
        assignment=assignment,
    ) as shop:
        yield shop


@contextmanager
def open_guest(
    config: Config,
    recipes: dict[str, Recipe],
    *,
    reporter: Reporter | None = None,
    clock: Callable[[], float] = time.time,
    cancel: threading.Event | None = None,
) -> Iterator[Workshop]:
    """The store for one command of the workbench, beside whoever builds, or the service.

    It takes no lock: it has temporary files and job folders of its own, under a lease, and each of
    its writes is whole. It must queue and start no run.
    """
    state = config.paths.state
    state.mkdir(parents=True, exist_ok=True)
    refuse_foreign(state)
    part = f"guest-{os.getpid()}-{os.urandom(3).hex()}"
    with _open_part(
        config,
        recipes,
        part,
        reporter=reporter or Silence(),
        clock=clock,
        cancel=cancel or threading.Event(),
    ) as shop:
        yield shop


@contextmanager
def _open_part(
    config: Config,
    recipes: dict[str, Recipe],
    part: str,
    *,
    reporter: Reporter,
    clock: Callable[[], float],
    cancel: threading.Event,
    assignment: Assignment | None = None,
) -> Iterator[Workshop]:
    """The store for one of several writers, which has its temporary files and job folders in a part
    of that name, under a lease; for a guest without an `assignment`."""
    with open_lease(config.paths.leases, part) as lease:
        blobs = Blobs(config.paths.store, part, lease)
        blobs.prepare()
        records = Records(config.paths.records, writable=True, shared=True)
        try:
            yield Workshop(
                config=config,
                recipes=recipes,
                blobs=blobs,
                records=records,
                reporter=reporter,
                clock=clock,
                machine=os.uname().machine,
                cancel=cancel,
                assignment=assignment,
                guest="" if assignment else part,
            )
        finally:
            records.close()
            clear_part(config, part)


def clear_part(config: Config, part: str) -> None:
    """Remove what a run with a place of its own left there; nobody may be working on it."""
    from minid.host.files import remove_tree

    remove_tree(config.paths.jobs / part)
    remove_tree(config.paths.store / "tmp" / part)


def clear_killed(config: Config, part: str, records: Records) -> None:
    """`clear_part` for a run whose process was killed, wherever it was: unfinished files of
    processes that are no more go, and the layout catches up with the records."""
    from minid.host.files import exclusive_folder
    from minid.store.layout import write_layout

    await_heirs(config.paths.leases, part)
    clear_part(config, part)
    blobs = Blobs(config.paths.store)
    with exclusive_folder(blobs.root):
        _clear_unfinished(config)
        write_layout(blobs, records, os.uname().machine)
    clear_leases(config.paths.leases)


def recover(config: Config, blobs: Blobs, records: Records, clock: Callable[[], float]) -> None:
    """Clear what a minid that was killed left: runs, temporary blobs, job folders, the index.

    Only the holder of the lock may call this: nobody else can own what is found.
    """
    await_heirs(config.paths.leases)
    if records.has_running() or dead_leases(config.paths.leases):
        from minid.host.files import exclusive_folder
        from minid.store.layout import write_layout

        # Tags may have moved in the records alone, by a run or a guest that was killed. The layout
        # first: else a kill here loses track.
        with (
            suppress(StoreError),  # an image was lost: only a build can mend it, which starts here
            exclusive_folder(blobs.root),
        ):
            write_layout(blobs, records, os.uname().machine)
        records.interrupt_running(clock())
    clear_leases(config.paths.leases)
    living = living_leases(config.paths.leases)
    blobs.remove_leftovers(living)
    _clear_jobs(config.paths.jobs, living)
    _clear_unfinished(config)


def _clear_jobs(jobs: Path, living: Collection[str]) -> None:
    if not jobs.is_dir():
        return
    leftovers = [path for path in jobs.iterdir() if path.name not in living]
    if leftovers:
        from minid.host.files import remove_tree

        for path in leftovers:
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink()


def _clear_unfinished(config: Config) -> None:
    from minid.host.files import remove_unfinished

    remove_unfinished(config.paths.store)
    remove_unfinished(config.paths.environments)
    if config.publish.export is not None:
        remove_unfinished(config.publish.export)
