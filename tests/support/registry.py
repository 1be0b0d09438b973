"""Debian's docker-registry on loopback, as a test needs it: open, with a login, over TLS."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.line import wait_for
from tests.support.require import require

USER, PASSWORD = "ann", "canary-3b1f9c"
# As `htpasswd -B` hashes it; the registry takes no other.
HASHED = "$2b$05$oynqDVCUNeaHxrO/8xcpuOdLcLCkbECHqgOvFLioZmmCNN5BaZW9G"


@dataclass(frozen=True, slots=True)
class RunningRegistry:
    """A registry at `host` (`localhost:PORT`); `ca` is the file of its authority over TLS."""

    host: str
    folder: Path
    ca: Path | None = None

    def login_file(self, password: str = PASSWORD) -> str:
        """A config.json of Docker's with the login, as its folder."""
        place = self.folder / "login"
        place.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        (place / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        return str(place)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def run_registry(
    folder: Path, *, login: bool = False, tls: bool = False, token_realm: str = ""
) -> Iterator[RunningRegistry]:
    """A registry with nothing in it."""
    require("docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    text = "version: 0.1\nlog: {level: error}\n"
    text += f"storage:\n  filesystem: {{rootdirectory: {folder}/data}}\n"
    text += f"http:\n  addr: 127.0.0.1:{port}\n"
    ca = None
    if tls:
        ca = make_certificate(folder)
        text += f"  tls: {{certificate: {ca}, key: {folder}/key.pem}}\n"
    if login:
        (folder / "htpasswd").write_text(f"{USER}:{HASHED}\n")
        text += f"auth:\n  htpasswd: {{realm: here, path: {folder}/htpasswd}}\n"
    if token_realm:
        make_certificate(folder)
        text += (
            f"auth:\n  token: {{realm: {token_realm}, service: registry, issuer: tests, "
            f"rootcertbundle: {folder}/cert.pem}}\n"
        )
    (folder / "config.yml").write_text(text)
    with (folder / "log").open("w") as log:
        argv = ["docker-registry", "serve", str(folder / "config.yml")]
        child = subprocess.Popen(argv, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})
    try:
        wait_for(lambda: child.poll() is not None or listens(port), 30)
        assert child.poll() is None, (folder / "log").read_text()
        yield RunningRegistry(f"localhost:{port}", folder, ca)
    finally:
        child.kill()
        child.wait()


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def make_certificate(folder: Path) -> Path:
    """A certificate for localhost, signed by itself; its key lies beside it."""
    require("openssl")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    argv += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    argv += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(argv, check=True, capture_output=True)
    return certificate
