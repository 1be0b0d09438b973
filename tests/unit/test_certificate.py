"""Certificates for checks, and asking a server that has one."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from minid.host import netprobe
from minid.host.certificate import make_certificate
from tests.support.require import require

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    require("openssl")
    where = tmp_path_factory.mktemp("pair")
    cert, key = make_certificate(("localhost", "*.example.org", "127.0.0.1"))
    (where / "cert").write_bytes(cert)
    (where / "key").write_bytes(key)
    return where / "cert", where / "key"


def test_certificate_is_what_openssl_shows(pair: tuple[Path, Path]) -> None:
    argv = ["openssl", "x509", "-noout", "-text", "-in", str(pair[0])]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert "DNS:localhost, DNS:*.example.org, IP Address:127.0.0.1" in shown
    assert "ASN1 OID: prime256v1" in shown


def test_page_comes_over_tls(pair: tuple[Path, Path]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[str | None] = []

    def serve() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        context.sni_callback = lambda _, name, __: seen.append(name)
        peer, _ = listener.accept()
        with context.wrap_socket(peer, server_side=True) as secured:
            secured.recv(4096)
            secured.sendall(PAGE)

    threading.Thread(target=serve, daemon=True).start()
    with listener, netprobe.with_tls(socket.socket()) as sock:
        assert netprobe.http_get(sock, listener.getsockname(), "/").body == b"hello"
    assert seen == ["localhost"]


@pytest.mark.parametrize(
    ("said", "expected"), [(PAGE, "no TLS: wrong version number"), (b"", "no TLS: unexpected eof")]
)
def test_server_without_tls_gives_no_answer(said: bytes, expected: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(said)

    threading.Thread(target=serve, daemon=True).start()
    with (
        listener,
        netprobe.with_tls(socket.socket()) as sock,
        pytest.raises(netprobe.NoAnswerError, match=expected),
    ):
        netprobe.http_get(sock, listener.getsockname(), "/", timeout_s=5)


def test_silent_server_is_left_in_time() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        netprobe.with_tls(socket.socket()) as sock,
        pytest.raises(netprobe.NoAnswerError, match="no answer in time"),
    ):
        netprobe.http_get(sock, listener.getsockname(), "/", timeout_s=0.2)
