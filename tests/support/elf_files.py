"""ELF files compiled by a test, and a root to look them up in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from minid.formats.digest import Digest
from minid.model import Content, Entry, Tree
from tests.support.require import require

# Everything an object needs is named by the test: no libc comes in unless it asks for one.
_BARE = ("-nostdlib", "-nostartfiles", "-Wl,--no-as-needed", "-Wl,--build-id=none")


class Root:
    """A folder that stands for a root file system."""

    def __init__(self, path: Path) -> None:
        require("gcc")
        self.path = path

    def write(self, image_path: str, data: bytes | str, mode: int = 0o644) -> Path:
        """A file of that content."""
        path = self.path / image_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)
        return path

    def link(self, image_path: str, target: str) -> None:
        """A symlink."""
        path = self.path / image_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def library(self, image_path: str, *flags: str, source: str = "", soname: str = "") -> str:
        """A shared object, without libc; `soname` empty: its file name."""
        name = soname or image_path.rpartition("/")[2]
        self._compile(image_path, source, "-shared", f"-Wl,-soname,{name}", *_BARE, *flags)
        return image_path

    def program(
        self,
        image_path: str,
        *flags: str,
        source: str = "void _start(void){}",
        interpreter: str = "/lib64/ld-linux-x86-64.so.2",
    ) -> str:
        """A position-independent program, without libc."""
        loader = f"-Wl,-dynamic-linker,{interpreter}"
        self._compile(image_path, source, "-pie", loader, *_BARE, *flags)
        return image_path

    def needs(self, *image_paths: str) -> tuple[str, ...]:
        """Linker flags that record the sonames of these libraries."""
        return tuple(str(self.path / path) for path in image_paths)

    def _compile(self, image_path: str, source: str, *flags: str) -> None:
        path = self.path / image_path
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                "gcc",
                "-x",
                "c",
                "-",
                "-x",
                "none",
                "-fPIC",
                "-o",
                str(path),
                *flags,
                "-Wl,--unresolved-symbols=ignore-all",
            ],
            input=source,
            text=True,
            check=True,
            capture_output=True,
        )

    def tree(self) -> Tree:
        """Everything below, as a tree with its contents inline."""
        entries = []
        for path in sorted(self.path.rglob("*"), key=lambda each: str(each).encode()):
            name = str(path.relative_to(self.path))
            if path.is_symlink():
                target = str(path.readlink())
                entries.append(Entry(name, "symlink", 0o777, 1000, target=target))
            elif path.is_dir():
                entries.append(Entry(name, "directory", 0o755, 1000))
            else:
                mode = path.stat().st_mode & 0o777
                content = Content.inline(path.read_bytes())
                entries.append(Entry(name, "file", mode, 1000, content=content))
        return Tree(tuple(entries))


def file_entry(image_path: str, data: bytes, mode: int = 0o644, mtime: int = 1000) -> Entry:
    """A file's entry."""
    return Entry(image_path, "file", mode, mtime, content=Content.inline(data))


def read_nothing(content: Content) -> bytes:
    """For trees whose contents are inline: nothing lies in a blob."""
    raise AssertionError(f"read of {Digest(content.digest.hex)}")
