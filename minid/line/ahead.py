"""Loading an image into Docker while its check still runs: without a tag, and taken back if the
check fails. A tag moves only afterwards, and then in a few milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from minid.errors import MinidError, PublishError
from minid.host.docker_engine import inspect_image, remove_image
from minid.line.run import Run
from minid.model import Image
from minid.steps.publish import load_docker
from minid.steps.publish_targets import DOCKER, pending_targets


@contextmanager
def loaded_ahead(run: Run, made: Image) -> Iterator[Callable[[], None]]:
    """Begin to load `made` where Docker is to get it; what is given waits for the end of that.

    Whatever goes wrong with the engine is left to the publication to meet and to tell. An image
    that has no tag when the block ends, and was not there before, is removed.
    """
    shop, name = run.shop, str(made.config)
    if not _is_worth_it(run, made):
        yield lambda: None
        return

    def load() -> None:
        with suppress(MinidError, OSError):
            load_docker(made, shop.blobs, shop.machine)

    thread = threading.Thread(target=load, name=f"load {made.recipe}")
    thread.start()
    try:
        yield thread.join
    finally:
        thread.join()
        with suppress(PublishError):
            found = inspect_image(name)
            if found is not None and not found.get("RepoTags"):
                remove_image(name)


def _is_worth_it(run: Run, made: Image) -> bool:
    config = run.shop.config
    # The Docker runner loads the image itself, to check it there.
    if config.check.runner == "docker":
        return False
    if DOCKER not in pending_targets(config.publish, run.shop.records, made):
        return False
    try:
        return inspect_image(str(made.config)) is None
    except PublishError:
        return False
