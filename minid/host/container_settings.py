"""How one container of an image is started, and what is seen in it.

Shared by the runners; the settings travel to a container's keeper as JSON.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file to lay into the container. `owner` is a name of its passwd, or a number."""

    image_path: str
    data: bytes
    mode: int = 0o644
    owner: str = "root"


@dataclass(frozen=True, slots=True)
class StartSettings:
    """What a container gets besides the image's settings. `cmd` None: the image's own Cmd."""

    env: tuple[tuple[str, str], ...] = ()
    cmd: tuple[str, ...] | None = None
    files: tuple[PlacedFile, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For the keeper: the files' bytes as base64."""
        return {
            "env": [f"{name}={text}" for name, text in self.env],
            "cmd": None if self.cmd is None else list(self.cmd),
            "files": [
                {
                    "path": file.image_path,
                    "data": base64.b64encode(file.data).decode(),
                    "mode": file.mode,
                    "owner": file.owner,
                }
                for file in self.files
            ],
        }


@dataclass(frozen=True, slots=True)
class SeenProcess:
    """A process of a container: its pid, the names it goes by, its real user id, and that user's
    name by the container's passwd, or empty."""

    pid: int
    names: tuple[str, ...]
    uid: int
    user: str = ""


@dataclass(frozen=True, slots=True)
class LogView:
    """What was looked for in a program's output, and its last lines."""

    found: bool
    tail: tuple[str, ...]


def process_names(comm: str, first_argument: str) -> tuple[str, ...]:
    """The names a process goes by: the kernel's, of at most 15 bytes, and that of its command line,
    which programs rewrite to `nginx: master process`."""
    words = first_argument.split()
    word = words[0].rstrip(":") if words else ""
    return tuple(dict.fromkeys(name for name in (comm, word.rpartition("/")[2]) if name))
