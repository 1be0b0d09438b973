"""The service's client over https, with certificates that the test makes."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minid.config import Fetching
from minid.errors import FetchError
from minid.host.web import Answer, Web
from tests.support.lying_server import LyingServer, body, redirect
from tests.support.require import require
from tests.support.upstream_site import UpstreamSite

pytestmark = pytest.mark.integration

LISTED = ("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for `localhost`, with its key in the same file."""
    require("openssl")
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    argv += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(file), "-out", f"{file}.crt"]
    subprocess.run(argv, check=True, capture_output=True)
    with file.open("ab") as both:
        both.write(Path(f"{file}.crt").read_bytes())
    return file


@pytest.fixture
def server(certificate: Path) -> Iterator[LyingServer]:
    with LyingServer() as running:
        running.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        running.tls.load_cert_chain(certificate)
        yield running


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the certificate one that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")


def get(url: str, limits: Fetching | None = None, inside: tuple[str, ...] = LISTED) -> Answer:
    async def main() -> Answer:
        async with Web(limits or Fetching(), inside=inside, page_timeout_s=10) as web:
            return await web.get(url)

    return asyncio.run(main())


@pytest.mark.usefixtures("trusted")
def test_https(server: LyingServer) -> None:
    server.paths["/f"] = redirect("/g")
    server.paths["/g"] = body(b"listing")
    assert get(server.url("/f", "localhost")).body == b"listing"


def test_a_certificate_that_nobody_vouches_for(server: LyingServer) -> None:
    with pytest.raises(FetchError, match="expected a trusted TLS connection") as caught:
        get(server.url("/f", "localhost"))
    assert not caught.value.retryable
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_host(server: LyingServer) -> None:
    with pytest.raises(FetchError, match="TLS"):
        get(server.url("/f", "127.0.0.1"))
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_never_from_https_to_http(server: LyingServer) -> None:
    with LyingServer({"/plain": body(b"x")}) as plain:
        server.paths["/f"] = redirect(plain.url("/plain", "localhost"))
        with pytest.raises(FetchError, match="a redirect that stays on https"):
            get(server.url("/f", "localhost"))
        assert plain.requests == []


def test_a_server_that_does_not_speak_tls() -> None:
    with UpstreamSite() as plain, pytest.raises(FetchError):
        get(f"https://localhost:{plain.port}/")


@pytest.mark.usefixtures("trusted")
def test_a_proxy_makes_a_tunnel(server: LyingServer) -> None:
    server.paths["/f"] = body(b"listing")
    with LyingServer() as proxy:
        proxy.paths[f"localhost:{server.port}"] = proxy.tunnel(server.port)
        limits = Fetching(proxy=f"http://user:secret@127.0.0.1:{proxy.port}")
        assert get(server.url("/f", "localhost"), limits).body == b"listing"
        assert proxy.requests[0].method == "CONNECT"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXQ="
        assert "proxy-authorization" not in server.requests[0].headers
        with pytest.raises(FetchError, match="a public address"):
            get(server.url("/f", "localhost"), limits, ())
