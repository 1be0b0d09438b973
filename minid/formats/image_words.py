"""Reading the words in which people say what an image's configuration is to be.

Each function takes the text of one option and gives its value, or raises ValueError with what was
expected.
"""

from __future__ import annotations

import json
import re

from minid.formats.values import IMAGE_PATH_PATTERN, REFERENCE_PATTERN

SHELL = ("/bin/sh", "-c")
_LONGEST = 32768
_LAST_ID = (1 << 31) - 1  # engines refuse to start what runs as a larger one
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NO_WORD = re.compile(r"[\x00\ud800-\udfff]")  # what no argument of a program can have
_REFERENCE = re.compile(REFERENCE_PATTERN)
_SIGNALS = re.compile(
    r"HUP|INT|QUIT|ILL|TRAP|ABRT|BUS|FPE|KILL|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CHLD|CONT|STOP|"
    r"TSTP|TTIN|TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|PWR|SYS|"
    r"RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?"
)


def parse_command(text: str) -> tuple[str, ...]:
    """A command in exec form (a JSON array of strings) or in shell form, as in a Dockerfile.

    Shell form is run by `/bin/sh -c`. Empty text and an empty array are no command.
    """
    _expect(len(text) <= _LONGEST, "a command of at most 32 KiB", text)
    _expect(not _NO_WORD.search(text), "a command in UTF-8", text)
    stripped = text.strip()
    if not stripped.startswith("["):
        return (*SHELL, text) if stripped else ()
    try:
        words = json.loads(stripped)
    except (ValueError, RecursionError):
        words = None
    _expect(
        isinstance(words, list) and all(isinstance(word, str) for word in words),
        'a JSON array of strings such as ["nginx","-v"]',
        text,
    )
    _expect(not any(_NO_WORD.search(word) for word in words), "strings of UTF-8 text", text)
    return tuple(words)


def parse_variable(text: str) -> tuple[str, str]:
    """`NAME=VALUE` of the environment."""
    name, sign, value = text.partition("=")
    _expect(bool(sign) and bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)), "NAME=VALUE", text)
    return name, parse_text(value)


def parse_variable_name(text: str) -> str:
    """The name of a variable to be taken away, which another's image may spell as it likes."""
    _expect(bool(text) and "=" not in text, "the name of a variable", text)
    return parse_text(text)


def parse_label(text: str) -> tuple[str, str]:
    """`NAME=VALUE` of a label; a name alone has an empty value."""
    name, _, value = text.partition("=")
    return parse_label_name(name), parse_text(value)


def parse_label_name(text: str) -> str:
    """The name of a label. Those under `org.minid.` are minid's own record of what an image is."""
    fits = re.fullmatch(r"[A-Za-z0-9]+([._/-][A-Za-z0-9]+)*", text) and len(text) <= 128
    _expect(bool(fits) and not text.startswith("org.minid."), "a label outside org.minid.", text)
    return text


def parse_port(text: str) -> str:
    """`80` or `80/udp` → `80/tcp`, `80/udp`."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})(?:/(tcp|udp|sctp))?", text)
    _expect(found is not None and int(found[1]) <= 65535, "a port such as 80 or 53/udp", text)
    assert found is not None
    return f"{found[1]}/{found[2] or 'tcp'}"


def parse_path(text: str) -> str:
    """An absolute path inside the image."""
    _expect(text == "/" or bool(re.fullmatch(IMAGE_PATH_PATTERN, text)), "an absolute path", text)
    _expect(not _NO_WORD.search(text), "a path in UTF-8", text)
    return text


def parse_folder(text: str) -> str:
    """An absolute path inside the image, or empty."""
    return parse_path(text) if text else ""


def parse_user(text: str) -> str:
    """`USER` or `USER:GROUP`, each a name or a number; empty for root."""
    part = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
    fits = not text or re.fullmatch(rf"{part}(:{part})?", text)
    _expect(bool(fits) and len(text) <= 256, "USER or USER:GROUP, names or numbers", text)
    numbers = [int(word) for word in text.split(":") if word.isdigit()]
    _expect(max(numbers, default=0) <= _LAST_ID, f"ids of at most {_LAST_ID}", text)
    return text


def parse_signal(text: str) -> str:
    """A signal by name or number, as Docker takes it: `SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`."""
    name = text.upper()
    if re.fullmatch(r"[1-9][0-9]?", name) and int(name) <= 64:
        return name
    bare = name.removeprefix("SIG")
    _expect(not text or bool(_SIGNALS.fullmatch(bare)), "a signal such as SIGQUIT", text)
    return f"SIG{bare}" if text else ""


def parse_text(text: str) -> str:
    """A value: any text without control characters besides tab and line feed."""
    _expect(len(text) <= _LONGEST and not _CONTROLS.search(text), "text without controls", text)
    return text


def parse_line(text: str) -> str:
    """A text on one line, such as a comment."""
    _expect("\n" not in text and len(text) <= 1000, "a text on one line of at most 1000", text)
    return parse_text(text)


def parse_reference(text: str) -> str:
    """`REPOSITORY:TAG`; without a tag, `latest`."""
    named = text if ":" in text.rpartition("/")[2] else f"{text}:latest"
    _expect(bool(_REFERENCE.fullmatch(named)) and len(named) <= 255, "REPOSITORY:TAG", text)
    return named


def _expect(holds: bool, what: str, text: str) -> None:
    if not holds:
        shown = text if len(text) <= 60 else text[:59] + "…"
        raise ValueError(f"expected {what}, got {shown!r}")
