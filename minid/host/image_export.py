"""The file system of a Docker image as an archive, for environments of kind `image`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from minid.errors import HostError
from minid.formats.digest import Digest


def write_image_archive(
    reference: str, archive: Path, *, output: Callable[[bytes], None]
) -> Digest:
    """Write the image's file system as a tar to `archive`; the image's digest.

    The image is pulled when the engine does not have it. HostError when there is no engine, or no
    such image. Nothing of the image is run.
    """
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        client = docker.from_env(timeout=600)
    except DockerException as error:
        raise HostError(
            f"docker: expected an engine for environment image {reference!r}, got {error}",
            hint="apt-get install docker.io, or use an environment of kind debian or host",
        ) from error
    try:
        try:
            image = client.images.get(reference)
        except ImageNotFound:
            output(f"pulling {reference}\n".encode())
            image = client.images.pull(reference)
        container = client.containers.create(image.id, command=["/"])
        try:
            output(f"exporting {reference} ({image.id})\n".encode())
            with archive.open("wb") as target:
                for chunk in container.export():
                    target.write(chunk)
        finally:
            container.remove(v=True, force=True)
        return Digest.parse(image.id)
    except DockerException as error:
        raise HostError(f"docker: expected image {reference!r}, got {error}") from error
    finally:
        client.close()
