"""The table of lints: what each is called, how bad its finding is, what it means, and who looks.

An error is what will not run, or leaks; a warning is style, or drift between releases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from minid.formats import lint_files as files
from minid.formats import lint_image as image
from minid.formats.lint import UNUSED, Finding, Severity
from minid.formats.lint_subject import Subject


@dataclass(frozen=True, slots=True)
class Rule:
    """One lint."""

    name: str
    severity: Severity
    explanation: str
    find: Callable[[Subject], files.Rows]


def _nothing(_: Subject) -> files.Rows:
    return iter(())


RULES = (
    Rule(
        "build-path",
        "warning",
        "A file has a path of the build sandbox in it (/build/src, /build/out, /build/sysroot): "
        "nothing is there in a container. Often a configure line or an assertion's file name; "
        "-ffile-prefix-map=/build/src=. takes the latter away.",
        files.find_build_paths,
    ),
    Rule(
        "build-rpath",
        "error",
        "A program or library looks for libraries below the build folder: whoever can write there "
        "gives it code. Link without -rpath, or with the folder of the image.",
        files.find_build_rpaths,
    ),
    Rule(
        "dangling-link",
        "warning",
        "A symbolic link leads to nothing. Links into /dev, /proc, /sys, /run and the image's "
        "volumes are filled by a runtime, and not meant. Drop the link, or ship what it names.",
        files.find_dangling_links,
    ),
    Rule(
        "foreign-libc",
        "error",
        "An object is linked with musl and would be loaded by glibc, or the other way round: it "
        "fails at the first symbol that differs. Build both in one environment.",
        partial(files.find_programs, "foreign-libc"),
    ),
    Rule(
        "host-name",
        "error",
        "A file has the name of the machine that built the image in it: it tells of your network, "
        "and another machine builds other bytes. Names that are short or common are not looked "
        "for.",
        files.find_host_names,
    ),
    Rule(
        "license-changed",
        "warning",
        "The licence differs from the release before: in the recipe, or in the licence files at "
        "the top of the source (years of copyright lines aside). Read it, then set `license`.",
        image.find_license_changes,
    ),
    Rule(
        "missing-interpreter",
        "error",
        "A program names a loader, or an executable script an interpreter, that the image does not "
        "have: it cannot be started. Ship the interpreter, or drop the file.",
        files.find_missing_interpreters,
    ),
    Rule(
        "missing-library",
        "error",
        "A program or library needs a library that its loader does not find in the image. "
        "`contents.dlopen` ships it.",
        partial(files.find_programs, "missing-library"),
    ),
    Rule(
        "no-ca-bundle",
        "warning",
        "OpenSSL is in the image, and neither cert.pem nor certs/ in its OPENSSLDIR, nor "
        "SSL_CERT_FILE or SSL_CERT_DIR, has certificates: no server can be verified. Ship a "
        "bundle, or say in the recipe that the program asks nobody.",
        image.find_no_ca_bundle,
    ),
    Rule(
        "nss-module",
        "warning",
        "nsswitch.conf names a service, and glibc's module for it (libnss_NAME.so.2) is not in the "
        "image: such lookups find nothing. `files` and `dns` are inside glibc since 2.34.",
        image.find_nss_modules,
    ),
    Rule(
        "secret",
        "error",
        "A file looks like a secret: a private key, a token, a file that is called as such files "
        "are (id_rsa, .env, .netrc), a password in /etc/shadow. Who pulls the image has it, also "
        "when a later layer removes it. Give secrets at run time. Keys that programs have inside "
        "to test themselves are not meant.",
        files.find_secrets,
    ),
    Rule(
        "setuid",
        "error",
        "A program runs with the rights of its owner or group, or has file capabilities, and the "
        "recipe does not list it. List it in `lint.ignore`, with its path and what it is for.",
        files.find_setuid,
    ),
    Rule(
        "size-grown",
        "warning",
        "The image is larger, unpacked, than that of the release before by more than 5 %. "
        "`minid diff` shows by what.",
        image.find_growth,
    ),
    Rule(
        "symbol-version",
        "error",
        "An object needs a symbol version that the library in the image does not define, such as "
        "GLIBC_2.38 of a glibc 2.36: it does not start. Build with the libraries that are shipped.",
        partial(files.find_programs, "symbol-version"),
    ),
    Rule(
        "tmp-mode",
        "warning",
        "The image has no /tmp, or it or /var/tmp has another mode than 1777: programs that are "
        "not root cannot make files there, or users can remove those of others.",
        image.find_tmp_mode,
    ),
    Rule(
        "unknown-user",
        "error",
        "The image is to run as a user or group whom its /etc/passwd or /etc/group does not have: "
        "engines refuse to start it. Add the user to `rootfs.users`, or give a number.",
        image.find_unknown_user,
    ),
    Rule(
        "unstripped",
        "warning",
        "A program or library has its symbol table, which only debuggers read. `contents.strip` "
        "is true by default; files of `rootfs.files` are as they are.",
        files.find_unstripped,
    ),
    Rule(
        UNUSED,
        "warning",
        "An entry of the recipe's `lint.ignore` silences nothing any more: take it out, before it "
        "hides something new.",
        _nothing,
    ),
    Rule(
        "world-writable",
        "error",
        "Every user may change this file, or this folder's files: a program that runs as a user of "
        "its own gains nothing by it. Sticky folders such as /tmp are not meant.",
        files.find_world_writable,
    ),
)


def run_rules(subject: Subject) -> tuple[Finding, ...]:
    """Every finding in what the image has of its own, sorted by rule and path."""
    found = [
        Finding(rule.name, path, detail, rule.severity)
        for rule in RULES
        for path, detail in rule.find(subject)
        if not path or path in subject.own
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda item: (item.rule, item.image_path)))
