"""What the poller remembers of pages and hosts: in memory at once, on disk with the next `save`."""

from __future__ import annotations

from collections.abc import Collection

from minid.store.polls import HostWait, PollRow, Polls, PollState


class PollMemory:
    """The rows of all pages and their bodies. What is not saved yet costs a repeated request."""

    def __init__(self, polls: Polls) -> None:
        self._polls = polls
        self._rows = polls.rows()
        self._changed: dict[str, PollRow] = {}
        self._bodies: dict[str, bytes | None] = {}
        self._waits: dict[str, HostWait] = {}

    def row(self, url: str) -> PollRow | None:
        """What is known of a page."""
        return self._rows.get(url)

    def state(self, url: str) -> PollState:
        """The same, of a page that may be unknown."""
        row = self._rows.get(url)
        return row.state if row else PollState()

    def next_poll(self, url: str) -> float:
        """When a page is due, 0 for an unknown one."""
        row = self._rows.get(url)
        return row.next_poll if row else 0.0

    def schedule(self, url: str, next_poll: float) -> None:
        """Ask at that time, unless minid starts anew before: not worth a turn of the disk."""
        self._rows[url] = PollRow(url, self.state(url), next_poll)

    def note(self, url: str, state: PollState, next_poll: float, body: bytes | None) -> None:
        """Remember what a poll came to; `body` is a whole page, if it brought one."""
        if body is not None and (self.state(url).digest != state.digest or self.body(url) is None):
            self._bodies[url] = body
        self._rows[url] = self._changed[url] = PollRow(url, state, next_poll)

    def note_wait(self, wait: HostWait) -> None:
        """Remember that a host is left alone; not any more, where it is until 0."""
        self._waits[wait.host] = wait

    def body(self, url: str) -> bytes | None:
        """The last whole body; None where there is none that can be read."""
        return self._bodies[url] if url in self._bodies else self._polls.body(url)

    def save(self) -> None:
        """Put on disk what is not there yet."""
        if self._changed or self._waits:
            self._polls.keep(self._changed.values(), self._bodies, self._waits.values())
            self._changed, self._bodies, self._waits = {}, {}, {}

    def forget(self, wanted: Collection[str], before: float) -> None:
        """Drop pages that are not wanted and were not asked since `before`."""
        old = [
            url
            for url, row in self._rows.items()
            if url not in wanted and row.state.polled_at < before
        ]
        self._polls.forget(old)
        for url in old:
            del self._rows[url]
            self._changed.pop(url, None)
            self._bodies.pop(url, None)
