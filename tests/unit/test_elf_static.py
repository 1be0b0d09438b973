"""Programs that carry their C library inside."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from minid.formats.elf_static import linked_libc
from tests.support.require import require


@pytest.mark.parametrize("option", ["-static", "-static-pie"])
def test_glibc_is_told_by_its_note_also_when_stripped(tmp_path: Path, option: str) -> None:
    require("gcc")
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", option, "-s", "-o", "a", "a.c"], cwd=tmp_path, check=True)
    data = (tmp_path / "a").read_bytes()
    assert linked_libc(data) == "gnu"
    assert linked_libc(data.replace(b"GNU\0", b"XYZ\0")) == "other"


def test_what_has_a_loader_or_is_no_program_has_none(tmp_path: Path) -> None:
    require("gcc")
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    for options in (["-o", "a"], ["-c", "-o", "a"], ["-shared", "-fPIC", "-o", "a"]):
        subprocess.run(["gcc", *options, "a.c"], cwd=tmp_path, check=True)
        assert linked_libc((tmp_path / "a").read_bytes()) is None
    for data in (b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + b"\xff" * 100):
        assert linked_libc(data) is None
