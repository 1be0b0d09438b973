"""Notifications: which events, in which order, and what is lost is said."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from minid.config import Notifying
from minid.config_tables import NOTIFY
from minid.daemon import notify
from minid.daemon.notify import TOLD, Notifier, NotToldError, Webhook, notification
from minid.errors import StoreError
from minid.formats.table import Problems
from minid.store.events import EventRow

ROOT = Path(__file__).parents[2]
EVERY = Notifying(events=("failed", "recovered", "release", "held"))


def event(number: int, kind: str = "failed") -> EventRow:
    return EventRow(number, 5.0, kind, "web", 7, f"number {number}", {"a": "b"})


class Ear:
    """A target that notes what it hears; `answers` are errors to raise, in turn."""

    name = "ear"

    def __init__(self, *answers: NotToldError | None) -> None:
        self.heard: list[dict[str, object]] = []
        self.answers = list(answers)
        self.gate = asyncio.Event()
        self.gate.set()

    async def tell(self, body: bytes) -> None:
        await self.gate.wait()
        self.heard.append(json.loads(body))
        if self.answers and (error := self.answers.pop(0)):
            raise error

    async def close(self) -> None:
        pass


Told = list[tuple[int, str, str]]


def with_ears(
    monkeypatch: pytest.MonkeyPatch, play: Callable[[Notifier, list[float]], object], *ears: Ear
) -> Told:
    """What was lost while `play` offered events; pauses are noted instead of waited for."""
    lost: Told = []
    pauses: list[float] = []
    monkeypatch.setattr(notify, "make_targets", lambda _: list(ears))

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def main() -> None:
        def on_lost(row: EventRow, target: str, reason: str) -> None:
            lost.append((row.id, target, reason))

        async with Notifier(EVERY, "build1", on_lost, pause=pause) as notifier:
            play(notifier, pauses)
            await notifier.close(30)

    asyncio.run(main())
    return lost


def test_only_events_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    kinds = ["failed", "built", "started", "held", "notify-failed", "recovered", "strange"]

    def play(notifier: Notifier, _: object) -> None:
        for number, kind in enumerate(kinds):
            notifier.offer(event(number, kind))

    assert with_ears(monkeypatch, play, ear) == []
    assert [item["kind"] for item in ear.heard] == ["failed", "held", "recovered"]
    assert ear.heard[0] == {
        "kind": "failed",
        "recipe": "web",
        "run": 7,
        "text": "number 0",
        "detail": {"a": "b"},
        "time": 5.0,
        "host": "build1",
    }


def test_three_tries_further_and_further_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    down = [NotToldError("down", again=True) for _ in range(2)]
    ear, pauses = Ear(*down), []

    def play(notifier: Notifier, seen: list[float]) -> None:
        nonlocal pauses
        pauses = seen
        notifier.offer(event(1))

    assert with_ears(monkeypatch, play, ear) == []
    assert len(ear.heard) == 3
    assert pauses == [1.0, 4.0]


def test_what_three_tries_do_not_bring_is_lost_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    down = [NotToldError("down", again=True) for _ in range(3)]
    ear = Ear(*down, NotToldError("no such hook", again=False))

    def play(notifier: Notifier, _: object) -> None:
        for number in (1, 2, 3):
            notifier.offer(event(number))

    lost = with_ears(monkeypatch, play, ear)
    assert lost == [(1, "ear", "down"), (2, "ear", "no such hook")]
    assert len(ear.heard) == 5


def test_a_full_queue_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "QUEUED", 3)
    slow, quick = Ear(), Ear()

    def play(notifier: Notifier, _: object) -> None:
        for number in range(5):
            notifier.offer(event(number))

    lost = with_ears(monkeypatch, play, slow, quick)
    assert [(number, reason) for number, _, reason in lost] == [
        (number, "3 others wait already") for number in (3, 3, 4, 4)
    ]
    assert len(slow.heard) == len(quick.heard) == 3


def test_one_target_does_not_wait_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        stuck, quick = Ear(), Ear()
        stuck.gate.clear()
        monkeypatch.setattr(notify, "make_targets", lambda _: [stuck, quick])
        lost: Told = []
        async with Notifier(
            EVERY, "h", lambda row, name, why: lost.append((row.id, name, why))
        ) as notifier:
            for number in (1, 2):
                notifier.offer(event(number))
            while len(quick.heard) < 2:
                await asyncio.sleep(0)
            await notifier.close(0.01)
            notifier.offer(event(3))
        assert [number for number, _, _ in lost] == [1, 2, 3, 3]
        assert {why for _, _, why in lost} == {"the service ends"}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://hooks.example/T0/SECRET", "webhook https://hooks.example"),
        ("https://me:pass@hooks.example:8443/x?token=abc", "webhook https://hooks.example:8443"),
    ],
)
def test_the_name_of_a_webhook_shows_no_secret(url: str, name: str) -> None:
    assert Webhook(url).name == name


def test_what_was_not_told_is_not_told_again() -> None:
    assert "notify-failed" not in TOLD


def test_the_page_says_what_is_told_under_which_word() -> None:
    page = (ROOT / "docs/reference/events.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| (.*?) ?\|$", page, re.MULTILINE))
    assert {kind: word.strip("`") for kind, word in rows.items() if word} == TOLD
    assert "notify-failed" in rows


def test_the_page_has_every_kind_that_is_told_somewhere() -> None:
    page = (ROOT / "docs/reference/events.md").read_text()
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    call = re.compile(r"""(?:\bEvent|_event|\btell|_tell|Refusal)\(\s*"([a-z-]+)\"""")
    sources = [*(ROOT / "minid/daemon").glob("*.py"), *(ROOT / "minid/upstream").glob("*.py")]
    told = {kind for path in sources for kind in call.findall(path.read_text())}
    assert len(told) > 20
    assert told <= listed
    ends = {"built", "unchanged", "failed", "infra", "skipped", "interrupted", "cancelled"}
    assert ends <= listed


@pytest.mark.parametrize("word", sorted({*TOLD.values(), "strange"}))
def test_the_words_are_those_of_config_toml(word: str) -> None:
    problems = Problems("config.toml")
    NOTIFY.read({"events": [word]}, "", problems)
    assert bool(problems.found) == (word == "strange")


def test_a_notification_is_json() -> None:
    assert json.loads(json.dumps(notification(event(1), "h")))["run"] == 7


def test_what_nobody_expected_does_not_end_the_telling(monkeypatch: pytest.MonkeyPatch) -> None:
    ear, surprises = Ear(NotToldError("no", again=False)), []
    monkeypatch.setattr(notify, "make_targets", lambda _: [ear])

    def full_disk(_event: EventRow, _target: str, _reason: str) -> None:
        raise StoreError("records: database or disk is full")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, words: surprises.append(words["exception"]))
        async with Notifier(EVERY, "build1", full_disk) as notifier:
            notifier.offer(event(1))
            notifier.offer(event(2))
            await notifier.close(5)

    asyncio.run(main())
    assert [item["text"] for item in ear.heard] == ["number 1", "number 2"]
    assert [type(error) for error in surprises] == [StoreError]
