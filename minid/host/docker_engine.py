"""Docker Engine: does it answer, what does it hold, load an image, move a tag.

Over its unix socket with plain HTTP: a publish is a handful of requests and takes milliseconds,
while importing the docker SDK alone takes a tenth of a second. Containers are run with the SDK, in
`docker_container`.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from urllib.parse import quote

from minid.errors import PublishError
from minid.formats.digest import Digest
from minid.formats.image_record import RECIPE_LABEL
from minid.host import netprobe

DEFAULT_SOCKET = "/var/run/docker.sock"
REQUEST_TIMEOUT_S = 30.0
LOAD_TIMEOUT_S = 600.0
MAX_LOOKED_AT = 24
_OWN_LAYER = 2  # base and payload are below it

# From API 1.44 on an engine may keep images in containerd, which wants every blob of an archive.
_LEAN_BELOW = (1, 44)

Archive = Callable[[Iterable[Digest]], Iterable[bytes]]


def engine_socket() -> str | None:
    """The engine's socket as DOCKER_HOST names it; None for hosts that are no unix socket."""
    host = os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
    return host.removeprefix("unix://") if host.startswith("unix://") else None


def engine_answers(timeout_s: float = 0.5) -> bool:
    """Whether an engine answers a ping within `timeout_s`. Costs about a millisecond."""
    return _ping(timeout_s) is not None


def image_id(name: str) -> str | None:
    """The engine's id (`sha256:…`) of the image of that name or id, or None."""
    found = inspect_image(name)
    return None if found is None else str(found["Id"])


def inspect_image(name: str) -> dict[str, Any] | None:
    """What the engine knows about an image, or None. PublishError when it does not answer."""
    answer = _request("GET", f"/images/{quote(name, safe='/:@')}/json")
    if answer.status == 404:
        return None
    found = json.loads(_expect(answer, 200, f"image {name!r}"))
    assert isinstance(found, dict)
    return found


def load_archive(chunks: Iterable[bytes]) -> str:
    """Load one image archive that names no tags; the engine's id of the image.

    PublishError when the engine refuses it or says something else than an id.
    """
    body = _expect(_request("POST", "/images/load?quiet=1", chunks), 200, "load")
    for line in body.splitlines():
        message = json.loads(line)
        if "error" in message:
            raise PublishError(f"docker: expected the archive to load, got {message['error']!r}")
        text = str(message.get("stream", ""))
        if text.startswith("Loaded image ID: "):
            return text.removeprefix("Loaded image ID: ").strip()
    raise PublishError(f"docker: expected the id of the loaded image, got {body[:200]!r}")


def load_image(
    archive: Archive, *, image: Digest, layers: Sequence[tuple[Digest, Digest]], beside: str = ""
) -> str:
    """Have the engine hold an image; the engine's id of it.

    `archive(without)` gives the archive, untagged, without the files of those layers (by their
    gzip's digest); `layers` are (diff ID, digest), lowest first. Layers that the engine shares with
    the image named `beside`, or with another of minid's, are not sent. An engine that takes no
    incomplete archive gets the whole.
    """
    held = image_id(str(image))
    if held is not None:
        return held
    shared = _shared_layers([str(diff_id) for diff_id, _ in layers], beside)
    if shared:
        try:
            return _loaded(archive([digest for _, digest in layers[:shared]]), image)
        except PublishError:
            pass  # the whole archive tells whether there is anything wrong besides
    return _loaded(archive(()), image)


def tag(
    engine_id: str, name: str, guard_label: str = RECIPE_LABEL, known: Collection[str] = ()
) -> None:
    """Point `name` (repository:tag) at an image; PublishError where somebody else's has that name.

    Moving a tag is silent in Docker, so only tags of images that carry `guard_label` are moved, and
    of those whose ids are `known`.
    """
    holder = inspect_image(name)
    if holder is not None and holder["Id"] == engine_id:
        return
    if _is_foreign(holder, guard_label, known):
        raise PublishError(
            f"docker: {name}: expected an image of minid's, got {(holder or {})['Id'][:19]!r} "
            f"without the label {guard_label}",
            hint=f"docker tag {name} some-other-name && docker rmi {name}, or change image.tags",
        )
    repository, _, word = name.rpartition(":")
    query = f"repo={quote(repository, safe='')}&tag={quote(word, safe='')}"
    _expect(_request("POST", f"/images/{engine_id}/tag?{query}"), 201, f"tag {name}")


def is_foreign(name: str, known: Collection[str] = ()) -> bool:
    """Whether `name` is held by an image that `tag` would not take it from."""
    return _is_foreign(inspect_image(name), RECIPE_LABEL, known)


def _is_foreign(holder: dict[str, Any] | None, guard_label: str, known: Collection[str]) -> bool:
    if holder is None or holder["Id"] in known:
        return False
    return guard_label not in ((holder.get("Config") or {}).get("Labels") or {})


