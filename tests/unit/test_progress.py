"""The feed of progress: bounded, and the ends of runs arrive."""

from __future__ import annotations

import asyncio
from collections import Counter

from minid.daemon import progress
from minid.daemon.progress import Feed, Message


def heard(*messages: Message) -> list[Message]:
    """What one hears who listens only once all was said."""

    async def main() -> list[Message]:
        feed = Feed()
        with feed.subscribe() as mine:
            for message in messages:
                feed.publish(message)
        return [message async for message in mine]

    return asyncio.run(main())


def message(event: str, run: int) -> Message:
    return {"event": event, "run": run}


def test_all_is_heard_in_order() -> None:
    said = [message(event, n) for n, event in enumerate(["started", "log", "note", "ended"])]
    assert heard(*said) == said


def test_one_who_is_late_misses_log_lines_first() -> None:
    said = [message("log" if n % 3 else "note", n) for n in range(progress._KEPT)]
    said += [message("note", n) for n in range(progress._KEPT // 2)]
    got = Counter(str(item["event"]) for item in heard(*said))
    notes = sum(item["event"] == "note" for item in said)
    assert got == {"note": notes, "log": progress._KEPT - notes}


def test_no_end_is_missed_however_many_come_at_once() -> None:
    ends = [message("ended", n) for n in range(5000)]
    notes = [message("note", n) for n in range(3000)]
    got = heard(*notes[:1500], *ends, *notes[1500:])
    assert [item for item in got if item["event"] == "ended"] == ends
    assert [item["run"] for item in got if item["event"] == "note"] == list(range(2000, 3000))


def test_room_is_given_back_as_messages_are_taken() -> None:
    async def main() -> None:
        feed = Feed()
        with feed.subscribe() as mine:
            for n in range(3 * progress._KEPT):
                feed.publish(message("ended", n))
                assert await anext(mine) == message("ended", n)
                feed.publish(message("note", n))
                assert await anext(mine) == message("note", n)

    asyncio.run(main())
