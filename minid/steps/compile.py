"""From a verified archive to an install tree: unpack, patch, run the recipe's steps, harvest.

Everything that comes from outside runs or is parsed without rights: the extractor as the build
user, the steps in the sandbox. The output is read only when every process of the build is dead.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from minid.errors import BuildError, UnpackError
from minid.formats.digest import Digest
from minid.formats.rootfs import overlay_trees
from minid.formats.tree import dump_tree
from minid.formats.url import file_name
from minid.host.files import temporary_folder
from minid.host.harvest import harvest
from minid.host.jobserver import Jobserver
from minid.host.licenses import read_licenses
from minid.host.logfile import LogFile
from minid.host.materialize import write_tree
from minid.host.sandbox import BuildIdentity, SandboxResult, SandboxSpec, run_sandbox
from minid.host.unpack import Unpacked, unpack_archive
from minid.model import Content, Environment, Limits, Tree
from minid.recipe import Recipe, expand
from minid.store.blobs import Blobs

# Runs in the sandbox: patches first, then each step in a shell of its own. The step's text is an
# argument, never part of this script.
_DRIVER = r"""
umask 022
for patch in /build/patches/*; do
  [ -e "$patch" ] || continue
  printf '+ patch -p1 < %s\n' "${patch##*/}"
  patch -p1 --batch --forward --no-backup-if-mismatch <"$patch" || exit 1
done
number=0
for step do
  printf '+ build.steps[%d]: %s\n' "$number" "$step"
  sh -euc "$step" || exit
  number=$((number + 1))
done
"""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where and how builds run: the folder for jobs, whom they run as, the shared jobserver.

    `slots` bounds how many builds run at once, for the sake of memory.
    """

    jobs_folder: Path
    identity: BuildIdentity
    jobserver: Jobserver
    limits: Limits
    slots: threading.BoundedSemaphore
    cancel: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class InstallTree:
    """What `make install` left. `tree` and `tar` are blobs; `epoch` is the release's time.

    `licenses` are the licence files of the source, see `host.licenses`.
    """

    tree: Digest
    tar: Digest
    epoch: int
    seconds: float
    cpu_s: float
    licenses: Mapping[str, str] = field(default_factory=dict)


def compile_source(
    recipe: Recipe,
    archive: Path,
    *,
    patches: Sequence[tuple[str, bytes]],
    needs: Sequence[Tree],
    environment: Environment,
    workplace: Workplace,
    blobs: Blobs,
    read: Callable[[Content], bytes],
    log: LogFile,
) -> InstallTree:
    """Build `recipe` from the archive file and store its install tree.

    UnpackError for a bad archive, BuildError with the log's tail for a step that fails or a limit
    that is passed. Nothing of the job folder is left.
    """
    identity = workplace.identity
    workplace.jobs_folder.mkdir(parents=True, exist_ok=True)
    workplace.jobs_folder.chmod(0o711)
    with temporary_folder(workplace.jobs_folder, f"{recipe.name}-") as job:
        for name in ("src", "out", "sysroot", "patches"):
            (job / name).mkdir()
            (job / name).chmod(0o755)  # the build user reads them, whatever the umask is
        unpacked = _unpack(recipe, archive, job / "src", identity)
        licenses = read_licenses(job / "src")
        epoch = _release_time(recipe, unpacked)
        for position, (name, data) in enumerate(patches):
            patch = job / "patches" / f"{position:03d}-{name.replace('/', '_')}"
            patch.write_bytes(data)
            patch.chmod(0o644)
        # One tree: two libraries share folders.
        write_tree(overlay_trees(*needs), job / "sysroot", read)
        if identity.uid is not None:
            # The owner's folders stay closed to others; the build user owns what it works on.
            for path in (job, job / "out"):
                os.chown(path, identity.uid, identity.gid or 0)
        result = _run_steps(recipe, job, environment, workplace, epoch, log)
        with blobs.receive() as sink:
            tree = harvest(job / "out", sink.write, clamp_mtime=epoch)
            if not any(entry.kind == "file" for entry in tree.entries):
                raise BuildError(
                    f"{recipe.file}: build.steps: expected files below $DESTDIR, got none",
                    hint="the last step is usually `make DESTDIR=$DESTDIR install`",
                    log_tail=log.tail(),
                )
            tar = sink.commit()
        tree = place_contents(tree, tar)
        return InstallTree(
            tree=blobs.add(dump_tree(tree)),
            tar=tar,
            epoch=epoch,
            seconds=result.seconds,
            cpu_s=result.cpu_s,
            licenses=licenses,
        )


