"""The `[[check]]` tables: the script of an image's smoke test, declared key by key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from minid import recipe
from minid.formats.table import Array, Either, Key, Pairs, Scalar, Table, array_of, one_of
from minid.formats.values import (
    BOOLEAN,
    DURATION,
    IMAGE_PATH,
    MODE,
    PORT,
    STRING,
    STRINGS,
    choice,
    integer,
    text,
)
from minid.recipe_values import ARGUMENTS, ENV, HEADERS, HTTP_PATH, OWNER, make_env

# The kinds in the order of their keys; those whose answer has a text to look for.
KINDS = ("http", "tcp", "exec", "start", "restart", "stop", "process", "log", "fastcgi")
_ANSWERING = ("http", "tcp", "exec", "log", "fastcgi")
HTTP_PORT, HTTPS_PORT, FASTCGI_PORT = 80, 443, 9000


def _check_fits_kind(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    kind = next(kind for kind in KINDS if kind in table) if _kinds_of(table) else ""
    if "exit_code" in table and kind != "exec":
        yield "exit_code", 'no such key without "exec"', "one"
    inner = table.get(kind)
    if "contains" in table and kind not in _ANSWERING:
        yield "contains", f"no such key beside {kind}", "one"
    elif "contains" in table and isinstance(inner, dict) and "contains" in inner:
        yield "contains", f"either contains or {kind}.contains", "both"
    elif kind == "log" and not (table.get("contains") or table["log"].get("contains")):
        yield "log", "a text to look for as contains", "none"  # it would be found in any log


def _kinds_of(table: Mapping[str, Any]) -> list[str]:
    return [kind for kind in KINDS if kind in table]


def _paths_once(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    paths = [item["path"] for item in table.get("files", ())]
    certificate = table.get("certificate", {})
    paths += [certificate[key] for key in ("cert", "key") if key in certificate]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield "", "each path once", f'"{path}" again'


def _parse_true(value: bool) -> bool:
    if not value:
        raise ValueError(value)
    return value


CONTAINS = Key("contains", STRING, "A text that the answer must contain; placeholders work.", '""')
CERTIFICATE = Table(
    (
        Key("cert", IMAGE_PATH, "Where the certificate is laid, as PEM.", required=True),
        Key("key", IMAGE_PATH, "Where its key is laid, with mode 0600.", required=True),
        Key(
            "names",
            Array(
                text("a DNS name or an IPv4 address", r"(\*\.)?[A-Za-z0-9._-]+", longest=250),
                "an array of names",
                minimum=1,
            ),
            "The names that it is for.",
            '["localhost"]',
        ),
        Key("owner", OWNER, "Who owns both.", '"root"'),
    ),
    recipe.Certificate,
)
START_FILE = Table(
    (
        Key("path", IMAGE_PATH, "Where it is; parents are made as well.", required=True),
        Key("content", STRING, "Its text; placeholders are filled in.", required=True),
        Key("owner", OWNER, "The owning user.", '"root"'),
        Key("mode", MODE, "Its mode in octal.", '"0644"'),
    ),
    recipe.StartFile,
)


def _make_start(**values: Any) -> recipe.Start:  # noqa: ANN401
    if "env" in values:
        values["env"] = make_env(values["env"])
    return recipe.Start(**values)


START = Table(
    (
        Key("env", ENV, "Added to the image's; placeholders are filled in.", "{}"),
        Key("cmd", STRINGS, "Instead of the image's `cmd`.", "as the image has it"),
        Key("files", array_of(START_FILE, "tables"), "Files to lay into the container.", "[]"),
        Key("certificate", CERTIFICATE, "A self-signed certificate, made for this container."),
    ),
    _make_start,
    (_paths_once,),
)
HTTP = Table(
    (
        Key("port", PORT, "The port to ask.", "80, or 443 with tls"),
        Key("path", HTTP_PATH, "What to ask for.", '"/"'),
        Key("status", integer(100, 599), "The status it must answer with.", "200"),
        CONTAINS,
        Key("headers", HEADERS, "Headers to send.", "{}"),
        Key("tls", BOOLEAN, "Whether to ask by HTTPS; any certificate is taken.", "false"),
    )
)
TCP = Table(
    (
        Key("port", PORT, "The port to connect to.", required=True),
        Key("send", STRING, "What to send first.", '""'),
        CONTAINS,
    )
)
STOP = Table(
    (Key("exit_code", integer(0, 255), "The status that the program must end with.", "0"),)
)
PROCESS = Table(
    (
        Key(
            "name",
            text('the name of a program such as "redis-server"', r"[^/\x00-\x20]+", longest=255),
            "The program's name, without folders.",
            required=True,
        ),
        Key("user", OWNER, "Whose rights it must run with.", "any"),
    )
)
LOG = Table(
    (
        Key("stream", choice("stdout", "stderr"), "Which output.", "both"),
        Key(
            "contains",
            STRING,
            "The text that it must contain; placeholders work.",
            "the one beside it",
        ),
    )
)
FASTCGI = Table(
    (
        Key("script", IMAGE_PATH, "The script's path in the image.", required=True),
        Key("port", PORT, "The port to ask.", "9000"),
        Key("query", text('a query such as "a=1"', r"[!-~]*", longest=2000), "Its query.", '""'),
        Key(
            "params",
            Pairs(
                text("a parameter name", r"[A-Za-z_][A-Za-z0-9_]*", longest=128),
                STRING,
                "a table of strings",
            ),
            "Further parameters.",
            "{}",
        ),
        Key("status", integer(100, 599), "The status it must answer with.", "200"),
        CONTAINS,
    )
)


def _make_http(values: dict[str, Any]) -> dict[str, Any]:
    return {"port": HTTPS_PORT if values.get("tls") else HTTP_PORT} | values


# The fields of a Check that the value of a kind's key becomes.
_FIELDS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "http": _make_http,
    "tcp": lambda value: {"port": value} if isinstance(value, int) else value,
    "exec": lambda value: {"argv": value},
    "start": lambda value: {"start": value},
    "restart": lambda _: {},
    "stop": dict,
    "process": dict,
    "log": dict,
    "fastcgi": lambda value: {"port": FASTCGI_PORT} | value,
}


def make_check(**values: Any) -> recipe.Check:  # noqa: ANN401
    """A Check of the kind whose key is there; what stands beside that key belongs to it."""
    kind = next(kind for kind in KINDS if kind in values)
    return recipe.Check(**({"kind": kind} | _FIELDS[kind](values.pop(kind)) | values))


CHECK = Table(
    (
        Key("http", HTTP, "Ask a web server."),
        Key("tcp", Either((PORT, TCP), "a port or a table"), "Connect to a port, or a table."),
        Key("exec", ARGUMENTS, "Run a program in the image."),
        Key("start", START, "Start a fresh container for the checks that follow."),
        Key(
            "restart",
            Scalar("true", (bool,), {"type": "boolean", "const": True}, _parse_true),
            "Stop the service as `stop` does, and start it again on the same files.",
        ),
        Key("stop", STOP, "Send the stop signal; the program must end in time."),
        Key("process", PROCESS, "A program must run."),
        Key("log", LOG, "What the service printed."),
        Key("fastcgi", FASTCGI, "Ask a FastCGI server."),
        Key(
            "contains",
            STRING,
            "As inside http, tcp, log and fastcgi; for exec, in its output.",
            '""',
        ),
        Key("exit_code", integer(0, 255), "exec: the status it must end with.", "0"),
        Key("deadline", DURATION, "Time for all retries together.", '"10 s"', field="deadline_s"),
    ),
    make_check,
    (one_of(*KINDS), _check_fits_kind),
)
