"""Environments: finding the file system that a build sees, and making it where it is missing.

`folder` holds one folder for each request (kind, suite, packages), shared by all recipes that ask
for the same: `root` is the tree and `environment.json`, written last, says what is in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from minid.config import EnvironmentSpec
from minid.errors import HostError, RecipeError
from minid.formats.digest import Digest, canonical_json, digest_of_json
from minid.host import files
from minid.host.bootstrap import BASE_PACKAGES, DebianTree, write_debian_archive
from minid.host.namespace import BuildIdentity
from minid.model import Environment

_SCHEMA = 1
_RECORD = "environment.json"
_DPKG_STATUS = Path("/var/lib/dpkg/status")
_OS_RELEASE = Path("/etc/os-release")
_MOUNTS = Path("/proc/self/mountinfo")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?")


def find_environment(
    spec: EnvironmentSpec, packages: tuple[str, ...], folder: Path
) -> Environment | None:
    """The environment if it is there, or None: `make_environment` then makes it or says why not.

    Costs one small file read. `packages` are the recipe's, on top of the environment's own.
    """
    if spec.kind == "host":
        environment = _host_environment(spec, folder)
        return None if _missing_packages(environment, spec, packages) else environment
    return _load_record(folder / request_key(spec, packages), spec.name)


def make_environment(
    spec: EnvironmentSpec,
    packages: tuple[str, ...],
    folder: Path,
    *,
    identity: BuildIdentity,
    output: Callable[[bytes], None],
    cancel: threading.Event | None = None,
) -> Environment:
    """The environment, made first if it is not there; others that ask for the same wait for it.

    The tree belongs to `identity`. HostError when the machine cannot make it, RecipeError for
    packages that cannot be had in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if spec.kind == "host":
        environment = _host_environment(spec, folder)
        if missing := _missing_packages(environment, spec, packages):
            raise HostError(
                f"environment {spec.name!r}: expected packages on this machine, got none of"
                f" {', '.join(missing)}",
                hint=f"apt-get install {' '.join(missing)}",
            )
        return environment
    key = request_key(spec, packages)
    with _exclusive(folder / f"{key}.lock", cancel):
        found = _load_record(folder / key, spec.name)
        if found is None:
            for left_over in (folder / key, *folder.glob(f".new-{key}-*")):
                _remove_any_tree(left_over)
            with files.temporary_folder(folder, f".new-{key}-") as work:
                work.chmod(0o755)
                _fill(spec, packages, work, folder / key, (identity, output, cancel))
            found = _load_record(folder / key, spec.name)
    if found is None:
        raise HostError(f"environment {spec.name!r}: expected a record of it, got none")
    return found


def request_key(spec: EnvironmentSpec, packages: tuple[str, ...]) -> str:
    """The name of the folder for what is asked: equal requests, equal names.

    RecipeError for a package name that is none, or for packages on top of an image.
    """
    if spec.kind == "image":
        if packages:
            raise RecipeError(
                f"build.packages: expected none in environment {spec.name!r}, which is an image,"
                f" got {', '.join(packages)}",
                hint="use an image that has them, or an environment of kind debian",
            )
        request: dict[str, object] = {"image": spec.image}
    else:
        request = {
            "suite": spec.suite or machine_suite(),
            "mirror": spec.mirror,
            "packages": list(_wanted(spec, packages)),
            "base": list(BASE_PACKAGES),
        }
    request |= {"schema": _SCHEMA, "kind": spec.kind, "architecture": platform.machine()}
    return digest_of_json(request).hex[:32]


def environment_token(key: str) -> Digest:
    """What a process that uses the environment of that key holds in its lease; no blob has it."""
    return Digest.of(f"environment {key}".encode())


def remove_environment(place: Path) -> None:
    """Remove an environment, or what is left of one; HostError where something is mounted in it."""
    _remove_any_tree(place)


def machine_suite() -> str:
    """The codename of the distribution that this machine runs; empty when it has none."""
    with suppress(OSError):
        for line in _OS_RELEASE.read_text().splitlines():
            if line.startswith("VERSION_CODENAME="):
                return line.partition("=")[2].strip("\"' ")
    return ""


def _wanted(spec: EnvironmentSpec, packages: tuple[str, ...]) -> tuple[str, ...]:
    for name in (*spec.packages, *packages):
        if not _PACKAGE.fullmatch(name):
            raise RecipeError(f"packages: expected a package name, got {name!r}")
    return tuple(sorted({*spec.packages, *packages}))


