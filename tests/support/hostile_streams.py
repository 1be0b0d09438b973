"""Archives that begin, end or are compressed in ways that mean harm (see `hostile_archives`)."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable

import zstandard

from tests.support.hostile_case import Case
from tests.support.tar_bytes import END, file, folder, header, symlink


def structure() -> list[Case]:
    """Beginnings, ends and top folders."""
    whole = file(b"top/n")
    return [
        Case("cut in a header", whole + header(b"m")[:200], "cut short"),
        Case("cut in a file", header(b"n", size=5000) + b"data", "cut short"),
        Case("cut in the padding", header(b"n", size=4) + b"data", "cut short"),
        Case("cut in a pax header", header(b"p", b"x", size=5000) + b"9 path=a\n", "cut short"),
        Case("no end", whole, "cut short"),
        Case("half an end", whole + bytes(512), "cut short"),
        Case("one block of zeros", whole + bytes(512) + file(b"m") + END, "two blocks of zeros"),
        Case("garbage behind the end", whole + END + b"garbage", "only zeros"),
        Case("members behind the end", whole + END + file(b"m") + END, "only zeros"),
        Case("zeros behind the end", whole + END + bytes(9000), holds={"n": b"data"}),
        Case(
            "two top folders",
            whole + file(b"pot/n") + END,
            holds={"top/n": b"data", "pot/n": b"data"},
        ),
        Case("no top folder", file(b"n") + END, holds={"n": b"data"}),
        Case("top folder and ./", folder(b"./") + file(b"./top/n") + END, holds={"n": b"data"}),
        Case("top folder in itself", file(b"top/top/n") + END, holds={"top/n": b"data"}),
        Case("top is a symlink", symlink(b"top", b"..") + END, holds={"top": "-> .."}),
        Case("empty top folder", folder(b"top") + END),
        Case(
            "top folder that holds its way out",
            symlink(b"top/.top", b"..") + symlink(b"top/.top_", b"..") + END,
            holds={".top": "-> ..", ".top_": "-> .."},
        ),
    ]


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
}


def streams() -> list[Case]:
    """Compressed streams that are damaged, and foreign archives."""
    cases = [
        Case("zip", b"PK\x03\x04".ljust(600), "zip archive"),
        Case("7z", b"7z\xbc\xaf\x27\x1c".ljust(600), "7z archive"),
        Case("rar", b"Rar!\x1a\x07".ljust(600), "rar archive"),
        Case("cpio", b"070701".ljust(600, b"0"), "cpio archive"),
        Case("xz that wants 4 GiB of memory", _greedy_xz(), "sound xz stream"),
        Case("zstd that wants a window of 1 GiB", _greedy_zstd(), "sound zstd stream"),
        Case(
            "gzip, then zeros", gzip.compress(file(b"n") + END) + bytes(999), holds={"n": b"data"}
        ),
        Case("xz, then zeros", lzma.compress(file(b"n") + END) + bytes(8), holds={"n": b"data"}),
        Case(
            "zstd skippable frame",
            _zstd(file(b"n") + END) + b"\x50\x2a\x4d\x18\x04\0\0\0skip",
            holds={"n": b"data"},
        ),
    ]
    for kind, compress in COMPRESSORS.items():
        tar = file(b"n", bytes(range(256)) * 300) + END
        packed = compress(tar)
        flipped = bytearray(packed)
        flipped[len(packed) // 2] ^= 0x10
        cases += [
            Case(f"{kind} whole", packed, holds={"n": bytes(range(256)) * 300}),
            Case(f"{kind} cut", packed[:-3], "sound|cut short"),
            Case(f"{kind} cut in half", packed[: len(packed) // 2], "sound|cut short"),
            Case(f"{kind} magic only", packed[:6], "sound|cut short"),
            Case(f"{kind} flipped bit", bytes(flipped), "sound|checksum|tar header|expected"),
            Case(f"{kind} then garbage", packed + b"garbage!", "expected nothing behind"),
            Case(f"{kind} then a short byte", packed + b"g", "expected nothing behind"),
            Case(f"{kind} then another format", packed + b"PK\x03\x04" * 9, "nothing behind"),
            Case(f"{kind} then tar", packed + tar, "expected nothing behind"),
            Case(f"{kind} then hidden members", packed + compress(tar), "only zeros"),
            Case(
                f"{kind} in two streams",
                compress(tar[:700]) + compress(tar[700:]),
                holds={"n": bytes(range(256)) * 300},
            ),
            Case(f"{kind} of {kind}", compress(packed), "tar header|cut short"),
        ]
    return cases


def _greedy_xz() -> bytes:
    """A sound stream whose block header asks for the largest dictionary (xz format, 5.3.1)."""
    packed = bytearray(lzma.compress(file(b"n") + END, check=lzma.CHECK_CRC32))
    size = (packed[12] + 1) * 4
    packed[12 + 4] = 40
    packed[12 + size - 4 : 12 + size] = zlib.crc32(packed[12 : 12 + size - 4]).to_bytes(4, "little")
    return bytes(packed)


def _greedy_zstd() -> bytes:
    """A frame with a window descriptor of 2^30 bytes and one raw block (RFC 8878, 3.1.1)."""
    data = file(b"n") + END
    block = (len(data) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([20 << 3]) + block + data
