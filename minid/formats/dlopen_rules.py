"""What programs load without naming it in an ELF header: notes, symbols that imply a module.

Pure rules from what an object imports to what should be there for it, each with its reason. A
rule that costs little and whose absence breaks the program ships the file; the others warn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from minid.formats.elf_parts import DlopenNote

Absent = Literal["missing", "warn"]

DEFAULT_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"

# Functions of libc that ask a database of nsswitch.conf, by the database.
_NSS_FUNCTIONS = {
    "passwd": "getpwnam getpwnam_r getpwuid getpwuid_r getpwent getpwent_r setpwent",
    "group": "getgrnam getgrnam_r getgrgid getgrgid_r getgrent getgrent_r setgrent "
    "initgroups getgrouplist",
    "shadow": "getspnam getspnam_r getspent",
    "hosts": "getaddrinfo getnameinfo gethostbyname gethostbyname_r gethostbyname2 "
    "gethostbyname2_r gethostbyaddr gethostbyaddr_r gethostent getaddrinfo_a",
    "services": "getservbyname getservbyname_r getservbyport getservbyport_r getservent",
    "protocols": "getprotobyname getprotobyname_r getprotobynumber getprotobynumber_r",
    "networks": "getnetbyname getnetbyaddr",
    "rpc": "getrpcbyname getrpcbynumber",
    "ethers": "ether_hostton ether_ntohost",
    "netgroup": "innetgr setnetgrent",
}
_DATABASE_OF = {name: base for base, names in _NSS_FUNCTIONS.items() for name in names.split()}
_UNWINDING = frozenset({"pthread_cancel", "pthread_exit"})
_BUILT_IN_SINCE = 34  # nss_files and nss_dns are part of libc.so.6 since glibc 2.34
_BUILT_IN = frozenset({"files", "dns"})
_GLIBC_PARTS = (
    "libc.so.",
    "libpthread.so.",
    "libm.so.",
    "libdl.so.",
    "librt.so.",
    "libutil.so.",
    "libanl.so.",
    "libresolv.so.",
    "libnss_",
    "libthread_db.so.",
    "ld-linux",
    "ld64.so.",
)


@dataclass(frozen=True, slots=True)
class Want:
    """One module to look for: the first of `names` that is found. `via` is what wants it.

    `caller` is the object whose search path counts: libc, where libc itself does the loading.
    """

    names: tuple[str, ...]
    how: Literal["dlopen-note", "symbol-rule"]
    via: str
    caller: str
    detail: str
    absent: Absent = "warn"


def is_glibc_part(soname: str | None) -> bool:
    """Whether an object belongs to glibc itself: its own imports fire no rule."""
    return soname is not None and soname.startswith(_GLIBC_PARTS)


@lru_cache(maxsize=64)
def glibc_minor(defines_versions: tuple[str, ...]) -> int | None:
    """The release of a libc.so.6 by the versions that it defines: 36 for GLIBC_2.36."""
    numbers = [
        int(version.removeprefix("GLIBC_2.").partition(".")[0])
        for version in defines_versions
        if version.startswith("GLIBC_2.") and version[8:9].isascii() and version[8:9].isdigit()
    ]
    return max(numbers, default=None)


def parse_nsswitch(text: str) -> dict[str, tuple[str, ...]]:
    """The services of each database, without the `[actions]` between them."""
    found: dict[str, tuple[str, ...]] = {}
    for raw in text.splitlines():
        database, colon, rest = raw.partition("#")[0].partition(":")
        if not colon:
            continue
        services: list[str] = []
        in_action = False
        for word in rest.replace("[", " [ ").replace("]", " ] ").split():
            if word in "[]":
                in_action = word == "["
            elif not in_action:
                services.append(word)
        found[database.strip()] = tuple(services)
    return found


def note_wants(image_path: str, notes: tuple[DlopenNote, ...]) -> Iterator[Want]:
    """What an object's own dlopen notes ask for, without what they only suggest."""
    for note in notes:
        if note.priority != "suggested":
            detail = f"{note.priority}{f' for {note.feature}' if note.feature else ''}"
            absent: Absent = "missing" if note.priority == "required" else "warn"
            yield Want(note.sonames, "dlopen-note", image_path, image_path, detail, absent)


def nss_wants(
    image_path: str,
    imports: frozenset[str],
    libc: str,
    minor: int,
    nsswitch: dict[str, tuple[str, ...]],
) -> Iterator[Want]:
    """The modules of glibc's name service switch that an object's calls lead to."""
    for function in sorted(imports & _DATABASE_OF.keys()):
        database = _DATABASE_OF[function]
        usual = ("files", "dns") if database == "hosts" else ("files",)
        for service in nsswitch.get(database, usual):
            if service in _BUILT_IN and minor >= _BUILT_IN_SINCE:
                continue
            detail = f"{function} reads {database}, for which nsswitch.conf names {service!r}"
            yield Want((f"libnss_{service}.so.2",), "symbol-rule", image_path, libc, detail)


def unwind_wants(image_path: str, imports: frozenset[str], caller: str) -> Iterator[Want]:
    """glibc loads libgcc_s when a thread ends early, and aborts the process without it."""
    for function in sorted(imports & _UNWINDING):
        detail = f"{function} unwinds the stack with it"
        yield Want(("libgcc_s.so.1",), "symbol-rule", image_path, caller, detail)