def _fill(
    spec: EnvironmentSpec,
    packages: tuple[str, ...],
    work: Path,
    place: Path,
    how: tuple[BuildIdentity, Callable[[bytes], None], threading.Event | None],
) -> None:
    """Make the tree in `work` and, when it is whole and on the disk, move it to `place`."""
    from minid.host.unpack import unpack_archive

    identity, output, cancel = how
    archive, new = work / "tree.tar", work / "new"
    new.mkdir()
    digest = None
    if spec.kind == "image":
        from minid.host.image_export import write_image_archive

        digest = write_image_archive(spec.image, archive, output=output)
    else:
        tree = DebianTree(
            suite=_need_suite(spec),
            packages=_wanted(spec, packages),
            mirror=spec.mirror,
            own_suite=machine_suite(),
        )
        write_debian_archive(tree, archive, output=output, cancel=cancel)
    (new / "root").mkdir(mode=0o755)
    unpack_archive(archive, new / "root", uid=identity.uid, gid=identity.gid, profile="rootfs")
    archive.unlink()
    installed = load_dpkg_packages(new / "root" / _DPKG_STATUS.relative_to("/"))
    record = {
        "schema": _SCHEMA,
        "kind": spec.kind,
        "suite": spec.suite or machine_suite(),
        "packages": list(installed),
        "digest": str(digest or _tree_digest(spec, installed)),
    }
    _sync_file_system(new)
    files.write_file(new / _RECORD, canonical_json(record) + b"\n")
    new.rename(place)
    files.sync_folder(place.parent)


def _need_suite(spec: EnvironmentSpec) -> str:
    suite = spec.suite or machine_suite()
    if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
        raise HostError(
            f"environment {spec.name!r}: expected a suite, got {suite!r}",
            hint=f"set suite in [environments.{spec.name}]",
        )
    return suite


def _tree_digest(spec: EnvironmentSpec, installed: tuple[str, ...]) -> Digest:
    return digest_of_json(
        {
            "kind": spec.kind,
            "suite": spec.suite or machine_suite(),
            "architecture": platform.machine(),
            "packages": list(installed),
        }
    )


def _load_record(place: Path, name: str) -> Environment | None:
    """What `environment.json` in `place` says; None when there is none or it is from elsewhere."""
    try:
        record = json.loads((place / _RECORD).read_bytes())
        if record["schema"] != _SCHEMA:
            return None
        return Environment(
            name=name,
            kind=record["kind"],
            root=str(place / "root"),
            digest=Digest.parse(record["digest"]),
            packages=tuple(record["packages"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def load_dpkg_packages(status: Path) -> tuple[str, ...]:
    """Installed packages as sorted `name=version` from dpkg's status file; () without the file."""
    try:
        text = status.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    found = []
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found.append(f"{fields['Package']}={fields['Version']}")
    return tuple(sorted(found))


def _missing_packages(
    environment: Environment, spec: EnvironmentSpec, packages: tuple[str, ...]
) -> list[str]:
    """Which wanted packages this machine lacks; none where it keeps no dpkg records."""
    installed = {line.partition("=")[0] for line in environment.packages}
    wanted = (name.partition("=")[0].partition(":")[0] for name in _wanted(spec, packages))
    return [name for name in wanted if installed and name not in installed]


def _host_environment(spec: EnvironmentSpec, folder: Path) -> Environment:
    """The machine itself; what it has installed is read again only when dpkg's record changed."""
    status = _DPKG_STATUS if _DPKG_STATUS.exists() else _OS_RELEASE
    stamp = [status.stat().st_mtime_ns, status.stat().st_size, status.stat().st_ino]
    cache = folder / "host.json"
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        record = json.loads(cache.read_bytes())
        if record["stamp"] == stamp and record["schema"] == _SCHEMA:
            digest = Digest.parse(record["digest"])
            return Environment(spec.name, "host", "/", digest, tuple(record["packages"]))
    installed = load_dpkg_packages(_DPKG_STATUS)
    facts = installed or (_OS_RELEASE.read_text(), _compiler_version())
    digest = digest_of_json({"kind": "host", "machine": platform.machine(), "facts": list(facts)})
    record = {"schema": _SCHEMA, "stamp": stamp, "digest": str(digest), "packages": list(installed)}
    with suppress(OSError):  # a cache only: a reader without write permission does without
        folder.mkdir(parents=True, exist_ok=True)
        files.write_file(cache, canonical_json(record))
    return replace(Environment(spec.name, "host", "/", digest), packages=installed)


def _compiler_version() -> str:
    from minid.host import process

    done = process.run(["cc", "--version"], timeout_s=10)
    return done.stdout.decode(errors="replace")


@contextmanager
def _exclusive(path: Path, cancel: threading.Event | None) -> Iterator[None]:
    """Hold a lock among all threads and processes; HostError when cancelled while waiting."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):  # else it was removed meanwhile, with its environment
                break
        except BlockingIOError:
            if cancel is not None and cancel.is_set():
                os.close(descriptor)
                raise HostError("environment: expected to be made, got cancelled") from None
            time.sleep(0.1)
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _remove_any_tree(folder: Path) -> None:
    """Remove a tree of ours, also one that a killed mmdebstrap left to subordinate ids.

    HostError where something is mounted in it: that is not ours to delete.
    """
    with suppress(OSError):
        mounts = [line.split(" ")[4] for line in _MOUNTS.read_text().splitlines()]
        if below := [mount for mount in mounts if mount.startswith(f"{folder}/")]:
            raise HostError(
                f"{folder}: expected nothing mounted below it, got {below[-1]!r}",
                hint=f"umount {' '.join(reversed(below))}",
            )
    try:
        files.remove_tree(folder)
    except PermissionError:
        from minid.host import process

        argv = ["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", str(folder)]
        process.run(argv, timeout_s=300, with_capabilities=True)


def _sync_file_system(folder: Path) -> None:
    """Write all that is pending on the folder's file system: one call for ten thousand files."""
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)
