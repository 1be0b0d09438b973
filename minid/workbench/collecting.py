"""`minid gc`: what is not to stay goes, beside whoever builds. `store.reach` says what stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from minid.line.planning import archive_digests
from minid.line.tidy import tidy_layers
from minid.line.workshop import Workshop
from minid.recipe import Recipe
from minid.store.collect import (
    Dead,
    DeadRow,
    drop_rows,
    find_dead,
    held_blobs,
    sweep_blobs,
)
from minid.store.reach import Reached, Retention, find_reached
from minid.workbench.leftovers import (
    clear_dead,
    old_logs,
    remove_environments,
    unused_environments,
)
from minid.workbench.shell_bench import needed_blobs


@dataclass(frozen=True, slots=True)
class Collected:
    """What went, or would go. Sizes in bytes; `in_use` blobs are dead and held by living processes;
    `longest_hold_s` is the longest time for which others had to wait, in seconds."""

    images: tuple[DeadRow, ...] = ()
    results: int = 0
    stages: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    in_use: int = 0
    logs: int = 0
    log_bytes: int = 0
    environments: tuple[str, ...] = ()
    layers: int = 0
    places: int = 0
    longest_hold_s: float = 0.0


def retention_of(shop: Workshop, *, complete: bool) -> Retention:
    """What the configuration and the recipes say; `complete` where these are all that there are."""
    recipes: Mapping[str, Recipe] = shop.recipes
    archives = {digest for recipe in recipes.values() for digest in archive_digests(recipe)}
    own = {
        name: replace(
            shop.config.keep,
            **{key: value for key, value in asdict(recipe.keep).items() if value is not None},
        )
        for name, recipe in recipes.items()
    }
    return Retention(
        usual=shop.config.keep,
        own=own,
        now=shop.clock(),
        known=frozenset(recipes) if complete else None,
        blobs=frozenset(archives) | needed_blobs(shop.config.paths.state),
    )


def collect(shop: Workshop, *, complete: bool) -> Collected:
    """Remove what is not to stay. `complete` tells that the workshop's recipes are all there are:
    else nothing goes for want of a recipe.

    Killed anywhere, it leaves what the next one removes. HostError for an environment in which
    something is mounted.
    """
    database, leases = shop.records.database, shop.config.paths.leases
    retention = retention_of(shop, complete=complete)
    logs_before = shop.clock() - shop.config.keep.logs_s

    def look() -> Reached:
        return find_reached(database, retention)

    places = clear_dead(shop)
    dead = drop_rows(database, leases, lambda: find_dead(database, shop.blobs, look(), logs_before))
    swept = sweep_blobs(database, shop.blobs, leases, look)
    config = shop.config
    logs = old_logs(config, look().runs, logs_before)
    log_bytes = sum(path.lstat().st_size for path in logs)
    for path in logs:
        path.unlink(missing_ok=True)
    unused = unused_environments(config, shop.recipes) if complete else []
    return Collected(
        images=dead.images,
        results=len(dead.results),
        stages=len(dead.stages),
        blobs=len(swept.blobs),
        blob_bytes=sum(size for _, size in swept.blobs),
        in_use=swept.in_use,
        logs=len(logs),
        log_bytes=log_bytes,
        environments=tuple(remove_environments(config, unused)),
        layers=tidy_layers(config.paths.layers, shop.records, spare=0),
        places=places,
        longest_hold_s=swept.longest_hold_s,
    )


def preview(shop: Workshop, *, complete: bool) -> Collected:
    """What `collect` would remove now; nothing is changed. The layer cache is not looked at."""
    database, config = shop.records.database, shop.config
    logs_before = shop.clock() - config.keep.logs_s
    reached = find_reached(database, retention_of(shop, complete=complete))
    dead: Dead = find_dead(database, shop.blobs, reached, logs_before)
    held = held_blobs(config.paths.leases)
    free = [size for digest, size in dead.blobs if digest not in held]
    logs: list[Path] = old_logs(config, reached.runs, logs_before)
    unused = unused_environments(config, shop.recipes) if complete else []
    return Collected(
        images=dead.images,
        results=len(dead.results),
        stages=len(dead.stages),
        blobs=len(free),
        blob_bytes=sum(free),
        in_use=len(dead.blobs) - len(free),
        logs=len(logs),
        log_bytes=sum(path.lstat().st_size for path in logs),
        environments=tuple(path.name for path in unused),
    )
