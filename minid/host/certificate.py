"""A self-signed certificate for one container of a check, made by the `openssl` program."""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Sequence
from pathlib import Path

from minid.errors import HostError
from minid.host import process

_TIMEOUT_S = 30.0


def make_certificate(names: Sequence[str]) -> tuple[bytes, bytes]:
    """Certificate and key (ECDSA P-256) as PEM, for two days and these DNS names or addresses.

    HostError without openssl. Nothing stays on disk.
    """
    program = process.need_program("openssl")
    with tempfile.TemporaryDirectory(prefix="minid-") as folder:
        cert, key = Path(folder, "cert"), Path(folder, "key")
        argv = [str(program), "req", "-x509", "-newkey", "ec"]
        argv += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        argv += ["-subj", f"/CN={names[0][:64]}"]
        argv += ["-addext", f"subjectAltName={','.join(map(_alternative, names))}"]
        argv += ["-keyout", str(key), "-out", str(cert)]
        done = process.run(argv, timeout_s=_TIMEOUT_S)
        if done.status:
            said = done.stderr.decode("utf-8", "replace").splitlines()[-3:]
            raise HostError(f"openssl: expected a certificate, got {'; '.join(said)}")
        return cert.read_bytes(), key.read_bytes()


def _alternative(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"
