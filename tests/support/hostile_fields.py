"""Archives whose header fields, extended headers and names lie (see `hostile_archives`)."""

from __future__ import annotations

from tests.support.hostile_case import Case
from tests.support.tar_bytes import (
    END,
    base256,
    file,
    folder,
    header,
    long,
    named,
    octal,
    padded,
    pax,
    record,
    symlink,
)


def numbers() -> list[Case]:
    """Sizes, times and modes."""
    huge = r"at most \d+ bytes, got"
    octal_text = "octal number"
    return [
        Case("negative size", header(b"n", size=base256(-1)) + END, "0 or more, got -1"),
        Case("most negative size", header(b"n", size=b"\xff" + bytes(11)) + END, "0 or more"),
        Case("huge size", header(b"n", size=base256(1 << 62)) + END, huge),
        Case("all bits size", header(b"n", size=b"\xbf" + b"\xff" * 11) + END, huge),
        Case("largest octal size", header(b"n", size=b"7" * 11 + b"\0") + END, huge),
        Case("size in base 256", file(b"n", size=base256(4)) + END, holds={"n": b"data"}),
        Case("size with sign", header(b"n", size=b"-0000000004\0") + END, octal_text),
        Case("size with underscore", header(b"n", size=b"0_4\0") + END, octal_text),
        Case("size with prefix", header(b"n", size=b"0o4\0") + END, octal_text),
        Case("size with digits behind NUL", header(b"n", size=b"4\x0077777") + END, octal_text),
        Case("size in decimals", header(b"n", size=b"00000000009\0") + END, octal_text),
        Case("pax size negative", pax(record(b"size", b"-1")) + file(b"n") + END, "a number"),
        Case("pax size hex", pax(record(b"size", b"0x4")) + file(b"n") + END, "a number"),
        Case("pax size huge", pax(record(b"size", b"9" * 19)) + file(b"n") + END, huge),
        Case("pax size too long", pax(record(b"size", b"9" * 5000)) + file(b"n") + END, "a number"),
        Case(
            "pax size counts",
            pax(record(b"size", b"4")) + header(b"n", size=0) + padded(b"data") + END,
            holds={"n": b"data"},
        ),
        Case("negative time", file(b"n", mtime=base256(-5)) + END, holds={"n": b"data"}),
        Case("time past all dates", file(b"n", mtime=base256(1 << 60)) + END, holds={"n": b"data"}),
        Case("pax time", pax(record(b"mtime", b"12.5")) + file(b"n") + END, holds={"n": b"data"}),
        Case("pax time no number", pax(record(b"mtime", b"nan")) + file(b"n") + END, "a time"),
        Case("mode no number", header(b"n", mode=b"rwxr-xr\0") + END, octal_text),
        Case(
            "symlink with data",
            header(b"n", b"2", link=b"x", size=4) + padded(b"d") + END,
            "size 0",
        ),
        Case(
            "hard link with data",
            file(b"a") + header(b"n", b"1", link=b"a", size=4) + padded(b"d") + END,
            "size 0",
        ),
        Case("folder with data", header(b"n", b"5", size=512) + bytes(512) + END, "size 0"),
        Case("device with data", header(b"n", b"3", size=512) + bytes(512) + END, "size 0"),
    ]


