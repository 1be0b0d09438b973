"""Names of images in registries: `registry.example:5000/team/nginx:1.26.3@sha256:…`.

Grammar of the OCI Distribution Specification 1.1 and of Docker's references; Docker Hub's short
names are no names here, but `docker.io/…` is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from minid.formats.digest import Digest

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST = 255
HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class RegistryName:
    """A repository of a registry, with a tag, a digest, both or none. `registry` is as written."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def host(self) -> str:
        """`HOST` or `HOST:PORT` to connect to."""
        return _HUB_HOST if self.registry == HUB else self.registry

    @property
    def reference(self) -> str:
        """What a manifest is asked for by: the digest, else the tag, else `latest`."""
        return str(self.digest) if self.digest else self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (
            f"@{self.digest}" if self.digest else ""
        )


def has_registry(name: str) -> bool:
    """Whether the name of an image begins with a registry's: `registry.example/base:1`."""
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def parse_registry_name(text: str) -> RegistryName:
    """Read `REGISTRY/REPOSITORY[:TAG][@DIGEST]`; ValueError for anything else."""
    name, at, digest = text.partition("@")
    registry, _, rest = name.partition("/")
    path, colon, tag = rest.partition(":")
    if not (has_registry(name) and _HOST.fullmatch(registry)):
        raise ValueError(f"expected REGISTRY/REPOSITORY[:TAG], got {text[:100]!r}")
    if registry == HUB and "/" not in path:
        path = f"library/{path}"
    if not _REPOSITORY.fullmatch(path) or len(path) > _LONGEST:
        raise ValueError(f"expected a repository in lower case, got {path[:100]!r}")
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(f"expected a tag, got {tag[:100]!r}")
    return RegistryName(registry, path, tag, Digest.parse(digest) if at else None)
