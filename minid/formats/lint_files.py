"""Lints of single files of an image: programs, links, modes, and what is inside."""

from __future__ import annotations

import re
from collections.abc import Iterator

from minid.formats.file_view import normalize
from minid.formats.lint_bytes import BUILD_FOLDER
from minid.formats.lint_subject import Subject
from minid.model import Entry

Rows = Iterator[tuple[str, str]]
"""Image path and detail; an empty path stands for the image as a whole."""

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SETID = 0o6000
_SECRET_NAME = re.compile(
    r"(?:.*/)?(?:id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?"
    r"|\.env(?:\.(?!example|sample|template|dist)[\w-]+)?"
    r"|\.netrc|\.pgpass|\.git-credentials|\.pypirc|\.dockercfg|\.htpasswd"
    r"|\.docker/config\.json|\.aws/credentials|\.kube/config"
    r"|[^/]+\.(?:kdbx|ppk|p12|pfx))"
)
# The second field: a folder of 13 letters, such as /var/www/html, looks like DES' hash elsewhere.
_PASSWORD = re.compile(r"^([^:\n]{1,100}):(\$[^:\n]{8,}|[./0-9A-Za-z]{13}):", re.MULTILINE)


def find_unstripped(subject: Subject) -> Rows:
    """Programs and libraries with their symbol table, but for loaders: debuggers need theirs."""
    named = {facts.interpreter for _, facts in subject.own_files() if facts.interpreter}
    loaders = {found.image_path for name in named for found in subject.walker.find(name)}
    for entry, facts in subject.own_files():
        name = entry.image_path.rpartition("/")[2]
        is_loader = entry.image_path in loaders or name.startswith(("ld-linux", "ld-musl", "ld64"))
        if facts.unstripped and not is_loader:
            yield entry.image_path, "has its symbol table"


def find_build_rpaths(subject: Subject) -> Rows:
    """RPATH and RUNPATH that lead to where the build was."""
    for entry, facts in subject.own_files():
        for folder in facts.rpath.split(":"):
            if BUILD_FOLDER.match(folder):
                yield entry.image_path, f"looks for libraries in {folder!r}"


def find_dangling_links(subject: Subject) -> Rows:
    """Symlinks with nothing at their end."""
    for entry in subject.own_entries():
        if entry.kind == "symlink" and not subject.leads_somewhere(entry):
            yield entry.image_path, f"leads to {entry.target!r}, where nothing is"


def find_missing_interpreters(subject: Subject) -> Rows:
    """Programs and scripts whose loader or shell is not in the image."""
    for entry, facts in subject.own_files():
        if facts.interpreter and not subject.walker.find(facts.interpreter):
            yield entry.image_path, f"needs {facts.interpreter!r} to run"
        elif facts.script and entry.mode & 0o111:
            wanted = _missing_shell(subject, facts.script)
            if wanted:
                yield entry.image_path, f"is a script for {wanted!r}, which is not there"


def _missing_shell(subject: Subject, script: str) -> str:
    words = script.split()
    if not words:
        return ""  # a shell runs it
    if not subject.walker.find(words[0]):
        return words[0]
    if words[0].rpartition("/")[2] != "env":
        return ""
    rest = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if not rest or "/" in rest[0]:
        return rest[0] if rest and not subject.walker.find(rest[0]) else ""
    folders = subject.environ().get("PATH", _DEFAULT_PATH).split(":")
    there = any(subject.walker.find_in(folder, rest[0]) for folder in folders if folder)
    return "" if there else rest[0]


def rules_of_mode(kind: str, mode: int) -> Iterator[str]:
    """The names of the rules that an entry breaks by its mode alone."""
    if kind == "file" and mode & _SETID:
        yield "setuid"
    sticky = kind == "directory" and mode & 0o1000
    if kind in ("file", "directory") and mode & 0o002 and not sticky:
        yield "world-writable"


def find_setuid(subject: Subject) -> Rows:
    """Programs that run with more rights than who starts them."""
    for entry in subject.own_entries():
        if "setuid" in rules_of_mode(entry.kind, entry.mode):
            yield entry.image_path, f"has mode {entry.mode & 0o7777:04o}"
        if any(name == "security.capability" for name, _ in entry.xattrs):
            yield entry.image_path, "has file capabilities"


def find_world_writable(subject: Subject) -> Rows:
    """Files and folders that every user may change; a sticky folder only lets them add."""
    for entry in subject.own_entries():
        if "world-writable" in rules_of_mode(entry.kind, entry.mode):
            yield entry.image_path, f"a {entry.kind} of mode {entry.mode & 0o7777:04o}"


def find_build_paths(subject: Subject) -> Rows:
    """Paths of the sandbox inside files."""
    for entry, facts in subject.own_files():
        if facts.build_paths:
            yield entry.image_path, f"has {', '.join(map(repr, facts.build_paths))} in it"


def find_host_names(subject: Subject) -> Rows:
    """The name of the machine that built it, inside files."""
    for entry, facts in subject.own_files():
        if facts.host_names:
            yield entry.image_path, "has the name of the machine that built it in it"


def find_secrets(subject: Subject) -> Rows:
    """Files that look like secrets, by name and by content; what they say is not told."""
    for entry, facts in subject.own_files():
        if facts.secrets:
            yield entry.image_path, f"has {' and '.join(facts.secrets)} in it"
        elif _is_secret_name(entry):
            yield entry.image_path, "is called as files with secrets are"
    for path in ("etc/shadow", "etc/passwd"):
        for name, _ in _PASSWORD.findall(subject.text(path) if path in subject.own else ""):
            yield path, f"has a password for {name!r}"


def _is_secret_name(entry: Entry) -> bool:
    return bool(
        entry.content and entry.content.size and _SECRET_NAME.fullmatch(normalize(entry.image_path))
    )


def find_programs(rule: str, subject: Subject) -> Rows:
    """What `lint_programs` found for a rule."""
    return ((path, detail) for name, path, detail in subject.programs.rows if name == rule)
