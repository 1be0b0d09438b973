"""Archives that mean harm or are damaged, and harmless ones that look it: what must become of each.

They are unpacked into `target`; beside it lie the canaries of `tests.support.canary`.
"""

from __future__ import annotations

from tests.support.hostile_case import Case
from tests.support.hostile_fields import headers, names, numbers
from tests.support.hostile_streams import streams, structure
from tests.support.tar_bytes import (
    END,
    file,
    folder,
    hardlink,
    header,
    long,
    named,
    pax,
    record,
    symlink,
)


def all_cases() -> list[Case]:
    """The corpus, each name once."""
    groups = (escapes, kinds, numbers, headers, names, structure, streams)
    cases = [case for group in groups for case in group()]
    assert len({case.name for case in cases}) == len(cases)
    return cases


def escapes() -> list[Case]:
    """Ways out of the target."""
    out = b"../canary/secret"
    above = symlink(b"up", b"..")
    return [
        Case("dotdot", file(out) + END, r"without '\.\.'"),
        Case("dotdot inside", file(b"a/../../canary/secret") + END, r"without '\.\.'"),
        Case("dotdot at the end", folder(b"a/..") + END, r"without '\.\.'"),
        Case("dotdot with mode (CVE-2024-12718)", folder(b"..", 0o777) + END, r"without '\.\.'"),
        Case("absolute", file(b"/minid-escaped") + END, "relative name"),
        Case("absolute twice", file(b"//minid-escaped") + END, "relative name"),
        Case("absolute in pax", named(b"/minid-escaped") + END, "relative name"),
        Case("dotdot in pax", named(out) + END, r"without '\.\.'"),
        Case("dotdot in GNU long name", long("L", out) + file(b"x") + END, r"without '\.\.'"),
        Case("dotdot in prefix", file(b"canary/secret", prefix=b"..") + END, r"without '\.\.'"),
        Case("write through a symlink", above + file(b"up/canary/secret") + END, "link or a file"),
        Case(
            "write through an absolute symlink",
            symlink(b"root", b"/") + file(b"root/minid-escaped") + END,
            "link or a file",
        ),
        Case(
            "write through two symlinks",
            symlink(b"a", b".") + symlink(b"b", b"a/..") + file(b"b/canary/secret") + END,
            "link or a file",
        ),
        Case("folder through a symlink", above + folder(b"up/new") + END, "link or a file"),
        Case("symlink through a symlink", above + symlink(b"up/n", b"x") + END, "link or a file"),
        Case(
            "hard link through a symlink",
            file(b"f") + above + hardlink(b"up/new", b"f") + END,
            "link or a file",
        ),
        Case(
            "mode of a folder behind a symlink (CVE-2024-12718)",
            symlink(b"c", b"../canary") + folder(b"c", 0o777) + END,
            "nothing or a folder",
        ),
        Case(
            "mode of a folder behind a symlink with slash",
            symlink(b"c", b"../canary") + folder(b"c/", 0o777) + END,
            "nothing or a folder",
        ),
        Case(
            "symlink replaced by a file",
            symlink(b"f", b"../canary/secret") + file(b"f", b"mine") + END,
            holds={"f": b"mine"},
        ),
        Case(
            "dangling symlink replaced by a file",
            symlink(b"f", b"../canary/new") + file(b"f", b"mine") + END,
            holds={"f": b"mine"},
        ),
        Case("hard link outside", hardlink(b"f", out) + END, r"without '\.\.'"),
        Case("hard link absolute", hardlink(b"f", b"/etc/passwd") + END, "relative name"),
        Case(
            "hard link to a symlink, then write (CVE-2025-4330)",
            symlink(b"s", out) + hardlink(b"h", b"s") + file(b"h", b"pwned") + END,
            "regular file",
        ),
        Case(
            "hard link behind a symlink",
            above + hardlink(b"h", b"up/canary/secret") + END,
            "file of this archive",
        ),
        Case(
            "symlink that leaves after a symlink (CVE-2025-4138)",
            folder(b"x")
            + symlink(b"x/here", b".")
            + symlink(b"l", b"x/here/../..")
            + file(b"l/canary/secret", b"pwned")
            + END,
            "link or a file",
        ),
        Case("long chain of links (CVE-2025-4517)", _realpath_overflow(), "link or a file"),
        Case("device through a symlink", above + header(b"up/null", b"3") + END, "got a device"),
        Case(
            "symlinks of any text are kept",
            symlink(b"a", b"/etc/shadow") + symlink(b"b", b"../../x") + END,
            holds={"a": "-> /etc/shadow", "b": "-> ../../x"},
        ),
    ]


