"""Putting minid's service on a machine, or into the tree of an image: `minid install-service`.

Each step looks first and changes only what is not as it should be, so that a second run does
nothing. The operator's own files are never replaced.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minid.errors import HostError
from minid.host import process, service_files, systemd
from minid.host.files import write_file

Deed = Literal["made", "updated", "unchanged", "kept", "removed"]
_TIMEOUT_S = 60.0
_UNIT_NAME = "minid.service"
_HOMES = ("/home/", "/root/", "/run/user/")  # what ProtectHome= closes


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one thing. `kept`: it is the operator's, and differs from what is shipped."""

    what: str
    deed: Deed
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """What is to be installed where. `root` is `/` or the tree of an image; `program` is a path
    inside it; `shipped` the folder of the files that come with minid. With `dry_run` nothing is
    changed and no program is run: the changes tell what would be done."""

    root: Path
    user: str
    program: str
    shipped: Path
    dry_run: bool = False

    @property
    def is_machine(self) -> bool:
        """Whether this is the machine itself, and not the tree of an image."""
        return self.root == Path("/")


def install_service(job: Installation) -> Iterator[Change]:
    """Do it, step by step; each change is told when it is done. HostError, OSError."""
    unit = render(job, "minid.service")
    files = {service_files.UNIT: unit}
    for name in ("minid.sysusers.conf", "minid.tmpfiles.conf"):
        files[service_files.SHIPPED[name]] = render(job, name)
    told = [_put_file(job, place, text) for place, text in files.items()]
    yield from told
    yield _make_user(job)
    yield from _give_subids(job)
    yield from _make_folders(job)
    yield _make_config(job)
    if told[0].deed != "unchanged":
        yield from _reload_manager(job)
    _check_program(job)


def uninstall_service(job: Installation) -> Iterator[Change]:
    """Stop the service and remove its files. The user, configuration and state stay."""
    if job.is_machine and systemd.booted() and not job.dry_run:
        _run("systemctl", "disable", "--now", _UNIT_NAME, may_fail=True)
    for place in (*service_files.SHIPPED.values(), service_files.ENABLED):
        path = job.root / place
        if path.exists() or path.is_symlink():
            _check_inside(job, path)
            if not job.dry_run:
                path.unlink()
            yield Change(f"/{place}", "removed")
    yield from _reload_manager(job)


def render(job: Installation, name: str) -> str:
    """One of the shipped files as it is to be for this user and program."""
    text = (job.shipped / name).read_text()
    if name == "minid.service":
        return service_files.render_unit(text, job.program, job.user, in_home=_lies_in_home(job))
    return service_files.render_sysusers(text, job.user) if "sysusers" in name else text


def _lies_in_home(job: Installation) -> bool:
    """Whether the program, its interpreter or minid's modules are in somebody's home."""
    parts = [job.program]
    if job.is_machine:
        parts += [os.path.realpath(part) for part in (job.program, sys.executable, __file__)]
    return any(part.startswith(_HOMES) for part in parts)


def _put_file(job: Installation, place: str, text: str) -> Change:
    path = job.root / place
    before = _read(path)
    if before == text:
        return Change(f"/{place}", "unchanged")
    _write(job, path, text)
    return Change(f"/{place}", "updated" if before else "made")


def _make_user(job: Installation) -> Change:
    what = f"user {job.user}"
    if job.user in _user_ids(job.root):
        return Change(what, "unchanged")
    _run_in_root(job, "systemd-sysusers", "minid.conf")
    return Change(what, "made")


def _give_subids(job: Installation) -> Iterator[Change]:
    """A range in /etc/subuid and in /etc/subgid, the same where both lack one."""
    places = ("etc/subuid", "etc/subgid")
    texts = [_read(job.root / place) for place in places]
    start = None
    for place, text in zip(places, texts, strict=True):
        if service_files.has_subids(text, job.user):
            yield Change(f"/{place}", "unchanged")
            continue
        if start is None:
            start = service_files.free_subids(texts, _user_ids(job.root).values())
        _write(job, job.root / place, service_files.add_range(text, job.user, start))
        detail = f"{job.user} has {service_files.SUBIDS_WANTED} ids from {start}"
        yield Change(f"/{place}", "updated" if text else "made", detail)


def _make_folders(job: Installation) -> Iterator[Change]:
    lines = render(job, "minid.tmpfiles.conf").splitlines()
    folders = [line.split()[1] for line in lines if line.startswith("d ")]
    missing = [folder for folder in folders if not (job.root / folder[1:]).is_dir()]
    if missing:
        _run_in_root(job, "systemd-tmpfiles", "--create", "minid.conf")
    for folder in folders:
        yield Change(folder, "made" if folder in missing else "unchanged")


def _make_config(job: Installation) -> Change:
    path, what = job.root / service_files.CONFIG, f"/{service_files.CONFIG}"
    text = _read(path)
    if text == service_files.CONFIG_TEXT:
        return Change(what, "unchanged")
    if path.exists():
        return Change(what, "kept", "it is yours")
    _write(job, path, service_files.CONFIG_TEXT)
    return Change(what, "made")


def _reload_manager(job: Installation) -> Iterator[Change]:
    if job.is_machine and systemd.booted():
        if not job.dry_run:
            _run("systemctl", "daemon-reload")
        yield Change("systemd's units", "updated", "daemon-reload")


def _check_program(job: Installation) -> None:
    """See that the user can run the program: below somebody's home that is often not so."""
    if not job.is_machine or job.dry_run or os.geteuid() != 0:
        return
    entry = pwd.getpwnam(job.user)
    as_user = [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]
    done = process.run(
        ["setpriv", *as_user, "--", job.program, "--version"],
        timeout_s=_TIMEOUT_S,
        cwd=Path("/"),
    )
    if done.status:
        raise HostError(
            f"{job.program}: expected to be run by {job.user!r}, got {_last_line(done.stderr)!r}",
            hint="install minid where every user may read it: python3 -m venv /opt/minid, then "
            "/opt/minid/bin/pip install minid, and /opt/minid/bin/minid install-service",
        )


def _run_in_root(job: Installation, program: str, *words: str) -> None:
    if not job.dry_run:
        _run(program, f"--root={job.root.absolute()}", *words)


def _run(program: str, *words: str, may_fail: bool = False) -> None:
    done = process.run([program, *words], timeout_s=_TIMEOUT_S)
    if done.status and not may_fail:
        raise HostError(
            f"{program} {' '.join(words)}: expected to succeed, got {_last_line(done.stderr)!r}"
        )


def _user_ids(root: Path) -> dict[str, int]:
    """Name → number of the users that the tree's own file names."""
    rows = (line.split(":") for line in _read(root / "etc/passwd").splitlines())
    return {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}


def _read(path: Path) -> str:
    """A text file; empty where there is none. Bytes that are no UTF-8 are kept."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _write(job: Installation, path: Path, text: str) -> None:
    if job.dry_run:
        return
    _check_inside(job, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode("utf-8", "surrogateescape"))


def _check_inside(job: Installation, path: Path) -> None:
    """Refuse a tree whose folders are links out of it: the machine's own files would be changed."""
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(job.root)):
        raise HostError(
            f"{path.parent}: expected a folder in {job.root}, got {os.path.realpath(path.parent)}"
        )


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "nothing"
