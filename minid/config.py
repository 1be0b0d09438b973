"""config.toml as frozen values. Reading and validating the file is `minid.config_reader`'s work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minid.model import Limits


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie, absolute. `state` holds store, records, environments, jobs and logs."""

    recipes: Path
    state: Path

    @property
    def store(self) -> Path:
        """The OCI layout and every other blob."""
        return self.state / "store"

    @property
    def records(self) -> Path:
        """The SQLite file."""
        return self.state / "records.sqlite"

    @property
    def environments(self) -> Path:
        """Toolchain trees, one folder each."""
        return self.state / "environments"

    @property
    def jobs(self) -> Path:
        """Folders of running builds."""
        return self.state / "jobs"

    @property
    def leases(self) -> Path:
        """What living processes work on, see `store.lease`."""
        return self.state / "leases"

    @property
    def logs(self) -> Path:
        """Build logs, one file a run."""
        return self.state / "logs"

    @property
    def layers(self) -> Path:
        """Unpacked layers for checks, a cache."""
        return self.state / "layers"


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """`[environments.NAME]`: what to build in. `suite` empty: the machine's own."""

    name: str
    kind: Literal["host", "debian", "image"]
    suite: str = ""
    packages: tuple[str, ...] = ("gcc", "libc6-dev", "make", "binutils", "perl-base", "patch")
    image: str = ""
    mirror: str = ""


@dataclass(frozen=True, slots=True)
class Fetching:
    """`[fetch]`: limits of downloads. Sizes in bytes, times in seconds."""

    max_bytes: int = 2 << 30
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    total_timeout_s: float = 1800.0
    min_bytes_per_s: int = 1024
    attempts: int = 3
    parallel: int = 4
    distro: bool = True
    allow_private: bool = False
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class Building:
    """`[build]`: how many jobs in all, as whom, and with which limits."""

    jobs: int = 0
    parallel: int = 2
    user: str = ""
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Checking:
    """`[check]`: where smoke tests run."""

    runner: Literal["sandbox", "docker"] = "sandbox"


@dataclass(frozen=True, slots=True)
class Linting:
    """`[lint]`: with `strict`, what is only a warning fails a run as well."""

    strict: bool = False


@dataclass(frozen=True, slots=True)
class Signing:
    """`[sign]`: the operator's secret `key` (None: nothing is signed by itself), and the public
    one that `verify-signature` holds to where none is named."""

    key: Path | None = None
    public: Path | None = None


@dataclass(frozen=True, slots=True)
class Publishing:
    """`[publish]`: where a tested image goes besides the store's own layout, and how it is signed
    then (`[sign]`)."""

    docker: Literal["auto", "on", "off"] = "auto"
    export: Path | None = None
    attest: bool = True
    registry: str = ""
    registry_insecure: bool = False
    registry_ca: Path | None = None
    referrers: bool = True
    sign: Signing = Signing()


@dataclass(frozen=True, slots=True)
class Tracking:
    """`[track]`: how upstream pages are asked. Times in seconds.

    `every_s` and `settle_s` hold for recipes that do not say; `gap_s` is the shortest time between
    two requests to one host; `inside` are hosts that may have loopback or private addresses.
    """

    enabled: bool = True
    every_s: float = 6 * 3600.0
    settle_s: float = 6 * 3600.0
    parallel: int = 20
    gap_s: float = 2.0
    inside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """`[daemon]`: the service. `socket` None: `minid.sock` in the state folder. Below
    `min_free_bytes` of free space no run starts; `poll_s` is for folders without events."""

    socket: Path | None = None
    min_free_bytes: int = 1 << 30
    poll_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Notifying:
    """`[notify]`: who is told what. `command` is an argument list, `webhook` a URL."""

    webhook: str = ""
    command: tuple[str, ...] = ()
    events: tuple[str, ...] = ("failed", "recovered", "release", "held")


@dataclass(frozen=True, slots=True)
class Keeping:
    """`[keep]`: what `minid gc` leaves. Of each recipe the newest `images`, and all that are
    younger than `age_s`; logs that are younger than `logs_s`. Times in seconds."""

    images: int = 5
    age_s: float = 30 * 86400.0
    logs_s: float = 90 * 86400.0
    collect: Literal["daily", "off"] = "off"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of config.toml. `file` is None where minid runs on defaults alone."""

    file: Path | None
    paths: Paths
    mirrors: tuple[str, ...] = ()
    environments: tuple[EnvironmentSpec, ...] = ()
    fetch: Fetching = Fetching()
    build: Building = Building()
    check: Checking = Checking()
    publish: Publishing = Publishing()
    track: Tracking = Tracking()
    daemon: Serving = Serving()
    notify: Notifying = Notifying()
    keep: Keeping = Keeping()
    lint: Linting = Linting()

    @property
    def socket(self) -> Path:
        """Where the service listens for the command line."""
        return self.daemon.socket or self.paths.state / "minid.sock"

    def environment(self, name: str) -> EnvironmentSpec | None:
        """The environment of that name, or None."""
        return next((spec for spec in self.environments if spec.name == name), None)
