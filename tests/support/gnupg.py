"""Real OpenPGP keys and signatures, made by gpg in a home of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType


class GnuPg:
    """A context: keys without passphrases, forgotten at its end together with gpg's agent."""

    def __init__(self) -> None:
        # The agent's socket lies in there, and its path may be 107 bytes long.
        self.home = Path(tempfile.mkdtemp(prefix="mgpg-", dir="/tmp"))

    def __enter__(self) -> GnuPg:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run(
            ["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, timeout=30
        )
        shutil.rmtree(self.home)

    def run(self, *argv: str, data: bytes = b"") -> bytes:
        options = [
            "--batch",
            "--quiet",
            "--yes",
            "--no-options",
            "--homedir",
            str(self.home),
        ]
        options += ["--pinentry-mode", "loopback", "--passphrase", ""]
        done = subprocess.run(
            ["gpg", *options, *argv], input=data, capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def make_key(
        self, user: str, kind: str = "ed25519", *, end: str = "never", at: str = "20240101T000000"
    ) -> str:
        """The fingerprint of a new key that can sign; `at` is its birthday."""
        self.run("--faked-system-time", at, "--quick-generate-key", user, kind, "sign", end)
        listed = self.run("--list-keys", "--with-colons", f"={user}").decode()
        return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))

    def export(self, *fingerprints: str, armor: bool = True) -> bytes:
        return self.run(*["--armor"][:armor], "--export", *fingerprints)

    def sign(self, data: bytes, *keys: str, options: Sequence[str] = ("--detach-sign",)) -> bytes:
        """A binary signature of all the keys, detached unless `options` say otherwise."""
        users = [word for key in keys for word in ("--local-user", f"{key}!")]
        return self.run(*users, *options, data=data)
