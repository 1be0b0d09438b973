"""The system calls that a probe looks at, by machine: which number, and which argument is what.

Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
"""

from __future__ import annotations

from dataclasses import dataclass

O_CREAT, O_DIRECTORY = 0o100, 0o200000
"""O_CREAT is the same on both machines; O_DIRECTORY is x86's, `directory_flag` tells the other."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A call's name and the numbers of its arguments: `folder` and `path` name a file, `flags`
    are open's, `address` is a socket address, followed by its length. -1: it has none."""

    name: str
    folder: int = -1
    path: int = -1
    flags: int = -1
    address: int = -1


_AT = {  # with a folder first
    "openat": Shape("open", 0, 1, 2),
    "openat2": Shape("openat2", 0, 1),
    "newfstatat": Shape("stat", 0, 1),
    "statx": Shape("stat", 0, 1),
    "faccessat": Shape("access", 0, 1),
    "faccessat2": Shape("access", 0, 1),
    "readlinkat": Shape("readlink", 0, 1),
    "mkdirat": Shape("mkdir", 0, 1),
    "mknodat": Shape("mknod", 0, 1),
    "symlinkat": Shape("symlink", 1, 2),
    "linkat": Shape("link", 2, 3),
    "renameat": Shape("rename", 2, 3),
    "renameat2": Shape("rename", 2, 3),
    "fchownat": Shape("chown", 0, 1),
    "fchmodat": Shape("chmod", 0, 1),
    "execveat": Shape("exec", 0, 1),
}
_PLAIN = {
    "open": Shape("open", path=0, flags=1),
    "creat": Shape("creat", path=0),
    "stat": Shape("stat", path=0),
    "lstat": Shape("stat", path=0),
    "access": Shape("access", path=0),
    "readlink": Shape("readlink", path=0),
    "mkdir": Shape("mkdir", path=0),
    "mknod": Shape("mknod", path=0),
    "symlink": Shape("symlink", path=1),
    "link": Shape("link", path=1),
    "rename": Shape("rename", path=1),
    "chown": Shape("chown", path=0),
    "lchown": Shape("chown", path=0),
    "chmod": Shape("chmod", path=0),
    "execve": Shape("exec", path=0),
    "chdir": Shape("chdir", path=0),
    "chroot": Shape("chroot", path=0),
    "statfs": Shape("statfs", path=0),
    "truncate": Shape("truncate", path=0),
    "connect": Shape("connect", address=1),
    "bind": Shape("bind", address=1),
    "setuid": Shape("setuid"),
    "setgid": Shape("setgid"),
    "setgroups": Shape("setgroups"),
    "setresuid": Shape("setresuid"),
    "setresgid": Shape("setresgid"),
    "setsid": Shape("setsid"),
}
_NUMBERS = {
    "x86_64": "open 2 stat 4 lstat 6 access 21 connect 42 bind 49 execve 59 truncate 76 chdir 80 "
    "rename 82 mkdir 83 creat 85 link 86 symlink 88 readlink 89 chmod 90 chown 92 lchown 94 "
    "setuid 105 setgid 106 setsid 112 setgroups 116 setresuid 117 setresgid 119 mknod 133 "
    "statfs 137 chroot 161 openat 257 mkdirat 258 mknodat 259 fchownat 260 newfstatat 262 "
    "renameat 264 linkat 265 symlinkat 266 readlinkat 267 fchmodat 268 faccessat 269 "
    "renameat2 316 execveat 322 statx 332 openat2 437 faccessat2 439",
    "aarch64": "mknodat 33 mkdirat 34 symlinkat 36 linkat 37 renameat 38 statfs 43 truncate 45 "
    "faccessat 48 chdir 49 chroot 51 fchmodat 53 fchownat 54 openat 56 readlinkat 78 "
    "newfstatat 79 setgid 144 setuid 146 setresuid 147 setresgid 149 setsid 157 setgroups 159 "
    "bind 200 connect 203 execve 221 renameat2 276 execveat 281 statx 291 openat2 437 "
    "faccessat2 439",
}


def watched_calls(machine: str) -> dict[int, Shape]:
    """Number → shape; empty for a machine that is not known."""
    words = _NUMBERS.get(machine, "").split()
    shapes = _PLAIN | _AT
    return {int(number): shapes[name] for name, number in zip(words[::2], words[1::2], strict=True)}


def directory_flag(machine: str) -> int:
    """O_DIRECTORY of open(2)."""
    return 0o40000 if machine == "aarch64" else O_DIRECTORY
