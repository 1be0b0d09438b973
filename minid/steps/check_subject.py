"""Where an image runs while it is checked: the two runners, and what a check may ask of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from minid.formats.digest import Digest
from minid.host.container import Container, ContainerSpec, ExecResult, LayerFile, ProgramState
from minid.host.container_settings import LogView, SeenProcess, StartSettings


@dataclass(frozen=True, slots=True)
class ImageToCheck:
    """An image that was built: `config` is the `config` part of its configuration JSON.

    Layers are (diff ID, uncompressed tar), lowest first. `version` fills `{version}` in the
    checks' texts.
    """

    name: str
    version: str
    config: Mapping[str, Any]
    layers: tuple[tuple[Digest, Path], ...]


class Subject(Protocol):
    """A place where one image can be started and asked; see `minid.host.container.Container`."""

    @property
    def address(self) -> str:
        """Where its services are reached."""

    def start(self, settings: StartSettings | None = None) -> None:
        """Start the image's own program in a fresh container."""

    def stop(self) -> None:
        """Send the image's stop signal to it."""

    def start_again(self) -> None:
        """Start the program, which has ended, anew in its container."""

    def read_log(self, stream: str, contains: str) -> LogView:
        """Look for a text in what it printed on `stdout`, `stderr` or ("") either."""

    def processes(self) -> tuple[SeenProcess, ...]:
        """What runs in its container."""

    def find_uid(self, user: str) -> int | None:
        """A user's number by the container's passwd."""

    def state(self) -> ProgramState:
        """Whether it runs."""

    def execute(self, argv: tuple[str, ...], *, contains: str, timeout_s: float) -> ExecResult:
        """Run a command beside it, or alone where it has ended."""

    def open_socket(self) -> socket.socket:
        """A TCP socket that can be connected to `address`."""

    def libraries(self) -> tuple[str, ...]:
        """What its processes have mapped as code."""

    def audit(self, seconds: float, argv: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Start it anew; what it looked for in vain."""


class Runner(Protocol):
    """Where images run for their checks."""

    @property
    def name(self) -> str:
        """The name that a report carries."""

    def open(self, image: ImageToCheck, cancel: Event | None) -> AbstractContextManager[Subject]:
        """A place for the image; leaving it removes every trace."""


@dataclass(frozen=True, slots=True)
class SandboxRunner:
    """Runs images in namespaces of their own, without an engine. `layers` is the layer cache."""

    layers: Path
    name: str = "sandbox"

    def open(self, image: ImageToCheck, cancel: Event | None) -> AbstractContextManager[Subject]:
        """A container made from the image's stored layers."""
        layers = tuple(LayerFile(diff_id, tar) for diff_id, tar in image.layers)
        return Container(ContainerSpec(image.config, layers), self.layers, cancel)


@dataclass(frozen=True, slots=True)
class DockerRunner:
    """Runs images in Docker Engine. `load` has the engine hold the image and gives its id there."""

    load: Callable[[ImageToCheck], str]
    name: str = "docker"

    def open(self, image: ImageToCheck, cancel: Event | None) -> AbstractContextManager[Subject]:
        """A container of the loaded image, on a network address of its own."""
        from minid.host.docker_container import DockerContainer

        return DockerContainer(self.load(image), cancel)