def remove_image(name: str) -> bool:
    """Remove a name, or by id an image without names; False when it was not there or is in use."""
    return _request("DELETE", f"/images/{quote(name, safe='/:@')}").status == 200


def publish_archive(
    archive: Archive,
    *,
    image_id: Digest,
    layers: Sequence[tuple[Digest, Digest]],
    names: Sequence[str],
    label: str = RECIPE_LABEL,
    known: Collection[str] = (),
) -> tuple[list[str], list[str]]:
    """Load an image and point `names` at it: (the names that point at it now, refusals in words).

    `archive` and `layers` as in `load_image`. A name that is held by an image without `label`,
    whose id is not `known`, is left alone. PublishError when nothing could be loaded.
    """
    was_held = inspect_image(str(image_id)) is not None
    engine_id = load_image(archive, image=image_id, layers=layers, beside=names[0] if names else "")
    moved, refused = [], []
    for name in names:
        try:
            tag(engine_id, name, label, known)
            moved.append(name)
        except PublishError as error:
            refused.append(error.message)
    if not moved and not was_held:
        remove_image(engine_id)
    return moved, refused


def _loaded(chunks: Iterable[bytes], image: Digest) -> str:
    """Load, and see that the engine holds the very image: under its own id or containerd's."""
    engine_id = load_archive(chunks)
    if engine_id != str(image) and inspect_image(engine_id) is None:
        raise PublishError(
            f"docker: expected image {str(image)!r} after the load, got {engine_id!r}"
        )
    return engine_id


def _shared_layers(diff_ids: list[str], beside: str) -> int:
    """How many of the lowest layers the engine holds already, as far as a quick look tells."""
    version = _ping(REQUEST_TIMEOUT_S)
    if version is None or version >= _LEAN_BELOW:
        return 0
    best = 0
    for name in ([beside] if beside else []) + _labelled_images():
        found = inspect_image(name) or {}
        best = max(best, _common_prefix(diff_ids, (found.get("RootFS") or {}).get("Layers") or []))
        # All, or all but the recipe's own on top, which an edit changes and which is small.
        if best == len(diff_ids) or best >= _OWN_LAYER:
            break
    return best


def _common_prefix(left: Sequence[str], right: Sequence[str]) -> int:
    same = 0
    while same < min(len(left), len(right)) and left[same] == right[same]:
        same += 1
    return same


def _labelled_images() -> list[str]:
    filters = quote(json.dumps({"label": [RECIPE_LABEL]}))
    answer = _request("GET", f"/images/json?filters={filters}")
    listed = json.loads(_expect(answer, 200, "images"))
    # Each edit leaves an image without a name behind; those that have one are more of a kind.
    listed.sort(key=lambda row: set(row.get("RepoTags") or ()) <= {"<none>:<none>"})
    return [str(row["Id"]) for row in listed[:MAX_LOOKED_AT]]


def _ping(timeout_s: float) -> tuple[int, ...] | None:
    """The engine's API version, or None when nothing answers."""
    try:
        answer = _send("GET", "/_ping", None, timeout_s)
    except netprobe.NoAnswerError:
        return None
    if answer.status != 200:
        return None
    numbers = (answer.header("api-version") or "0").split(".")
    return tuple(int(number) for number in numbers if number.isdigit())


def _request(method: str, path: str, body: Iterable[bytes] | None = None) -> netprobe.HttpAnswer:
    try:
        return _send(method, path, body, REQUEST_TIMEOUT_S if body is None else LOAD_TIMEOUT_S)
    except netprobe.NoAnswerError as error:
        raise PublishError(
            f"docker: expected an answer to {method} {path.partition('?')[0]}, got {error}",
            hint="is the engine running, and may this user open its socket? (docker info)",
        ) from error


def _send(
    method: str, path: str, body: Iterable[bytes] | None, timeout_s: float
) -> netprobe.HttpAnswer:
    address = engine_socket()
    if address is None:
        raise netprobe.NoAnswerError("DOCKER_HOST names no unix socket")
    headers = [("Host", "docker"), ("User-Agent", "minid"), ("Connection", "close")]
    if body is not None:
        headers.append(("Content-Type", "application/x-tar"))
    elif method == "POST":
        headers.append(("Content-Length", "0"))
    with socket.socket(socket.AF_UNIX) as sock:
        return netprobe.http_exchange(
            sock, address, f"{method} {path}", headers, body, timeout_s=timeout_s
        )


def _expect(answer: netprobe.HttpAnswer, status: int, what: str) -> bytes:
    if answer.status != status:
        try:
            said = str(json.loads(answer.body)["message"])
        except (ValueError, LookupError, TypeError):
            said = answer.body[:200].decode("utf-8", "replace")
        raise PublishError(f"docker: {what}: expected status {status}, got {answer.status}: {said}")
    return answer.body
