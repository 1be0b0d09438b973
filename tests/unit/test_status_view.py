"""What `minid status` shows, and that it fits."""

from __future__ import annotations

from typing import Any

import pytest

from minid.cli.queue_command import progress_text
from minid.cli.status_facts import status_code
from minid.cli.status_view import status_lines

NOW = 1_764_000_000.0


def recipe(name: str, **more: Any) -> dict[str, Any]:
    facts = {
        "recipe": name,
        "version": "1.26.3",
        "state": "up to date",
        "last_run": "ok 5 minutes ago",
        "manifest": "sha256:" + "0" * 64,
        "changes": [],
        "error": "",
        "image_version": "1.26.3",
        "tags": [f"{name}:1.26.3", f"{name}:latest"],
        "newest": "",
        "note": "",
        "run": {"id": 1, "status": "ok"},
    }
    return facts | more


RUNNING = {
    "run": 12,
    "recipe": "redis",
    "version": "8.8.1",
    "stage": "compile",
    "line": "CC server.o \x1b[31m" + "x" * 100,
    "started": NOW - 12,
    "expected_end": NOW + 40,
    "fetched": None,
}
DAEMON = {
    "pid": 4711,
    "version": "0.1.0",
    "since": NOW - 7200,
    "ready": True,
    "paused": "",
    "watch": {"mode": "events", "reason": ""},
    "upstreams": {},
}


def page(**facts: Any) -> dict[str, Any]:
    empty = {"recipes": [], "broken": [], "daemon": DAEMON, "refused": ""}
    return empty | {"running": [], "queued": []} | facts


def queued(run: int, waits: str = "no slot (2 of 2 busy)") -> dict[str, Any]:
    return {"run": run, "recipe": f"r{run}", "waits": waits}


def text_of(width: int = 80, **facts: Any) -> str:
    lines = status_lines(page(**facts), width, NOW)
    assert all(len(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)
    return "\n".join(lines)


def test_everything_at_once_fits_eighty_columns() -> None:
    text = text_of(
        recipes=[
            recipe("nginx", newest="1.28.0", note="1.30.0 held: a jump of the first component"),
            recipe("redis", state="building", version="8.8.1", image_version="8.8.0"),
            recipe("a-recipe-with-a-very-long-name-indeed", state="failed", error="broke\nhere"),
        ],
        running=[RUNNING],
        queued=[queued(13, "waits for redis (run 12)")],
        broken=["recipes/bad.toml: buidl: expected a known key"],
        daemon=DAEMON
        | {
            "paused": "paused",
            "watch": {"mode": "polling", "reason": "no space for another watch"},
            "upstreams": {
                "followed": 3,
                "attention": {"php": "suspect: 300 entries became 3", "nginx": "told already"},
                "hosts": [{"host": "example.org", "until": NOW + 60, "reason": "429"}],
            },
        },
    )
    for said in (
        "minid 0.1.0, process 4711, started 2 hours ago",
        "paused: no run starts until `minid resume`",
        "watched by polling: no space for another watch",
        "1.28.0",
        "8.8.0 → 8.8.1",
        "1.26.3 latest",
        "compile 12 s, about 40 s left: CC server.o",
        "waits for redis (run 12)",
        "recipes/bad.toml: buidl",
        "nginx: 1.30.0 held",
        "a-recipe-with-a-very-long-name-indeed: broke",
        "php: suspect: 300 entries became 3",
        "example.org is left alone until",
    ):
        assert said in text, text
    assert "told already" not in text


def test_what_is_new_only_where_it_is() -> None:
    assert "NEWEST" not in text_of(recipes=[recipe("nginx", newest="1.26.3")])
    assert "NEWEST" in text_of(recipes=[recipe("nginx", newest="1.28.0")])


def test_a_quiet_service_needs_no_attention() -> None:
    text = text_of(recipes=[recipe("nginx")])
    assert "ATTENTION" not in text
    assert "WAITING" not in text
    assert "RUNNING" not in text
    assert "watched by" not in text


def test_no_service_is_said() -> None:
    assert text_of(daemon=None) == "no daemon is running"
    assert "the daemon cannot be asked:\ndenied" in text_of(daemon=None, refused="denied")


def test_many_that_wait_are_counted() -> None:
    text = text_of(queued=[queued(n) for n in range(1, 1001)])
    assert "… and 990 more: minid queue" in text
    assert text.count("no slot") == 10


def test_the_recipes_come_last_where_they_would_fill_the_screen() -> None:
    facts = page(recipes=[recipe("nginx")], running=[RUNNING])
    lines = status_lines(facts, 80, NOW, work_first=True)
    assert lines.index("") < next(n for n, line in enumerate(lines) if "RECIPE" in line)
    assert "RUNNING" in lines[2]


@pytest.mark.parametrize("strange", [None, {}, {"attention": ["php"]}, {"hosts": 3}])
def test_upstreams_of_another_version_do_no_harm(strange: Any) -> None:
    text_of(daemon=DAEMON | {"upstreams": strange})


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"stage": "", "started": NOW - 3}, "started 3 s"),
        ({"stage": "fetch", "started": NOW - 200}, "fetch 3 min"),
        (
            {"stage": "fetch", "started": NOW, "fetched": ["a.tar.gz", 2_000_000, 4_000_000]},
            "fetch 0 s: a.tar.gz: 2.00 MB of 4.00 MB",
        ),
        (
            {"stage": "fetch", "started": NOW, "fetched": ["a.tar.gz", 2_000_000, None]},
            "a.tar.gz: 2.00 MB",
        ),
        ({"stage": "compile", "started": NOW, "expected_end": NOW + 30}, "0 s, about 30 s left"),
        ({"stage": "compile", "started": NOW, "expected_end": NOW - 1}, "longer than last time"),
    ],
)
def test_progress_in_words(row: dict[str, Any], text: str) -> None:
    assert text in progress_text(row, NOW)


def test_status_is_three_where_something_failed() -> None:
    assert status_code(page(recipes=[recipe("a")])) == 0
    failed = {"id": 1, "status": "failed"}
    assert status_code(page(recipes=[recipe("a", state="failed", run=failed)])) == 3
    # Its release was rejected, say, and the image of the one before is up to date.
    assert status_code(page(recipes=[recipe("a", run=failed)])) == 0
    assert status_code(page(recipes=[recipe("a", run=None)], broken=["x"])) == 3