def _realpath_overflow() -> bytes:
    """Links whose expansion is longer than PATH_MAX, which `os.path.realpath` gave up on."""
    part = b"d" * 247
    members = b""
    path = b""
    for step in b"abcdefghijklmnop":
        name = bytes([step])
        members += pax(record(b"path", path + part)) + header(b"x", b"5")
        members += pax(record(b"path", path + name) + record(b"linkpath", part))
        members += header(b"x", b"2", link=b"x")
        path += name + b"/"
    # The first member below a link already ends it: the rest shows what was meant.
    members += pax(record(b"path", path + b"l" * 254)) + header(b"x", b"2", link=b"../" * 16)
    members += symlink(b"escape", path + b"l" * 254 + b"/../canary")
    return members + hardlink(b"flag", b"escape/secret") + file(b"flag", b"pwned") + END


def kinds() -> list[Case]:
    """Types of members, and one name used for two things."""
    refused = "expected a file, folder or link"
    sparse = pax(record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0"))
    return [
        Case("character device", header(b"n", b"3") + END, refused),
        Case("block device", header(b"n", b"4") + END, refused),
        Case("FIFO", header(b"n", b"6") + END, refused),
        Case("GNU sparse", header(b"n", b"S") + END, "sparse"),
        Case("pax sparse", sparse + file(b"n") + END, "sparse"),
        Case("star sparse", pax(record(b"SCHILY.realsize", b"9")) + file(b"n") + END, "sparse"),
        Case("multi-volume", header(b"n", b"M") + END, refused),
        Case("volume label", header(b"n", b"V") + END, refused),
        Case("dump directory", header(b"n", b"D") + END, refused),
        Case("Solaris extension", header(b"n", b"X") + END, refused),
        Case("unknown type", header(b"n", b"Z") + END, refused),
        Case("contiguous file", file(b"n", flag=b"7") + END, holds={"n": b"data"}),
        Case("V7 file", file(b"n", flag=b"\0", magic=bytes(8)) + END, holds={"n": b"data"}),
        Case(
            "V7 folder",
            header(b"n/", b"\0", magic=bytes(8)) + file(b"m") + END,
            holds={"n": "/"},
        ),
        Case("file, then folder", file(b"n") + folder(b"n") + END, "nothing or a folder"),
        Case("folder, then file", folder(b"n") + file(b"n") + END, "got a folder"),
        Case("folder, then symlink", folder(b"n") + symlink(b"n", b"x") + END, "got a folder"),
        Case(
            "folder, then hard link",
            file(b"f") + folder(b"n") + hardlink(b"n", b"f") + END,
            "got a folder",
        ),
        Case("file below a file", file(b"n") + file(b"n/m") + END, "link or a file"),
        Case(
            "file twice: the last counts",
            file(b"n", b"one") + file(b"n", b"two") + END,
            holds={"n": b"two"},
        ),
        Case(
            "symlink twice: the last counts",
            symlink(b"n", b"one") + symlink(b"n", b"two") + END,
            holds={"n": "-> two"},
        ),
        Case("folder twice", folder(b"n/") + file(b"m") + folder(b"n") + END, holds={"n": "/"}),
        Case(
            "folder after its file",
            file(b"n/m") + file(b"o") + folder(b"n", 0o500) + END,
            holds={"n": 0o700, "n/m": b"data"},
        ),
        Case(
            "a hard link is not written through",
            file(b"a", b"one") + hardlink(b"b", b"a") + file(b"b", b"two") + END,
            holds={"a": b"one", "b": b"two"},
        ),
        Case("hard link", file(b"a") + hardlink(b"b", b"./a") + END, holds={"b": b"data"}),
        Case("hard link twice", file(b"a") + hardlink(b"b", b"a") * 2 + END, holds={"b": b"data"}),
        Case("hard link to itself", file(b"a") + hardlink(b"a", b"a") + END, holds={"a": b"data"}),
        Case("hard link to nothing", hardlink(b"a", b"a") + END, "file of this archive"),
        Case("hard link forwards", hardlink(b"b", b"a") + file(b"a") + END, "file of this archive"),
        Case("hard link to a folder", folder(b"a") + hardlink(b"b", b"a") + END, "regular file"),
        Case("hard link to the root", hardlink(b"b", b"./") + END, "got the root"),
        Case("setuid", file(b"n", mode=0o6755) + END, holds={"n": 0o755}),
        Case("world-writable", file(b"n", mode=0o777) + END, holds={"n": 0o755}),
        Case("sticky folder", folder(b"n", 0o7777) + file(b"m") + END, holds={"n": 0o755}),
        Case(
            "locked folder",
            folder(b"n", 0) + file(b"n/m") + file(b"o") + END,
            holds={"n": 0o700, "n/m": b"data"},
        ),
    ]