def headers() -> list[Case]:
    """Header blocks and extended headers."""
    good = record(b"comment", b"x")
    path = pax(record(b"path", b"a"))
    return [
        Case("wrong checksum", header(b"n", checksum=octal(7, 8)) + END, "checksum"),
        Case("no checksum", header(b"n", checksum=bytes(8)) + END, "tar header"),
        Case("signed checksum", file(b"n\xc3\xa9", signed=True) + END, holds={"né": b"data"}),
        Case("text", b"#!/bin/sh\n" * 200, "tar header"),
        Case("web page", b"<!DOCTYPE html>".ljust(2048), "tar header"),
        Case("empty archive", END, "empty archive"),
        Case("empty file", b"", "empty file"),
        Case("pax record of length 0", pax(b"0 path=a\n") + file(b"n") + END, "LENGTH"),
        Case("pax record too long", pax(b"99 path=a\n") + file(b"n") + END, "LENGTH"),
        Case("pax record too short", pax(b"3 path=a\n") + file(b"n") + END, "LENGTH"),
        Case("pax record without end", pax(b"9 path=a ") + file(b"n") + END, "LENGTH"),
        Case("pax record without =", pax(b"9 path a\n") + file(b"n") + END, "a key and '='"),
        Case("pax record without key", pax(b"5 =a\n") + file(b"n") + END, "a key and '='"),
        Case("pax record of 5,000 digits", pax(b"9" * 5000) + file(b"n") + END, "LENGTH"),
        Case("pax key twice", pax(record(b"path", b"a") * 2) + file(b"n") + END, "each key once"),
        Case("pax path empty", pax(record(b"path", b"")) + file(b"n") + END, "a value"),
        Case("pax path with NUL", named(b"a\0b") + END, "NUL"),
        Case("pax header of 2 MB", pax(record(b"comment", b"x" * 2_000_000)) + END, "at most"),
        Case("GNU long name of 2 MB", long("L", b"x" * 2_000_000) + END, "at most"),
        Case("pax header of 8 EB", header(b"p", b"x", size=base256(1 << 62)) + END, "at most"),
        Case("pax and GNU name", long("L", b"b") + path + file(b"n") + END, "one long name"),
        Case("two pax headers", path + path + file(b"n") + END, "got two"),
        Case("two long names", long("L", b"b") * 2 + file(b"n") + END, "got two"),
        Case("two long links", long("K", b"b") * 2 + file(b"n") + END, "got two"),
        Case("pax header, then the end", path + END, "got the end"),
        Case("long name, then the end", long("L", b"b") + END, "got the end"),
        Case("global path", pax(record(b"path", b"a"), b"g") + file(b"n") + END, "global header"),
        Case("global size", pax(record(b"size", b"9"), b"g") + file(b"n") + END, "global header"),
        Case("global comment", pax(good, b"g") + file(b"n") + END, holds={"n": b"data"}),
        Case("global between", path + pax(good, b"g") + file(b"n") + END, "global header"),
    ]


def names() -> list[Case]:
    """Names and their lengths."""
    return [
        Case("name of 4 KB", named(b"a/" * 2048 + b"n") + END, "at most 2048 bytes"),
        Case("component of 300", named(b"n" * 300) + END, "components of at most 255"),
        Case("depth of 1,000", named(b"/".join([b"a"] * 1000)) + END, "depth of 100"),
        Case("depth of 100", named(b"a/" * 99 + b"n") + END, holds={"a/" * 98 + "n": b"data"}),
        Case("no UTF-8", file(b"n\xff\xfe") + END, holds={"n\udcff\udcfe": b"data"}),
        Case("control characters", file(b"n\n\x1b[2J") + END, holds={"n\n\x1b[2J": b"data"}),
        Case("empty name", file(b"") + END, "a name, got nothing"),
        Case("file named .", file(b"./") + END, "size 0"),
        Case("symlink as the root", symlink(b".", b"/") + END, "got the root"),
        Case("root with a mode", folder(b"./", 0o7777) + file(b"n") + END, holds={"n": b"data"}),
        Case("link text of 5,000", symlink(b"n", b"x" * 5000) + END, "link text"),
        Case("empty link text", header(b"n", b"2") + END, "link text"),
        Case(
            "link text with NUL",
            pax(record(b"linkpath", b"a\0b")) + header(b"n", b"2", link=b"x") + END,
            "link text",
        ),
        Case("quoting in messages", file(b"/\x1b[31m\n<script>") + END, r"\\x1b\[31m\\n<script>"),
    ]
