"""The recipe format, declared once: every key with its kind, meaning and default.

Validation, the JSON Schema for editors and the test of docs/reference/recipe.md all read this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minid import recipe
from minid.formats.table import Array, Either, Key, Table, array_of, one_of
from minid.formats.values import (
    BOOLEAN,
    DEBIAN_PACKAGE,
    DURATION,
    FILE_NAME,
    FILLED_STRING,
    FOLDER_PATH,
    GLOB,
    IMAGE_PATH,
    LINE,
    NAME,
    PAUSE,
    PORT,
    SHA256,
    SIZE,
    STRING,
    STRINGS,
    URL,
    URL_TEMPLATE,
    VERSION,
    integer,
)
from minid.recipe_rootfs import ROOTFS
from minid.recipe_track import TRACK
from minid.recipe_values import (
    ARGUMENTS,
    COMMENT,
    ENV,
    EXPOSED,
    HEADERS,
    HTTP_PATH,
    IMAGE_USER,
    LABELS,
    LICENSE,
    RELEASED,
    SIGNAL,
    SONAME,
    TAG,
    VARIABLES,
    make_check,
    make_image,
    make_source,
)

Findings = Iterator[tuple[str, str, str]]


def _check_fits_kind(table: Mapping[str, Any]) -> Findings:
    if "exit_code" in table and "exec" not in table:
        yield "exit_code", 'no such key without "exec"', "one"
    for kind in ("http", "tcp"):
        inner = table.get(kind)
        if "contains" in table and isinstance(inner, dict) and "contains" in inner:
            yield "contains", f"either contains or {kind}.contains", "both"


SOURCE = Table(
    (
        Key("version", VERSION, "The release that is built.", required=True),
        Key("url", URL_TEMPLATE, "Where upstream offers the archive.", required=True),
        Key("sha256", SHA256, "The SHA-256 of the archive's bytes.", required=True),
        Key(
            "distro",
            Either(
                (
                    DEBIAN_PACKAGE,
                    Table(
                        (
                            Key("package", DEBIAN_PACKAGE, "The source package.", required=True),
                            Key("version", VERSION, "Its upstream version.", "`source.version`"),
                            Key("sha256", SHA256, "Its archive's SHA-256.", "`source.sha256`"),
                        )
                    ),
                ),
                "a Debian source package, or a table with package, version, sha256",
            ),
            "The distribution's source package that holds the archive: a fallback for the same "
            "bytes, or, as a table, for other bytes of the same program.",
            "no fallback",
        ),
        Key(
            "alternatives",
            array_of(
                Table(
                    (
                        Key("url", URL_TEMPLATE, "Where the other archive is.", required=True),
                        Key("sha256", SHA256, "The SHA-256 of its bytes.", required=True),
                    ),
                    recipe.Alternative,
                ),
                "tables with url and sha256",
            ),
            "Other bytes of the same release, tried after `url`.",
            "[]",
        ),
        Key(
            "patches",
            Array(FILE_NAME, "an array of file names", unique=True),
            "Files in the recipe's folder, applied in this order with `patch -p1`.",
            "[]",
        ),
        Key(
            "released",
            RELEASED,
            "The day or moment of the release, the time stamp of everything built from it.",
            "the newest file in the archive",
        ),
    ),
    make_source,
)
BUILD = Table(
    (
        Key("environment", NAME, "The environment (config.toml) to build in.", '"debian"'),
        Key(
            "packages",
            Array(DEBIAN_PACKAGE, "an array of package names", unique=True),
            "Packages that the environment needs on top of its own.",
            "[]",
        ),
        Key(
            "needs",
            Array(NAME, "an array of recipe names", unique=True),
            "Library recipes whose install trees are laid under `$SYSROOT`.",
            "[]",
        ),
        Key(
            "steps",
            array_of(FILLED_STRING, "strings with a command each", 1),
            "Run one after the other with `sh -euc` in the source folder. `$VERSION`, `$JOBS`, "
            "`$DESTDIR` and `$SYSROOT` are set.",
            required=True,
        ),
        Key("variables", VARIABLES, "Further environment variables of the steps.", "{}"),
    ),
    recipe.Build,
)
CONTENTS = Table(
    (
        Key(
            "drop", array_of(GLOB, "globs"), "Files to leave out, on top of the default list.", "[]"
        ),
        Key("keep", array_of(GLOB, "globs"), "Files to keep although a rule drops them.", "[]"),
        Key(
            "dlopen", array_of(SONAME, "library names"), "Libraries that no ELF header names.", "[]"
        ),
        Key("strip", BOOLEAN, "Whether programs and libraries are stripped.", "true"),
    ),
    recipe.Contents,
)
IMAGE = Table(
    (
        Key("cmd", STRINGS, "The command, one argument an item.", "as the base has it"),
        Key("entrypoint", STRINGS, "What the command is given to.", "as the base has it"),
        Key("env", ENV, "Environment variables, added to the base's.", "{}"),
        Key("user", IMAGE_USER, "Who runs the command.", '""'),
        Key("workdir", FOLDER_PATH, "Where it is run.", '""'),
        Key("expose", Array(EXPOSED, "an array of ports"), "Ports it listens on.", "[]"),
        Key("volumes", array_of(IMAGE_PATH, "absolute paths"), "Directories with data.", "[]"),
        Key("stop_signal", SIGNAL, "The signal that ends it.", '""'),
        Key("labels", LABELS, "Labels; placeholders are filled in.", "{}"),
        Key("comment", COMMENT, "The comment that `docker history` shows.", '""'),
        Key("author", LINE, "The author in the image's metadata.", '""'),
        Key(
            "tags",
            Array(TAG, "an array of tags", minimum=1, unique=True),
            "What the image is called: a tag of the recipe's name, or `name:tag`.",
            '["{version}", "latest"]',
        ),
        Key(
            "budget",
            SIZE,
            "The unpacked size over which the run fails.",
            "no limit",
            field="budget_bytes",
        ),
        Key("squash", BOOLEAN, "One layer that holds base and payload.", "false"),
    ),
    make_image,
)
CONTAINS = Key("contains", STRING, "A text that the answer must contain; placeholders work.", '""')
HTTP = Table(
    (
        Key("port", PORT, "The port to ask.", "80"),
        Key("path", HTTP_PATH, "What to ask for.", '"/"'),
        Key("status", integer(100, 599), "The status it must answer with.", "200"),
        CONTAINS,
        Key("headers", HEADERS, "Headers to send.", "{}"),
    )
)
TCP = Table(
    (
        Key("port", PORT, "The port to connect to.", required=True),
        Key("send", STRING, "What to send first.", '""'),
        CONTAINS,
    )
)
CHECK = Table(
    (
        Key("http", HTTP, "Ask a web server (one of http, tcp, exec)."),
        Key("tcp", Either((PORT, TCP), "a port or a table"), "Connect to a port, or a table."),
        Key("exec", ARGUMENTS, "Run a program in the image."),
        Key("contains", STRING, "As inside http and tcp; for exec, in its output.", '""'),
        Key("exit_code", integer(0, 255), "exec: the status it must end with.", "0"),
        Key("deadline", DURATION, "Time for all retries together.", '"10 s"', field="deadline_s"),
    ),
    make_check,
    (one_of("http", "tcp", "exec"), _check_fits_kind),
)
KEEP = Table(
    (
        Key("images", integer(0, 10**6), "How many images, the newest.", "as config.toml says"),
        Key(
            "age",
            PAUSE,
            "Images that are younger are kept, too.",
            "as config.toml says",
            field="age_s",
        ),
    ),
    recipe.Keep,
)
RECIPE = Table(
    (
        Key("summary", LINE, "What the program is, in a few words.", '""'),
        Key("license", LICENSE, "Its license, as an SPDX expression.", '""'),
        Key("homepage", URL, "Its web site.", '""'),
        Key("source", SOURCE, "Where the source comes from and what its bytes are.", required=True),
        Key("track", TRACK, "Where new releases show up.", "not followed"),
        Key("build", BUILD, "How the source becomes an install tree.", required=True),
        Key("contents", CONTENTS, "Which files of the install tree stay."),
        Key("rootfs", ROOTFS, "What lies below and beside the program's files."),
        Key("image", IMAGE, "The image's configuration, names and size limit."),
        Key(
            "check", array_of(CHECK, "tables"), "Smoke tests; a tag moves only when all pass.", "[]"
        ),
        Key("keep", KEEP, "How many of its images `minid gc` leaves."),
    )
)
