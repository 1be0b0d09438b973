"""The file system of a container of Docker's, as the engine gives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minid.errors import HostError, UsageError

if TYPE_CHECKING:
    import docker

TIMEOUT_S = 600
_PIECE = 1 << 20


@contextmanager
def container_files(name: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The name of the image that a container was made of, and its file system as a tar.

    UsageError where there is no such container, HostError where no engine answers. The container
    may run meanwhile; what it writes then is seen or not.
    """
    with _container(name) as container:
        image = str(container.attrs["Config"]["Image"])
        yield image, _checked(container.export(chunk_size=_PIECE))


def container_config(name: str) -> dict[str, Any]:
    """The configuration that a container was created with, as the engine has it.

    UsageError where there is no such container, HostError where no engine answers.
    """
    with _container(name) as container:
        return dict(container.attrs["Config"])


@contextmanager
def _container(name: str) -> Iterator[Any]:
    """The container as the SDK has it; what the SDK and its transport raise meanwhile in words."""
    from docker.errors import DockerException, NotFound
    from requests.exceptions import RequestException

    client = _connect()
    try:
        yield client.containers.get(name)
    except NotFound:
        raise _no_container(name) from None
    except (DockerException, RequestException) as error:
        raise HostError(f"docker: container {name!r}: {error}") from error
    finally:
        client.close()


def _connect() -> docker.DockerClient:
    import docker
    from docker.errors import DockerException

    try:
        return docker.from_env(timeout=TIMEOUT_S)
    except DockerException as error:
        raise HostError(
            f"docker: expected an engine that answers, got none: {error}",
            hint="`docker info` says whether one runs; DOCKER_HOST names another",
        ) from error


def _no_container(name: str) -> UsageError:
    return UsageError(
        f"docker: expected a container, got {name!r}", hint="`docker ps -a` lists them"
    )


def _checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The tar's bytes. A stream that breaks off ends without a word: a tar without its two blocks
    of zeros is cut short."""
    tail = b""
    for chunk in chunks:
        tail = (tail + chunk)[-1024:]
        yield chunk
    if tail != bytes(1024):
        raise HostError("docker: expected the container's whole file system, got a part of it")
