"""Getting an image back out of the Docker engine."""

from __future__ import annotations

from collections.abc import Iterator

from minid.errors import PublishError
from minid.host.docker_engine import engine_socket

_CHUNK = 1 << 20
_TIMEOUT_S = 600


def save_image(name: str) -> Iterator[bytes]:
    """The archive that `docker save` gives of an image; PublishError where the engine has none."""
    import docker
    import requests

    address = engine_socket()
    if address is None:
        raise PublishError("docker: expected an engine, got none")
    client = docker.APIClient(base_url=f"unix://{address}", timeout=_TIMEOUT_S)
    try:
        yield from client.get_image(name, chunk_size=_CHUNK)
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise PublishError(f"docker: {name}: expected an image, got {error}") from error
    finally:
        client.close()
