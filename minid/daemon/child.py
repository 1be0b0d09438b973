"""One worker seen from the service: what it tells, how it ends, and how it is made to end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from minid.daemon.job import MAX_LINE, Result, parse_message, parse_result
from minid.daemon.progress import Message, Progress
from minid.errors import BuildError, HostError
from minid.host.process import kill_group
from minid.host.process_table import kill_tree
from minid.store.records import RunRow

GRACE_S = 1.2
_DRAIN_S = 1.0

# A stage that did not run by the time that a later one does is not needed this time.
_ORDER = ("environment", "fetch", "compile", "pack", "compose", "image", "check", "publish")


class Child:
    """A worker on its run. `estimate` is how long each stage took earlier, in seconds; `tell` gets
    each message with the run's id; `ending` is set to what the run is to end as, if anything;
    `over` by who has taken note of its end."""

    def __init__(
        self,
        row: RunRow,
        process: subprocess.Popen[bytes],
        estimate: Mapping[str, float],
        *,
        clock: Callable[[], float],
        tell: Callable[[Message], None],
    ) -> None:
        self.row = row
        self.ending = ""
        self.stage = ""
        self.killed = self.over = False
        self._process = process
        self._estimate = estimate
        self._left = dict(estimate)
        self._clock = clock
        self._tell = tell
        self._line = ""
        self._fetched: tuple[str, int, int | None] | None = None
        self._stage_began = row.started
        self._result: Result | None = None
        self._words: deque[str] = deque(maxlen=20)
        self._gone = asyncio.Event()

    def progress(self) -> Progress:
        """What it does now."""
        return Progress(
            run=self.row.id,
            recipe=self.row.recipe,
            version=self.row.version,
            started=self.row.started,
            stage=self.stage,
            line=self._line,
            fetched=self._fetched,
            expected_end=self.expected_end(),
            reason=self.row.reason,
        )

    def expected_end(self) -> float | None:
        """When it should be done by what its stages took earlier; None where that is not known."""
        if self.stage not in self._estimate if self.stage else not self._left:
            return None
        now = self._clock()
        spent = min(now - self._stage_began, self._left.get(self.stage, 0.0))
        return now + sum(self._left.values()) - max(spent, 0.0)

    async def follow(self) -> Result:
        """How it ended, once it has; a worker that ended without a word was lost."""
        try:
            return await self._follow()
        except OSError as error:  # no descriptor is left: nobody would hear of its end
            self.killed = True
            await asyncio.to_thread(kill_group, self._process)
            self._gone.set()
            text = f"worker: expected to be followed, got {error.strerror or error}"
            return Result("infra", exit_code=HostError.exit_code, error=text, retryable=True)

    async def _follow(self) -> Result:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_LINE)
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        listening = loop.create_task(self._listen(reader))
        descriptor = os.pidfd_open(self._process.pid)
        loop.add_reader(descriptor, self._gone.set)
        try:
            await self._gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        with suppress(TimeoutError):  # something else may hold the pipe
            await asyncio.wait_for(listening, _DRAIN_S)
        pipe.close()
        status = self._process.wait()
        return self._result or self._lost(status)

    async def end(self, ending: str, grace_s: float = GRACE_S) -> None:
        """Have it end as `ending`, and return when no process of it is left: SIGTERM first, and
        after `grace_s` the whole tree is killed."""
        self.ending = self.ending or ending
        if self._gone.is_set():
            return
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(self._gone.wait(), grace_s)
        except TimeoutError:
            self.killed = True
            await asyncio.to_thread(kill_tree, self._process.pid)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than any message
                continue
            if not line:
                return
            message = parse_message(line)
            if message is None:
                self._words.append(line.decode("utf-8", "replace").rstrip()[:500])
            elif message["event"] == "result":
                self._result = parse_result(message)
            else:
                self._note(message)

    def _note(self, message: Message) -> None:
        event, stage = message["event"], str(message.get("stage", ""))
        if event == "stage_started":
            self.stage, self._stage_began = stage, self._clock()
            for passed in _ORDER[: _ORDER.index(stage)] if stage in _ORDER else ():
                self._left.pop(passed, None)
        elif event == "stage_finished":
            self._left.pop(stage, None)
        elif event == "log":
            self._line = str(message.get("line", ""))
        elif event == "fetched":
            self._fetched = _fetched(message)
        self._tell({**message, "recipe": self.row.recipe, "run": self.row.id})

    def _lost(self, status: int) -> Result:
        if self.ending:  # it had no time for a word, or was killed
            error = f"{self.row.recipe}: {self.ending}"
            return Result("cancelled", exit_code=BuildError.exit_code, error=error, lost=True)
        how = f"status {status}"
        if status < 0:
            with suppress(ValueError):
                how = signal.Signals(-status).name
        return Result(
            status="infra",
            exit_code=30,
            error=f"worker: expected a result, got {how}",
            hint="the kernel's log tells whether memory ran out" if status == -9 else "",
            log_tail=tuple(self._words),
            retryable=True,
            lost=True,
        )


def _fetched(message: Message) -> tuple[str, int, int | None] | None:
    done, total = message.get("done"), message.get("total")
    if not isinstance(done, int):
        return None
    return str(message.get("file", "")), done, total if isinstance(total, int) else None
