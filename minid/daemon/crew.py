"""The workers at work: started, followed to their end, ended, and cleared up after.

They share one jobserver. The queue is the foreman's; this knows runs that have begun.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress

from minid.config import Config
from minid.daemon.child import Child
from minid.daemon.job import Job, Result, start_worker
from minid.daemon.progress import Message, Progress
from minid.errors import MinidError, StoreError
from minid.host.jobserver import Jobserver
from minid.line.tidy import tidy_layers
from minid.line.workshop import Assignment, clear_killed
from minid.recipe import Recipe
from minid.store.records import Records, RunRow

Spawn = Callable[[Job], subprocess.Popen[bytes]]
End = Callable[[RunRow, Result, str], None]
_STORE_AGAIN_S = 5.0


def worker_spawner(environ: Mapping[str, str], lock_fd: int = -1) -> Spawn:
    """Starts workers. Each holds the writer's lock `lock_fd` too, so that nobody takes it while
    one of them lives."""

    def spawn(job: Job) -> subprocess.Popen[bytes]:
        fds = [lock_fd] if lock_fd >= 0 else []
        if job.jobserver is not None:
            fds += job.jobserver[1:]
        return start_worker(job, environ, fds)

    return spawn


class Crew:
    """The children of this process. `tell` gets their messages; `end` is called with row, result
    and what the run was made to end as, once its process is gone and cleared up after."""

    def __init__(
        self,
        records: Records,
        spawn: Spawn,
        *,
        clock: Callable[[], float],
        tell: Callable[[Message], None],
        end: End,
    ) -> None:
        self._records = records
        self._spawn = spawn
        self._clock = clock
        self._tell = tell
        self._end = end
        self._children: dict[int, Child] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Condition()
        self._jobserver: Jobserver | None = None
        self._stopping = False

    def rows(self) -> list[RunRow]:
        """The runs, the oldest first."""
        return [child.row for child in self._children.values() if not child.over]

    def progress(self) -> list[Progress]:
        """What each does."""
        return [child.progress() for child in self._children.values()]

    def start(
        self,
        row: RunRow,
        recipes: Mapping[str, Recipe],
        config: Config,
        estimate: Mapping[str, float],
    ) -> None:
        """Start a worker on a run. HostError where the machine refuses."""
        jobserver = self._open_jobserver(config)
        job = Job(
            run=row.id,
            recipe=row.recipe,
            recipes=recipes,
            config=config,
            reason=row.reason,
            forced=row.forced,
            parent=os.getpid(),
            jobserver=(jobserver.jobs, *jobserver.fds),
        )
        child = Child(row, self._spawn(job), estimate, clock=self._clock, tell=self._tell)
        self._children[row.id] = child
        self._do(self._follow(child, config))

    async def cancel(self, run: int) -> bool:
        """End a run; False where it does not run. Nothing of it is left when this returns."""
        child = self._children.get(run)
        if child is None:
            return False
        await child.end("cancelled")
        await self._until(lambda: run not in self._children)
        return True

    async def wait_idle(self) -> None:
        """Return when nothing runs."""
        await self._until(lambda: not self._children)

    async def stop(self, deadline_s: float) -> None:
        """Let runs end that should within `deadline_s`, interrupt the others; nothing runs when
        this returns."""
        until = self._clock() + deadline_s
        children = list(self._children.values())
        short = [child for child in children if (child.expected_end() or until + 1) <= until]
        await asyncio.gather(*(c.end("interrupted") for c in children if c not in short))
        if short:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait_idle(), deadline_s)
            await asyncio.gather(*(child.end("interrupted") for child in short))
        self._stopping = True
        await asyncio.gather(*self._tasks)
        if self._jobserver is not None:
            self._jobserver.close()
            self._jobserver = None

    async def _follow(self, child: Child, config: Config) -> None:
        result = await child.follow()
        if child.killed or result.lost:
            part = Assignment(child.row.id, "").part
            with suppress(OSError, MinidError):  # else the next start does it
                await asyncio.to_thread(clear_killed, config, part, self._records)
        child.over = True
        await self._record(child, result)
        del self._children[child.row.id]
        self._mend_jobserver(child, result)
        if not self._children and result.status == "ok":
            self._do(asyncio.to_thread(self._tidy, config))
        async with self._ended:
            self._ended.notify_all()

    async def _record(self, child: Child, result: Result) -> None:
        """Have the end recorded; a full disk has it wait, and the run with it."""
        while True:
            try:
                self._end(child.row, result, child.ending)
                return
            except StoreError:
                if self._stopping:  # the next start finds it running, and takes it up again
                    return
                await asyncio.sleep(_STORE_AGAIN_S)

    def _tidy(self, config: Config) -> None:
        with suppress(MinidError, OSError):
            tidy_layers(config.paths.layers, self._records)

    def _do(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until(self, what: Callable[[], bool]) -> None:
        async with self._ended:
            await self._ended.wait_for(what)

    # the jobserver

    def _open_jobserver(self, config: Config) -> Jobserver:
        """The one of all workers, with as many tokens as the configuration has now, if none of them
        is in use."""
        jobs = config.build.jobs or len(os.sched_getaffinity(0))
        if self._jobserver is not None and not self._children and self._jobserver.jobs != jobs:
            self._jobserver.close()
            self._jobserver = None
        if self._jobserver is None:
            self._jobserver = Jobserver(jobs)
        return self._jobserver

    def _mend_jobserver(self, child: Child, result: Result) -> None:
        """A killed worker took tokens along: give back the one of its build, without which others
        might wait for ever, and all of them as soon as nothing runs."""
        if self._jobserver is None:
            return
        if not self._children:
            self._jobserver.refill()
        elif (child.killed or result.lost) and child.stage == "compile":
            self._jobserver.give_back()
