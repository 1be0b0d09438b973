"""What the bytes of one file tell to lints, each file for itself; nothing is run.

Facts depend on the bytes (and the host name that is looked for) alone, so that they are kept for a
layer and hold for every image that has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from minid.formats.elf import Elf, parse_elf
from minid.formats.elf_parts import has_symbol_table
from minid.formats.elf_reading import ElfDamaged, Source

_WINDOW = 8 << 20
_OVERLAP = 4096
_MAX_SCAN = 4 << 30  # of one file
_SHOWN = 3
_HEAD = 256
_LONGEST = 160
_MAX_TRIES = 10_000  # of one needle in one window
_BEFORE, _BEHIND = 64, 2048

# Where the sandbox has the source, the install tree and what a recipe needs.
_BUILD_PATH = re.compile(
    rb"(?:(?<![\w.\-])|(?<=-[ILR]))/build/(?:src|out|sysroot|patches)(?![\w.\-])[!-~]{0,100}"
)
BUILD_FOLDER = re.compile(r"/build(?:/|$)")
# As OpenSSL's library says of itself (crypto/cversion.c).
_OPENSSL = re.compile(rb'OPENSSLDIR: "(/[!#-~]{0,200})"')
# PEM (RFC 7468) and OpenSSH's: a line that begins a key, and the key.
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\r?\n|\\n)"
    rb"(?:[A-Za-z-]{1,30}: [^\n]{0,200}\n|\r?\n){0,8}[A-Za-z0-9+/=]{32}"
)
# Formats of tokens, as those who give them out document them; by what to look for first.
_TOKENS: tuple[tuple[bytes, re.Pattern[bytes], str], ...] = (
    (b"PRIVATE KEY", _PRIVATE_KEY, "a private key"),
    (b"AKIA", re.compile(rb"(?<![A-Z0-9])AKIA(?![A-Z0-9]{9}EXAMPLE)[A-Z0-9]{16}(?![A-Z0-9])"),
     "an access key of AWS"),
    (b"ghp_", re.compile(rb"ghp_[A-Za-z0-9]{36}"), "a token of GitHub"),
    (b"gho_", re.compile(rb"gho_[A-Za-z0-9]{36}"), "a token of GitHub"),
    (b"ghs_", re.compile(rb"ghs_[A-Za-z0-9]{36}"), "a token of GitHub"),
    (b"github_pat_", re.compile(rb"github_pat_[A-Za-z0-9_]{40,}"), "a token of GitHub"),
    (b"glpat-", re.compile(rb"glpat-[A-Za-z0-9_-]{20}"), "a token of GitLab"),
    (b"xoxb-", re.compile(rb"xoxb-[0-9A-Za-z-]{20,}"), "a token of Slack"),
    (b"xoxp-", re.compile(rb"xoxp-[0-9A-Za-z-]{20,}"), "a token of Slack"),
    (b"k_live_", re.compile(rb"[rs]k_live_[0-9A-Za-z]{24,}"), "a key of Stripe"),
    (b"AIza", re.compile(rb"AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"), "a key of Google"),
    (b"npm_", re.compile(rb"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
     "a token of npm"),
    (b"_authToken=", re.compile(rb"_authToken=[A-Za-z0-9_-]{20,}"), "a token of npm"),
    (b"pypi-AgEIcHlwaS5vcmc", re.compile(rb"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{40,}"),
     "a token of PyPI"),
)  # fmt: skip
# Names that are words of every system: programs have them for other reasons.
_COMMON_NAMES = frozenset(
    {"localhost", "localdomain", "raspberrypi", "container", "computer", "workstation", "hostname"}
)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What lints want to know of one file. `script` is the text behind `#!`, `rpath` what RPATH
    and RUNPATH say together; the lists have the first few of what was found."""

    elf: bool = False
    unstripped: bool = False
    interpreter: str = ""
    rpath: str = ""
    script: str = ""
    build_paths: tuple[str, ...] = ()
    host_names: int = 0
    openssl: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The facts that differ from those of an empty file, as JSON values."""
        return {name: value for name, value in asdict(self).items() if value}


def parse_facts(value: Mapping[str, object]) -> FileFacts:
    """Read what `FileFacts.as_json` gave."""
    lists = {name: tuple(each) for name, each in value.items() if isinstance(each, list)}
    return FileFacts(**{**value, **lists})  # type: ignore[arg-type]


def usable_host_name(name: str) -> bytes:
    """What to look for of a machine's name: its first label, or nothing where that is short or
    common enough to be in programs by itself."""
    label = name.partition(".")[0]
    tells = len(label) >= 10 or (len(label) >= 5 and re.search(r"[0-9-]", label))
    plain = re.fullmatch(r"[A-Za-z0-9-]+", label)
    if not tells or not plain or label.lower() in _COMMON_NAMES:
        return b""
    return label.encode()


def read_facts(source: Source, host_name: bytes = b"") -> FileFacts:
    """The facts of a file. `host_name` is of `usable_host_name`. Hostile bytes give fewer facts."""
    elf = _read_elf(source)
    head = bytes(source[0:_HEAD])
    script = head[2:].partition(b"\n")[0] if head.startswith(b"#!") else b""
    # Libraries of cryptography have keys in them to test themselves with.
    found = _Search(host_name, secrets=elf is None)
    for window in _windows(source):
        found.look(window)
    return FileFacts(
        elf=elf is not None,
        unstripped=elf is not None and elf.is_loadable and has_symbol_table(elf, source),
        interpreter=(elf.interpreter or "") if elf else "",
        rpath=":".join(part for part in (elf.rpath, elf.runpath) if part) if elf else "",
        script=script.decode("utf-8", "replace").strip(),
        build_paths=tuple(found.build_paths)[:_SHOWN],
        host_names=found.host_names,
        openssl=tuple(found.openssl)[:_SHOWN],
        secrets=tuple(found.secrets),
    )


def _read_elf(source: Source) -> Elf | None:
    try:
        return parse_elf(source)
    except ElfDamaged:
        return None


def _windows(source: Source) -> Iterator[bytes]:
    """The file in pieces that overlap, so that nothing short is cut in two."""
    size = min(len(source), _MAX_SCAN)
    for start in range(0, size, _WINDOW):
        yield bytes(source[max(0, start - _OVERLAP) : min(size, start + _WINDOW)])


class _Search:
    """What was found in one file so far, each once."""

    def __init__(self, host_name: bytes, *, secrets: bool) -> None:
        self.build_paths: dict[str, None] = {}
        self.openssl: dict[str, None] = {}
        self.secrets: dict[str, None] = {}
        self.host_names = 0
        self._tokens = _TOKENS if secrets else ()
        self._host_name = host_name
        edge = rb"(?<![A-Za-z0-9_-])" + re.escape(host_name) + rb"(?![A-Za-z0-9_-])"
        self._host = re.compile(edge) if host_name else None

    def look(self, window: bytes) -> None:
        """Search a piece."""
        if len(self.build_paths) < _SHOWN:
            for text in _matches(window, b"/build/", _BUILD_PATH):
                self.build_paths[text[:_LONGEST].decode("ascii")] = None
                if len(self.build_paths) >= _SHOWN:
                    break
        for text in _matches(window, b"OPENSSLDIR: ", _OPENSSL):
            self.openssl[text[13:-1].decode("ascii")] = None
        for needle, pattern, what in self._tokens:
            if what not in self.secrets and any(_matches(window, needle, pattern)):
                self.secrets[what] = None
        if self._host is not None:
            self.host_names += sum(1 for _ in _matches(window, self._host_name, self._host))


def _matches(window: bytes, needle: bytes, pattern: re.Pattern[bytes]) -> Iterator[bytes]:
    """The matches of a pattern that hold `needle`. Only around it the pattern is tried: a plain
    search is fifty times as fast."""
    at = -1
    for _ in range(_MAX_TRIES):
        at = window.find(needle, at + 1)
        if at < 0:
            return
        start = max(0, at - _BEFORE)
        for match in pattern.finditer(window, start, at + _BEHIND):
            if match.start() <= at < match.end():
                yield match[0]
                break
