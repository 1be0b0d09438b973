"""config.toml, declared once: every key with its kind, meaning and default.

Validation and the test of docs/reference/config.md both read this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minid import config
from minid.formats.table import Key, Pairs, Table, array_of
from minid.formats.values import (
    BOOLEAN,
    DEBIAN_PACKAGE,
    DURATION,
    NAME,
    PAUSE,
    SIZE,
    WHOLE_SECONDS,
    choice,
    integer,
    text,
)
from minid.model import Limits

_ENVIRONMENT_KEYS = {
    "host": (),
    "debian": ("suite", "packages", "mirror"),
    "image": ("image",),
}


def environment_kind(table: Mapping[str, Any]) -> str:
    """The kind of an environment's table: as it says, or by the keys that are there."""
    return str(table.get("kind") or ("image" if "image" in table else "debian"))


def _fits_kind(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    kind = environment_kind(table)
    for key in table:
        if key != "kind" and key not in _ENVIRONMENT_KEYS[kind]:
            yield key, f'no such key for kind = "{kind}"', "one"
    if kind == "image" and "image" not in table:
        yield "image", "the reference of an image", "nothing"


def make_environment(**values: Any) -> dict[str, Any]:  # noqa: ANN401
    """The fields of an EnvironmentSpec, without the name, which stands outside the table."""
    kind = environment_kind(values)
    packages = {} if kind == "debian" else {"packages": ()}
    return packages | values | {"kind": kind}


FOLDER = text("a folder, relative to this file or absolute", r"[^\x00]+", longest=4000)
A_FILE = text("a file, relative to this one or absolute", r"[^\x00]+", longest=4000)
MIRROR = text(
    'a mirror as "file:FOLDER", or an http or https URL without credentials',
    r"file:[^\x00-\x1f]+|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!$%&'()*+,./:;=@A-Z_a-z~0-9-]*)?",
    longest=4000,
)
SUITE = text('a suite such as "bookworm"', r"[a-z][a-z0-9.-]*", longest=64)
REFERENCE = text(
    'an image reference such as "debian:12"',
    r"[a-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?",
    longest=300,
)
PROXY = text(
    'a proxy such as "http://proxy.example:3128"',
    r"|http://([!$&'()*+,.0-9:;=A-Z_a-z~%-]+@)?[A-Za-z0-9.-]+(:[0-9]{1,5})?/?",
    longest=500,
)
ACCOUNT = text("a user name", r"[a-z_][a-z0-9_-]{0,30}|", longest=31)

PATHS = Table(
    (
        Key("recipes", FOLDER, "The folder of recipes.", '"recipes"'),
        Key(
            "state",
            FOLDER,
            "Where store, records, environments, job folders and logs lie. For "
            "/etc/minid/config.toml the default is /var/lib/minid.",
            '"var"',
        ),
    )
)
ENVIRONMENT = Table(
    (
        Key("kind", choice("host", "debian", "image"), "What it is.", "by the other keys"),
        Key("suite", SUITE, "debian: the release.", "the machine's own"),
        Key(
            "packages",
            array_of(DEBIAN_PACKAGE, "package names"),
            "debian: what every build finds in it, besides the recipe's packages.",
            '["gcc", "libc6-dev", "make", "binutils", "perl-base", "patch"]',
        ),
        Key("image", REFERENCE, "image: the image whose file system it is."),
        Key("mirror", MIRROR, "debian: where packages come from.", "the machine's own sources"),
    ),
    make_environment,
    (_fits_kind,),
)
FETCH = Table(
    (
        Key("max_size", SIZE, "The largest archive.", '"2 GiB"', field="max_bytes"),
        Key(
            "connect_timeout",
            DURATION,
            "The longest wait for a connection.",
            '"10 s"',
            field="connect_timeout_s",
        ),
        Key(
            "read_timeout",
            DURATION,
            "The longest wait for the next bytes.",
            '"30 s"',
            field="read_timeout_s",
        ),
        Key(
            "total_timeout",
            DURATION,
            "The longest time for one download.",
            '"30 min"',
            field="total_timeout_s",
        ),
        Key(
            "min_rate",
            SIZE,
            "The slowest download that is waited for, per second.",
            '"1 KiB"',
            field="min_bytes_per_s",
        ),
        Key("attempts", integer(1, 20), "How often each source is tried.", "3"),
        Key("parallel", integer(1, 64), "How many downloads run side by side.", "4"),
        Key("distro", BOOLEAN, "Whether the distribution's source packages may be used.", "true"),
        Key(
            "allow_private",
            BOOLEAN,
            "Whether loopback and private addresses may be asked.",
            "false",
        ),
        Key("proxy", PROXY, "The proxy that http and https requests go through.", '""'),
    ),
    config.Fetching,
)
LIMITS = Table(
    (
        Key("wall", DURATION, "The longest time for one command.", '"2 h"', field="wall_s"),
        Key(
            "silence",
            DURATION,
            "The longest time without output.",
            '"30 min"',
            field="silence_s",
        ),
        Key("cpu", WHOLE_SECONDS, "CPU time of one process.", '"4 h"', field="cpu_s"),
        Key("memory", SIZE, "Memory of all processes.", '"8 GiB"', field="memory_bytes"),
        Key("file_size", SIZE, "The largest file.", '"8 GiB"', field="file_bytes"),
        Key("disk", SIZE, "All files together.", '"20 GiB"', field="disk_bytes"),
        Key("inodes", integer(1, 10**9), "How many files and folders.", "2000000"),
        Key("processes", integer(1, 10**6), "How many processes at once.", "4096"),
        Key("open_files", integer(16, 10**6), "Open files of one process.", "4096"),
        Key("log", SIZE, "The length of the log.", '"256 MiB"', field="log_bytes"),
        Key("tmp", SIZE, "The size of /tmp.", '"2 GiB"', field="tmp_bytes"),
    ),
    Limits,
)
BUILD = Table(
    (
        Key("jobs", integer(0, 4096), "Compiler jobs of all builds together; 0: one a core.", "0"),
        Key("parallel", integer(1, 256), "How many recipes are built side by side.", "2"),
        Key("user", ACCOUNT, "As whom builds run when minid runs as root.", '""'),
        Key("limits", LIMITS, "What a build may use."),
    ),
    config.Building,
)
CHECK = Table(
    (
        Key(
            "runner",
            choice("sandbox", "docker"),
            "Where smoke tests run the image.",
            '"sandbox"',
        ),
    ),
    config.Checking,
)
LINT = Table(
    (Key("strict", BOOLEAN, "Whether warnings of lints fail a run as errors do.", "false"),),
    config.Linting,
)
REGISTRY = text(
    "REGISTRY or REGISTRY/PATH",
    # As in a reference: a host has a dot or a port, or is localhost.
    r"|([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:)|localhost)(:[0-9]{1,5})?"
    r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)*",
    longest=255,
)
PUBLISH = Table(
    (
        Key(
            "docker",
            choice("auto", "on", "off"),
            "Whether tested images are loaded into the Docker engine; auto: when one answers.",
            '"auto"',
        ),
        Key("export", FOLDER, "A folder to write each tested image's archive to.", "none"),
        Key(
            "attest",
            BOOLEAN,
            "Whether a bill of materials and the provenance lie beside each archive.",
            "true",
        ),
        Key("registry", REGISTRY, "A registry, and what to put before each image's name.", '""'),
        Key(
            "registry_insecure",
            BOOLEAN,
            "Reach it over http where it speaks no https; this machine's own always is.",
            "false",
        ),
        Key("registry_ca", A_FILE, "A file with the certificates of its authority.", "none"),
        Key(
            "referrers",
            BOOLEAN,
            "Whether signatures and attestations go to the registry beside an image.",
            "true",
        ),
    )
)
SIGN = Table(
    (
        Key(
            "key",
            A_FILE,
            "The secret key, of minisign or OpenSSH, that every published image is signed with.",
            "the credential `sign.key` where systemd gives it, else none",
        ),
        Key("public", A_FILE, "The public key that `minid verify-signature` holds to.", "none"),
    )
)
HOST_NAME = text(
    "a host name or address", r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]+", longest=255
)
ARGUMENT = text("an argument", r"[^\x00]+", longest=4096)
WEBHOOK = text("an http or https URL", r"|https?://[!-~]+", longest=2000)
TRACK = Table(
    (
        Key("enabled", BOOLEAN, "Whether the service looks for new releases by itself.", "true"),
        Key(
            "every",
            DURATION,
            "The shortest time between two looks at a page, for recipes that do not say.",
            '"6 h"',
            field="every_s",
        ),
        Key(
            "settle",
            PAUSE,
            "How long a new release must stand, for recipes that do not say.",
            '"6 h"',
            field="settle_s",
        ),
        Key("parallel", integer(1, 200), "How many pages are asked side by side.", "20"),
        Key(
            "gap",
            PAUSE,
            "The shortest time between two requests to one host.",
            '"2 s"',
            field="gap_s",
        ),
        Key(
            "inside",
            array_of(HOST_NAME, "host names"),
            "Hosts that may be asked although their addresses are loopback or private.",
            "[]",
        ),
    ),
    config.Tracking,
)
SOCKET = text("a path, relative to this file or absolute", r"[^\x00]+", longest=4000)
DAEMON = Table(
    (
        Key("socket", SOCKET, "Where the command line finds it.", "`minid.sock` in `paths.state`"),
        Key(
            "min_free",
            SIZE,
            "With less free space than this below the state folder no run starts.",
            '"1 GiB"',
            field="min_free_bytes",
        ),
        Key(
            "poll",
            DURATION,
            "How often a folder of recipes that tells no changes is read.",
            '"10 s"',
            field="poll_s",
        ),
    )
)
NOTIFY = Table(
    (
        Key("webhook", WEBHOOK, "Gets each event as JSON, by POST.", '""'),
        Key(
            "command",
            array_of(ARGUMENT, "arguments, the program first"),
            "Is run for each event, which it gets as JSON on standard input.",
            "[]",
        ),
        Key(
            "events",
            array_of(
                choice("failed", "recovered", "built", "release", "held", "suspect"),
                "kinds of events",
            ),
            "Which events are told.",
            '["failed", "recovered", "release", "held"]',
        ),
    ),
    config.Notifying,
)
KEEP = Table(
    (
        Key("images", integer(0, 10**6), "How many images of each recipe, the newest.", "5"),
        Key("age", PAUSE, "Images that are younger are kept, too.", '"30 d"', field="age_s"),
        Key("logs", PAUSE, "Logs that are younger are kept.", '"90 d"', field="logs_s"),
        Key(
            "collect",
            choice("daily", "off"),
            "Whether the service removes what is not kept, as `minid gc` does.",
            '"off"',
        ),
    ),
    config.Keeping,
)
CONFIG = Table(
    (
        Key(
            "mirrors",
            array_of(MIRROR, 'mirrors as "file:FOLDER" or URL'),
            "Tried for every archive before its own URL, by file name.",
            "[]",
        ),
        Key("paths", PATHS, "Where things lie."),
        Key(
            "environments",
            Pairs(NAME, ENVIRONMENT, "a table of environments"),
            "What to build in, by name; `host` and `debian` are always there.",
        ),
        Key("fetch", FETCH, "Limits of downloads."),
        Key("build", BUILD, "How many builds, as whom, within what."),
        Key("check", CHECK, "Where smoke tests run."),
        Key("publish", PUBLISH, "Where a tested image goes besides the store."),
        Key("track", TRACK, "How upstreams are asked for new releases."),
        Key("daemon", DAEMON, "The service."),
        Key("notify", NOTIFY, "Who is told what happened."),
        Key("keep", KEEP, "What `minid gc` leaves of what is old."),
        Key("lint", LINT, "How lints of images are taken."),
        Key("sign", SIGN, "Which key images are signed with."),
    )
)
