"""Programs that carry their C library inside: no loader reads anything for them."""

from __future__ import annotations

from typing import Literal

from minid.formats.elf import PT_INTERP, PT_LOAD, PT_NOTE, Elf, ElfDamaged, Source, parse_elf

Libc = Literal["gnu", "other"]

_MAX_NOTES = 1 << 16
# A note of "GNU" with 16 bytes of type 1, NT_GNU_ABI_TAG, of both byte orders: glibc's crt1.o has
# it, musl's has not.
_ABI_TAGS = tuple(
    b"".join(number.to_bytes(4, order) for number in (4, 16, 1)) + b"GNU\0"
    for order in ("little", "big")
)


def linked_libc(source: Source) -> Libc | None:
    """Which C library is linked into a static program; None for everything else."""
    try:
        elf = parse_elf(source)
    except ElfDamaged:
        return None
    if elf is None or not _is_static(elf):
        return None
    return "gnu" if _has_abi_tag(elf, source) else "other"


def _is_static(elf: Elf) -> bool:
    kinds = {segment.kind for segment in elf.segments}
    return elf.is_program and PT_LOAD in kinds and PT_INTERP not in kinds and not elf.needed


def _has_abi_tag(elf: Elf, source: Source) -> bool:
    notes = (
        bytes(source[item.offset : item.offset + min(item.file_size, _MAX_NOTES)])
        for item in elf.segments
        if item.kind == PT_NOTE
    )
    return any(tag in note for note in notes for tag in _ABI_TAGS)