def _release_time(recipe: Recipe, unpacked: Unpacked) -> int:
    epoch = recipe.source.released or unpacked.newest_mtime
    if not epoch:
        raise BuildError(
            f"{recipe.file}: source.released: expected the release's date, "
            "because the archive's files have no time"
        )
    return epoch


def _unpack(recipe: Recipe, archive: Path, target: Path, identity: BuildIdentity) -> Unpacked:
    """`unpack_archive` with errors that name the archive as people know it, not as the store."""
    try:
        return unpack_archive(archive, target, uid=identity.uid, gid=identity.gid)
    except UnpackError as error:
        name = file_name(expand(recipe.source.url, recipe.source.version))
        message = error.message.removeprefix(f"{archive.name}: ")
        raise UnpackError(f"{recipe.file}: {name}: {message}", log_tail=error.log_tail) from error


def place_contents(tree: Tree, blob: Digest) -> Tree:
    """`tree` with every file's content pointing into `blob`."""
    return Tree(
        tuple(
            replace(entry, content=replace(entry.content, blob=blob, data=None))
            if entry.content
            else entry
            for entry in tree.entries
        )
    )


def _run_steps(
    recipe: Recipe,
    job: Path,
    environment: Environment,
    workplace: Workplace,
    epoch: int,
    log: LogFile,
) -> SandboxResult:
    spec = SandboxSpec(
        environment=environment,
        argv=("sh", "-c", _DRIVER, "minid", *recipe.build.steps),
        binds=(
            (job / "src", "/build/src", True),
            (job / "out", "/build/out", True),
            (job / "sysroot", "/build/sysroot", False),
            (job / "patches", "/build/patches", False),
        ),
        environ=(
            ("VERSION", recipe.source.version),
            ("JOBS", str(workplace.jobserver.jobs)),
            ("DESTDIR", "/build/out"),
            ("SYSROOT", "/build/sysroot"),
            ("SOURCE_DATE_EPOCH", str(epoch)),
            *recipe.build.variables,
        ),
        limits=workplace.limits,
        jobserver=workplace.jobserver.fds,
    )
    follower = _StepFollower(log)
    with workplace.slots, workplace.jobserver.slot(workplace.cancel):
        result = run_sandbox(
            spec, workplace.identity, output=follower.write, cancel=workplace.cancel
        )
    if result.ended_by or result.status:
        raise _step_error(recipe, result, follower.step, log)
    return result


class _StepFollower:
    """Passes output on to the log and remembers which step the driver said it began."""

    def __init__(self, log: LogFile) -> None:
        self.step = "build.steps"
        self._log = log
        self._partial = b""

    def write(self, chunk: bytes) -> None:
        """Take a piece of output."""
        self._log.write(chunk)
        lines = (self._partial + chunk).split(b"\n")
        self._partial = lines.pop()[:4096]  # the number of the step stands at the front
        for line in lines:
            if line.startswith((b"+ build.steps[", b"+ patch -p1 < ")):
                self.step = line[2:].split(b": ")[0].decode("utf-8", "replace")


def limit_key(ended_by: str) -> str:
    """The key of config.toml for what `SandboxResult.ended_by` calls a limit."""
    return "build.limits." + ("file_size" if ended_by == "file" else ended_by)


def _step_error(recipe: Recipe, result: SandboxResult, step: str, log: LogFile) -> BuildError:
    if result.ended_by == "cancelled":
        return BuildError(f"{recipe.name}: {step}: cancelled", log_tail=log.tail())
    if result.ended_by:
        limit = limit_key(result.ended_by)
        return BuildError(
            f"{recipe.file}: {step}: expected to stay within {limit}, got past it "
            f"after {result.seconds:.0f} s",
            hint=f"raise {limit} in config.toml if the build is right",
            log_tail=log.tail(),
        )
    return BuildError(
        f"{recipe.file}: {step}: expected status 0, got {result.status}",
        hint="name the package of a header or program that is not found in build.packages; "
        f"`minid logs {recipe.name}` has all lines",
        log_tail=log.tail(),
    )
