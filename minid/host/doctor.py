"""What this machine lacks for minid's work, each with the command that mends it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from minid.config import Config
from minid.errors import HostError, MinidError
from minid.formats.digest import Digest
from minid.host import process
from minid.host.container import Container, ContainerSpec, check_machine, find_runtime
from minid.host.sandbox import SandboxSpec, build_identity, host_environment, run_sandbox
from minid.model import Limits

_ROOM_BYTES = 5 << 30
_OLDEST_BWRAP = (0, 8)
# Services change user: an image that runs in a namespace needs this many ids.
_WANTED_IDS = 65536


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend` is a command or an action, empty where all is well.

    `needed` is False where minid works without it.
    """

    what: str
    ok: bool
    detail: str
    mend: str = ""
    needed: bool = True


def probe_machine(config: Config) -> tuple[Finding, ...]:
    """Look at all that minid needs of this machine. Changes nothing; takes a second at most."""
    return (
        _probe_bwrap(),
        _probe_sandbox(config),
        _probe_runtime(config),
        _probe_container(config),
        _probe_program("openssl", "checks with a certificate", needed=False),
        _probe_program("mmdebstrap", "environments", needed=_uses_debian(config)),
        _probe_apt(config),
        _probe_subordinate_ids(),
        _probe_room(config),
        _probe_docker(config),
        *_probe_signing(config),
    )


def _probe_bwrap() -> Finding:
    found = _probe_program("bwrap", "builds")
    if not found.ok:
        return found
    text = process.run(["bwrap", "--version"], timeout_s=10).stdout.decode()
    version = tuple(int(word) for word in re.findall(r"\d+", text)[:2])
    return Finding(
        "bwrap",
        version >= _OLDEST_BWRAP,
        text.strip(),
        "" if version >= _OLDEST_BWRAP else "install bubblewrap 0.8 or later",
    )


def _probe_sandbox(config: Config) -> Finding:
    """Run a command in a sandbox and see that it is one."""
    # What the sandbox must hide, and that a nested user namespace is refused.
    script = "test $(id -u) = 1000 && test ! -e /root && ! unshare -U true 2>/dev/null && echo good"
    text = bytearray()
    try:
        spec = SandboxSpec(
            environment=host_environment(Digest.of(b"")),
            argv=("sh", "-c", script),
            limits=Limits(wall_s=10),
            workdir="/tmp",  # noqa: S108 (the sandbox's own)
        )
        result = run_sandbox(spec, build_identity(config.build.user), output=text.extend)
    except MinidError as error:
        return Finding("sandbox", False, error.message, error.hint)
    if result.status == 0 and text.strip() == b"good":
        return Finding("sandbox", True, f"a build ran in one, in {result.seconds:.2f} s")
    got = text.decode(errors="replace").strip() or f"status {result.status}"
    return Finding("sandbox", False, f"expected a closed sandbox, got {got!r}", "see the log above")


def _probe_runtime(config: Config) -> Finding:
    needed = config.check.runner == "sandbox"
    try:
        return Finding("runc", True, f"{find_runtime()}, for checks", needed=needed)
    except HostError as error:
        return Finding("runc", False, "not on PATH, for checks", error.hint, needed)


def _probe_container(config: Config) -> Finding:
    """Make the namespaces that an image runs in for its checks, without an image."""
    what, needed = "container", config.check.runner == "sandbox"
    began = time.monotonic()
    try:
        check_machine()
        with (
            tempfile.TemporaryDirectory(prefix="minid-doctor-") as cache,
            Container(ContainerSpec({}, ()), Path(cache)),
        ):
            pass
    except (MinidError, OSError) as error:
        hint = error.hint if isinstance(error, MinidError) else ""
        return Finding(what, False, str(error), hint or "user namespaces must be allowed", needed)
    seconds = time.monotonic() - began
    return Finding(what, True, f"an empty one was made, in {seconds:.2f} s", needed=needed)


def _probe_program(name: str, purpose: str, *, needed: bool = True) -> Finding:
    try:
        return Finding(name, True, f"{process.need_program(name)}, for {purpose}", needed=needed)
    except HostError as error:
        return Finding(name, False, f"not on PATH, for {purpose}", error.hint, needed)


def _probe_apt(config: Config) -> Finding:
    from minid.host.apt_sources import load_sources, select_sources
    from minid.host.environment import machine_suite

    needed = _uses_debian(config)
    wanted = [spec for spec in config.environments if spec.kind == "debian" and not spec.mirror]
    own = machine_suite()
    suites = sorted({spec.suite or own for spec in wanted} or {own})
    try:
        for suite in suites:
            select_sources(load_sources(), suite, own)
    except HostError as error:
        return Finding("package sources", False, error.message, error.hint, needed)
    return Finding("package sources", True, f"for {', '.join(suites)}", needed=needed)


def _uses_debian(config: Config) -> bool:
    kinds = {spec.kind for spec in config.environments} or {"debian"}
    return "debian" in kinds


def _probe_subordinate_ids() -> Finding:
    """An ordinary user needs newuidmap and a range of ids; root does not."""
    what = "subordinate ids"
    if os.geteuid() == 0:
        return Finding(what, True, "not needed by root")
    name = pwd.getpwuid(os.geteuid()).pw_name
    if process.find_program("newuidmap") is None:
        return Finding(what, False, "newuidmap is not on PATH", "sudo apt-get install uidmap")
    short = [
        str(path)
        for path in (Path("/etc/subuid"), Path("/etc/subgid"))
        if _range_size(path, name) < _WANTED_IDS
    ]
    if short:
        mend = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
        return Finding(what, False, f"{name} has too few in {' and '.join(short)}", mend)
    return Finding(what, True, f"{name} has {_WANTED_IDS} or more")


def _range_size(path: Path, name: str) -> int:
    """The largest range of that user in a file of subuid(5)."""
    sizes = [0]
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        owner, _, rest = line.partition(":")
        if owner in (name, str(os.geteuid())) and rest.rpartition(":")[2].isdigit():
            sizes.append(int(rest.rpartition(":")[2]))
    return max(sizes)


def _probe_room(config: Config) -> Finding:
    folder = config.paths.state
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free below {folder}"
    if free >= _ROOM_BYTES:
        return Finding("disk", True, detail)
    return Finding("disk", False, detail, f"free {_ROOM_BYTES / 1e9:.0f} GB, or set paths.state")


def _probe_signing(config: Config) -> tuple[Finding, ...]:
    """Whether the key that images are to be signed with signs; nothing where none is configured."""
    key = config.publish.sign.key
    if key is None:
        return ()
    from minid.host.signing import open_signer

    try:
        signer = open_signer(key, os.environ)
    except MinidError as error:
        return (Finding("signing", False, error.message, error.hint),)
    return (Finding("signing", True, f"{signer.kind} key {signer.key}"),)


def _probe_docker(config: Config) -> Finding:
    needed = (
        config.publish.docker == "on"
        or config.check.runner == "docker"
        or any(spec.kind == "image" for spec in config.environments)
    )
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=5)
        try:
            version = client.version()["Version"]
        finally:
            client.close()
    except DockerException as error:
        reason = str(error).splitlines()[0][:200]
        mend = "apt-get install docker.io, and add the user to group docker"
        return Finding("docker", False, f"no engine: {reason}", mend, needed)
    return Finding("docker", True, f"engine {version}", needed=needed)
