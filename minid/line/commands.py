"""`rootfs.commands`, the last part of composing: only recipes that have some come here."""

from __future__ import annotations

from collections.abc import Iterable

from minid.host.capture import CommandJob
from minid.host.container import LayerFile
from minid.line.run import Run
from minid.model import Composed, Layer, Tree
from minid.steps.commands import apply_changes, run_job
from minid.store.contents import read_content, store_tree


def change_rootfs(
    run: Run,
    composed: Composed,
    base: Tree,
    below: Iterable[Layer],
    mtime: int,
    *,
    copied: bool = False,
) -> Composed:
    """`composed` after the recipe's commands, which run on what is laid so far.

    `below` are the layers of the base's image, which show `base`. `copied` has them run in a copy
    also where an overlay could be had. ComposeError as `run_job` gives it.
    """
    shop, recipe = run.shop, run.recipe
    parts = [composed.payload, composed.own]
    layers = [layer.diff_id for layer in below]
    if composed.flatten:  # the base's layers have more than is left of the base
        parts, layers = [composed.tree.entries], []
    read = read_content(shop.blobs)
    layers += [store_tree(entries, read, shop.blobs)[0] for entries in parts if entries]
    job = CommandJob(
        commands=recipe.rootfs.commands,
        layers=tuple(LayerFile(digest, shop.blobs.path(digest)) for digest in layers),
        where=f"{recipe.file}: rootfs.commands",
        mtime=mtime,
        limits=shop.config.build.limits,
        copied=copied,
    )
    changes = run_job(
        job,
        composed.tree,
        cache=shop.config.paths.layers,
        blobs=shop.blobs,
        log=run.log,
        cancel=shop.cancel,
    )
    return apply_changes(composed, changes, base)
