"""Lints of an image as a whole: users, certificates, lookups, /tmp, and what a release changed."""

from __future__ import annotations

import posixpath
import re

from minid.formats.accounts import Accounts
from minid.formats.closure_values import ClosureOptions
from minid.formats.dlopen_rules import parse_nsswitch
from minid.formats.lint_files import Rows
from minid.formats.lint_subject import Subject
from minid.formats.quantity import format_size

_GROWTH = 1.05
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
# glibc has these two inside since 2.34.
_BUILT_IN, _BUILT_IN_SINCE = frozenset({"files", "dns"}), 34
_NSSWITCH = "etc/nsswitch.conf"


def find_unknown_user(subject: Subject) -> Rows:
    """A user or group of the configuration that the image's own files do not have."""
    user, _, group = str(subject.config.get("User") or "").partition(":")
    accounts = Accounts(subject.text("etc/passwd"), subject.text("etc/group"))
    if user and not user.isdecimal() and user not in accounts.uids:
        yield "", f"runs as user {user!r}, whom /etc/passwd does not have"
    if group and not group.isdecimal() and group not in accounts.gids:
        yield "", f"runs as group {group!r}, which /etc/group does not have"


def find_no_ca_bundle(subject: Subject) -> Rows:
    """OpenSSL in the image, and nothing where it looks for the authorities that it trusts."""
    environ = subject.environ()
    told = [environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environ.get(name)]
    if any(_has_certificates(subject, path) for path in told):
        return
    for entry, facts in subject.own_files():
        for folder in facts.openssl if facts.elf else ():
            file, store = posixpath.join(folder, "cert.pem"), posixpath.join(folder, "certs")
            if not any(_has_certificates(subject, path) for path in (file, store)):
                yield entry.image_path, f"trusts nobody: neither {file} nor {store} has authorities"


def _has_certificates(subject: Subject, path: str) -> bool:
    entry = subject.entry_at(path)
    if entry is not None:
        return bool(entry.content and entry.content.size)
    return any(
        _HASHED.fullmatch(name)
        for folder in subject.walker.folders(path)
        for name in subject.walker.view.names_in(folder.image_path)
    )


def find_nss_modules(subject: Subject) -> Rows:
    """Services of nsswitch.conf whose module glibc would not find."""
    if not subject.programs.glibc:
        return
    text = subject.text(_NSSWITCH)
    libcs = [path for path in subject.entries if path.rpartition("/")[2] == "libc.so.6"]
    if not subject.own.intersection((_NSSWITCH, *libcs)):
        return
    names = {path.rpartition("/")[2] for path in subject.entries}
    missing: dict[str, list[str]] = {}
    for database, services in parse_nsswitch(text or ClosureOptions().nsswitch).items():
        for service in services:
            built_in = service in _BUILT_IN and subject.programs.glibc >= _BUILT_IN_SINCE
            if not built_in and f"libnss_{service}.so.2" not in names:
                missing.setdefault(service, []).append(database)
    for service, databases in missing.items():
        yield (
            _NSSWITCH if text else "",
            f"looks up {', '.join(databases)} by {service!r}, and libnss_{service}.so.2 "
            "is not there",
        )


def find_tmp_mode(subject: Subject) -> Rows:
    """Folders for everybody's temporary files, without the mode that makes them such."""
    if subject.whole and "tmp" not in subject.entries:
        yield "", "has no /tmp"
    for path in ("tmp", "var/tmp"):
        entry = subject.entries.get(path)
        if path not in subject.own or entry is None or entry.kind == "symlink":
            continue
        if entry.mode & 0o7777 != 0o1777:
            yield path, f"has mode {entry.mode & 0o7777:04o}, expected 1777"


def find_license_changes(subject: Subject) -> Rows:
    """What differs between the licences of this release and of the one before."""
    now, before = subject.now, subject.before
    if before is None:
        return
    since = f"since {before.version}"
    if before.license and now.license != before.license:
        yield "", f"the licence was {before.license!r} and is {now.license!r} {since}"
    if not before.licenses or not now.licenses:
        return
    for name in sorted(before.licenses.keys() | now.licenses.keys()):
        if name not in now.licenses:
            yield "", f"the source's {name} is gone {since}"
        elif name not in before.licenses:
            yield "", f"the source has a new {name} {since}"
        elif before.licenses[name] != now.licenses[name]:
            yield "", f"the source's {name} has another text {since}"


def find_growth(subject: Subject) -> Rows:
    """A release that is larger than the one before by more than a twentieth."""
    now, before = subject.now, subject.before
    if before is None or not before.unpacked or now.unpacked <= before.unpacked * _GROWTH:
        return
    percent = (now.unpacked / before.unpacked - 1) * 100
    yield (
        "",
        f"{format_size(before.unpacked)} unpacked became {format_size(now.unpacked)} "
        f"(+{percent:.1f} %) since {before.version}",
    )
