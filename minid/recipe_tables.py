"""The recipe format, declared once: every key with its kind, meaning and default.

Validation, the JSON Schema for editors and the test of docs/reference/recipe.md all read this.
"""

from __future__ import annotations

from minid import recipe
from minid.formats.lint import RULE_NAMES
from minid.formats.table import Array, Either, Key, Table, array_of
from minid.formats.values import (
    BOOLEAN,
    DEBIAN_PACKAGE,
    FILE_NAME,
    FILLED_STRING,
    FOLDER_PATH,
    GLOB,
    IMAGE_PATH,
    LINE,
    NAME,
    PAUSE,
    SHA256,
    SIZE,
    STRINGS,
    URL,
    URL_TEMPLATE,
    VERSION,
    choice,
    integer,
)
from minid.recipe_check import CHECK
from minid.recipe_rootfs import ROOTFS
from minid.recipe_track import TRACK
from minid.recipe_values import (
    COMMENT,
    ENV,
    EXPOSED,
    IMAGE_USER,
    LABELS,
    LICENSE,
    REASON,
    RELEASED,
    SIGNAL,
    SONAME,
    TAG,
    VARIABLES,
    make_image,
    make_source,
)

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
            "also",
            Array(NAME, "an array of names", unique=True),
            "Further names for the same: a tag that brings no name is under these as well.",
            "[]",
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
SILENCE = Table(
    (
        Key(
            "rule", choice(*RULE_NAMES), "The rule; `minid lint --rules` lists them.", required=True
        ),
        Key("reason", REASON, "Why its findings are let be.", required=True),
        Key("paths", array_of(GLOB, "globs"), "Only findings at these paths.", "all of the rule"),
    ),
    recipe.Silence,
)
LINT = Table(
    (
        Key(
            "ignore",
            array_of(SILENCE, "tables with rule, reason and paths"),
            "Findings that are let be; one that silences nothing is told of.",
            "[]",
        ),
    ),
    recipe.Lint,
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
        Key("lint", LINT, "What is let be of what lints find in the image."),
    )
)
