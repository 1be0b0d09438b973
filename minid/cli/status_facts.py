"""What `minid status` knows, as JSON values: from the service where one runs, and the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minid.cli.daemon_client import find_daemon
from minid.cli.folder import Folder, assess_folder, need_recipes, sound_recipes, stem_of
from minid.cli.queue_command import recorded_queue
from minid.cli.store_reader import open_blobs
from minid.cli.words import ago
from minid.config import Config
from minid.daemon.requests import Status
from minid.errors import HostError, StoreError
from minid.recipe_graph import unknown_recipe
from minid.store.overview import TaggedImage, last_runs, tagged_images
from minid.store.records import Records, RunRow
from minid.store.releases import Releases, TrackRow

Facts = dict[str, Any]
# A service that says nothing for so long is told as such, beside what the records have.
_ANSWER_S = 10.0


class _Known:
    """What the records have of all recipes; empty where there are none yet."""

    def __init__(self, config: Config) -> None:
        self.last: Mapping[str, RunRow] = {}
        self.images: Mapping[str, TaggedImage] = {}
        self.tracks: Mapping[str, TrackRow] = {}
        if not config.paths.records.is_file():
            return
        records = Records(config.paths.records, writable=False)
        try:
            self.last = last_runs(records.database)
            self.images = tagged_images(records.database)
            self.tracks = Releases(records.database).tracks()
        finally:
            records.close()

    def row(self, name: str, version: str, state: str, **more: object) -> Facts:
        """What is said of one recipe."""
        last, image, track = self.last.get(name), self.images.get(name), self.tracks.get(name)
        return {
            "recipe": name,
            "version": version,
            "state": state,
            "last_run": _last_text(last),
            "manifest": image.manifest if image else "",
            "changes": [],
            "error": last.error if last else "",
            "image_version": image.version if image else "",
            "tags": list(image.tags) if image else [],
            "newest": track.newest if track else "",
            "note": track.note if track else "",
            "run": _run_json(last),
            **more,
        }


def gather_status(config: Config, names: list[str], load: Callable[[], Folder]) -> Facts:
    """Everything, of the named recipes or of all. `load` reads the folder, where no service runs.

    UsageError for a name that nobody knows.
    """
    refused = ""
    try:
        daemon = find_daemon(config, wait=False)
        answer = daemon.ask_once(Status(), within_s=_ANSWER_S) if daemon else None
    except (HostError, StoreError) as error:
        answer, refused = None, error.message
    if answer is None:
        facts = _from_folder(load(), names)
        queue = recorded_queue(config)
        return facts | {"daemon": None, "refused": refused} | queue
    return _from_daemon(answer, config, names)


def status_code(facts: Facts) -> int:
    """0, or 3 when a recipe is not up to date since its last run failed, or a file is no recipe."""
    failed = any(row["state"] == "failed" for row in facts["recipes"])
    return 3 if failed or facts["broken"] else 0


def _from_folder(folder: Folder, named: list[str]) -> Facts:
    names = need_recipes(folder, named) if named else sound_recipes(folder)
    known = _Known(folder.config)
    rows = []
    if known.last:
        records = Records(folder.config.paths.records, writable=False)
        try:
            standings = assess_folder(folder, names, open_blobs(folder.config), records)
        finally:
            records.close()
        for name in names:
            standing, last = standings[name], known.last.get(name)
            state = "up to date" if standing.current else _state(last)
            version = standing.recipe.source.version
            rows.append(known.row(name, version, state, changes=list(standing.changes)))
    else:
        rows = [known.row(n, folder.recipes[n].source.version, "never built") for n in names]
    if not named:
        rows += _broken_rows(folder, known, names)
    rows.sort(key=lambda row: str(row["recipe"]))
    return {"recipes": rows, "broken": [str(error) for error in folder.broken]}


def _broken_rows(folder: Folder, known: _Known, sound: Iterable[str]) -> list[Facts]:
    errors = {stem_of(error): str(error) for error in folder.broken}
    names = {*folder.recipes, *errors} - set(sound)
    rows = []
    for name in names:
        recipe = folder.recipes.get(name)
        error = errors.get(name, "stands on a recipe that is broken")
        rows.append(known.row(name, recipe.source.version if recipe else "", "broken", error=error))
    return rows


def _state(last: RunRow | None) -> str:
    if last is None:
        return "never built"
    return "failed" if last.status == "failed" else "to be built"


def _from_daemon(answer: Facts, config: Config, named: list[str]) -> Facts:
    known = _Known(config)
    problems: Mapping[str, str] = answer.get("problems") or {}
    running = {str(row["recipe"]): row for row in answer["running"]}
    queued = {str(row["recipe"]): row for row in answer["queued"]}
    recipes: Mapping[str, Facts] = answer.get("recipes") or {}
    every = {*recipes, *problems, *running, *queued} - {""}
    for name in named:
        if name not in every:
            raise unknown_recipe(name, sorted(every))
    rows = []
    for name in sorted(named or every):
        work = running.get(name) or recipes.get(name) or queued.get(name) or {}
        last, image = known.last.get(name), known.images.get(name)
        version = str(work.get("version") or (image.version if image else ""))
        current = name in recipes and recipes[name]["current"]
        state = "up to date" if current else _state(last)
        more: dict[str, object] = {}
        if name in running:
            state = "building"
        elif name in problems:
            state, more = "broken", {"error": problems[name]}
        elif name in queued:
            state = "queued"
        rows.append(known.row(name, version, state, **more))
    queue = {key: answer[key] for key in ("running", "queued")}
    shown = (*queue, "problems", "recipes")
    rest = {key: value for key, value in answer.items() if key not in shown}
    broken = [problems[name] for name in sorted(problems) if not named or name in named]
    return {"recipes": rows, "broken": broken, "daemon": rest, "refused": "", **queue}


def _last_text(last: RunRow | None) -> str:
    if last is None:
        return ""
    return (
        "running"
        if last.status == "running"
        else (f"{last.status} {ago(last.finished or last.started)}")
    )


def _run_json(last: RunRow | None) -> Facts | None:
    if last is None:
        return None
    return {
        "id": last.id,
        "status": last.status,
        "reason": last.reason,
        "started": last.started,
        "finished": last.finished,
    }
