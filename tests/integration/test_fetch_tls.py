"""https, with certificates that the test makes: trusted, foreign, for another host, by a proxy."""

from __future__ import annotations

import ssl
import subprocess

import pytest

from minid.config import Fetching
from minid.errors import FetchError
from minid.host.http import fetch_text
from tests.support.lying_server import LyingServer, body, redirect
from tests.support.require import require

pytestmark = pytest.mark.integration

LIMITS = Fetching(attempts=1, connect_timeout_s=2, read_timeout_s=0.3, min_bytes_per_s=2000)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for `localhost`, with its key in the same file."""
    require("openssl")
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    argv += ["-addext", "subjectAltName=DNS:localhost", "-keyout", file, "-out", f"{file}.crt"]
    subprocess.run(argv, check=True, capture_output=True)
    with file.open("ab") as both:
        both.write(file.with_suffix(".pem.crt").read_bytes())
    return file


@pytest.fixture
def server(certificate):
    with LyingServer() as running:
        running.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        running.tls.load_cert_chain(certificate)
        yield running


@pytest.fixture
def trusted(certificate, monkeypatch):
    """Makes the certificate one that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")


def ask(server, path, host="localhost", limits=LIMITS):
    return fetch_text(server.url(path, host), limits, 1000)


def refused(server, path, host="localhost", limits=LIMITS):
    with pytest.raises(FetchError) as caught:
        ask(server, path, host, limits)
    return caught.value


@pytest.mark.usefixtures("trusted")
def test_https(server):
    server.paths["/f"] = redirect("/g")
    server.paths["/g"] = body(b"secret")
    assert ask(server, "/f") == "secret"


def test_a_certificate_that_nobody_vouches_for(server):
    server.paths["/f"] = body(b"x")
    error = refused(server, "/f")
    assert not error.retryable
    assert "TLS" in error.message
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_host(server):
    error = refused(server, "/f", "127.0.0.1")
    assert "TLS" in error.message
    assert server.requests == []


def test_a_server_that_speaks_no_tls():
    with LyingServer({"/f": body(b"x")}) as plain:
        url = plain.url("/f", "localhost").replace("http:", "https:")
        with pytest.raises(FetchError):
            fetch_text(url, LIMITS, 1000)
    assert plain.requests == []


@pytest.mark.usefixtures("trusted")
def test_no_way_back_to_http(server):
    with LyingServer({"/f": body(b"x")}) as plain:
        server.paths["/f"] = redirect(plain.url("/f"))
        error = refused(server, "/f")
        assert not error.retryable
        assert "stays on https" in error.message
        assert plain.connections == 0


@pytest.mark.usefixtures("trusted")
def test_dripping(server):
    server.paths["/f"] = server.dripping(b"HTTP/1.1 200 OK\r\n\r\n")
    error = refused(server, "/f")
    assert error.retryable
    assert "bytes/s" in error.message


@pytest.mark.usefixtures("trusted")
def test_through_a_proxy_s_tunnel(server):
    server.paths["/f"] = body(b"by tunnel")
    with LyingServer() as proxy:
        target = f"localhost:{server.port}"
        proxy.paths[target] = proxy.tunnel(server.port)
        limits = Fetching(attempts=1, proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        assert ask(server, "/f", limits=limits) == "by tunnel"
        (request,) = proxy.requests
    assert (request.method, request.target) == ("CONNECT", target)
    assert request.headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"
    assert "proxy-authorization" not in server.requests[0].headers
