"""What lies around the store and is of no use any more: places of processes that are gone, old
logs, environments that no recipe asks for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from minid.config import Config
from minid.errors import RecipeError, StoreError
from minid.host.environment import environment_token, remove_environment, request_key
from minid.host.files import exclusive_folder, lock_if_free, remove_unfinished
from minid.line.planning import environment_packages
from minid.line.workshop import Workshop, clear_part, recover
from minid.recipe import Recipe
from minid.store.blobs import Blobs
from minid.store.collect import held_blobs
from minid.store.layout import write_layout
from minid.store.lease import await_heirs, clear_leases, closed_gate, living_leases
from minid.store.lock import free_lock

_LOG = re.compile(r"([0-9]{6,})-.*\.log")
_KEY = re.compile(r"[0-9a-f]{32}")
_GONE = ".gone-"


def clear_dead(shop: Workshop) -> int:
    """Remove the temporary files and job folders of writers that are gone; how many places.

    Where nobody builds, all is done that the next build would begin with.
    """
    config = shop.config
    with free_lock(config.paths.state / "lock") as free:
        if free:
            before = _count_places(config)
            recover(config, Blobs(config.paths.store), shop.records, shop.clock)
            return before - _count_places(config)
    await_heirs(config.paths.leases)
    # Listed first: who has a place had its lease before.
    places = _own_places(config)
    dead = places - living_leases(config.paths.leases).keys()
    for name in dead:
        clear_part(config, name)
    remove_unfinished(config.paths.store)
    # A killed guest may have moved a tag in the records alone; its lease goes after the layout.
    with suppress(StoreError), exclusive_folder(shop.blobs.root):
        write_layout(shop.blobs, shop.records, shop.machine)
    clear_leases(config.paths.leases)
    return len(dead)


def _own_places(config: Config) -> set[str]:
    """Names of places that have a lease of the same name as long as somebody is there."""
    names = {path.name for path in _listed(config.paths.jobs)}
    names |= {path.name for path in _listed(config.paths.store / "tmp")}
    return {name for name in names if name.startswith(("guest-", "run-"))}


def _count_places(config: Config) -> int:
    return len(_listed(config.paths.jobs)) + len(_listed(config.paths.store / "tmp"))


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def old_logs(config: Config, kept: Collection[int], before: float) -> list[Path]:
    """Logs that were last written before that time, of runs that are not kept."""
    found = []
    for path in _listed(config.paths.logs):
        match = _LOG.fullmatch(path.name)
        if match and int(match[1]) not in kept and path.lstat().st_mtime < before:
            found.append(path)
    return sorted(found)


def unused_environments(config: Config, recipes: Mapping[str, Recipe]) -> list[Path]:
    """Environments that none of these recipes, which must be all, asks for."""
    wanted = set()
    for recipe in recipes.values():
        spec = config.environment(recipe.build.environment)
        if spec is not None and spec.kind != "host":
            try:
                wanted.add(request_key(spec, environment_packages(recipe)))
            except RecipeError:
                continue
    folders = _listed(config.paths.environments)
    return sorted(path for path in folders if _KEY.fullmatch(path.name) and path.name not in wanted)


def remove_environments(config: Config, unused: Collection[Path]) -> list[str]:
    """Remove those that nobody makes or uses now, and what is left of others; the names."""
    removed = []
    leases = config.paths.leases
    for path in unused:
        with lock_if_free(path.with_name(f"{path.name}.lock")) as held:
            if held is None:
                continue
            gone = path.with_name(f"{_GONE}{path.name}")
            with closed_gate(leases):
                if environment_token(path.name) in held_blobs(leases) or gone.exists():
                    continue
                path.rename(gone)
            remove_environment(gone)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
            removed.append(path.name)
    for path in _listed(config.paths.environments):
        if path.name.startswith(_GONE):
            remove_environment(path)
    return removed
