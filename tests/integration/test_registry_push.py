"""A real registry: open, with a login, with tokens, over TLS; as a target and by hand."""

from __future__ import annotations

import base64
import datetime
import json
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.daemon import daemon_of
from tests.support.line import Line, new_line
from tests.support.registry import PASSWORD, USER, RunningRegistry, free_port, run_registry
from tests.support.require import require

pytestmark = pytest.mark.integration
NAME = f"minid-push-{uuid.uuid4().hex[:10]}"
TAG = f"{NAME}:1.0.0"


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    require("bwrap", "gcc", "make", "runc", "skopeo")
    with new_line() as line:
        line.recipe("hello").rename(line.recipe(NAME))
        line.build(NAME)
        yield line


@pytest.fixture(scope="module")
def place(built: Line) -> Path:
    return built.folder.parent


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pulled_digest(registry: RunningRegistry, name: str, to: Path, *options: str) -> str:
    """The digest of the manifest that skopeo brings from the registry."""
    skopeo("copy", "-q", *options, f"docker://{registry.host}/{name}", f"dir:{to}")
    import hashlib

    return "sha256:" + hashlib.sha256((to / "manifest.json").read_bytes()).hexdigest()


def test_what_is_pushed_is_what_the_store_has(built: Line, place: Path, tmp_path: Path) -> None:
    with run_registry(place / "open") as registry:
        done = built.run("push", TAG, f"{registry.host}/team/hello", "--json")
        assert done.status == 0, done.err
        (told,) = done.json()
        assert told["sent"] > 0
        got = pulled_digest(registry, "team/hello:1.0.0", tmp_path / "a", "--src-tls-verify=false")
        assert got == built.tags()[TAG] == told["manifest"]
        again = built.run("push", TAG, f"{registry.host}/team/hello:other", "--json").json()[0]
        assert again["sent"] == 0
        # and back, into another store
        other = Line(tmp_path / "w")
        (other.folder / "recipes").mkdir(parents=True)
        other.write_config()
        assert other.run("pull", f"{registry.host}/team/hello:other", "--tag", TAG).status == 0
        assert other.tags()[TAG] == built.tags()[TAG]
        by_digest = f"{registry.host}/team/hello@{told['manifest']}"
        assert other.run("pull", by_digest).status == 2
        assert other.run("pull", by_digest, "--tag", "by-digest:1").status == 0
        assert other.tags()["by-digest:1"] == told["manifest"]
        assert other.run("pull", f"{registry.host}/team/none:1").status == 12
        assert other.run("test", TAG).status == 2  # nobody's recipe, so nobody's checks


def test_a_registry_is_a_target_and_is_caught_up_with(built: Line, place: Path) -> None:
    port = free_port()
    text = (built.folder / "config.toml").read_text()
    try:
        with (built.folder / "config.toml").open("a") as file:
            file.write(f'registry = "localhost:{port}/team"\n')
        failed = built.run("build", NAME)
        assert failed.status == 25, failed.out + failed.err
        with run_registry(place / "target") as registry:
            config = (built.folder / "config.toml").read_text()
            (built.folder / "config.toml").write_text(
                config.replace(f"localhost:{port}", registry.host)
            )
            made = built.build(NAME)[NAME]
            assert f"registry {TAG}" in made["moved"]
            shown = skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/team/{TAG}")
            assert json.loads(shown)["Digest"] == built.tags()[TAG]
            assert built.build(NAME)[NAME]["status"] == "unchanged"
            edited = built.run("set", TAG, "--label", "a=b", "--json").json()[0]["to"]
            shown = skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/team/{TAG}")
            assert json.loads(shown)["Digest"] == edited
            built.query("undo", TAG)
            # What has a registry in its name has a place of its own, and does not go to another.
            named = f"{registry.host}/team/{TAG}"
            assert built.run("pull", named).status == 0
            edited = built.run("set", named, "--label", "c=d")
            assert edited.status == 0, edited.err
    finally:
        (built.folder / "config.toml").write_text(text)


def test_a_login_is_found_and_never_shown(built: Line, place: Path) -> None:
    with run_registry(place / "login", login=True) as registry:
        name = f"{registry.host}/hello"
        done = built.run("push", TAG, name)
        assert (done.status, "log in" in done.err) == (25, True)
        wrong = built.with_environ(DOCKER_CONFIG=registry.login_file("wrong"))
        done = wrong.run("push", TAG, name)
        assert done.status == 25
        assert "wrong" not in done.out + done.err
        docker = built.with_environ(DOCKER_CONFIG=registry.login_file())
        done = docker.run("push", TAG, name)
        assert done.status == 0, done.err
        given = place / "credentials"
        given.mkdir()
        (given / "registry-auth.json").write_bytes(
            Path(registry.login_file(), "config.json").read_bytes()
        )
        systemd = built.with_environ(CREDENTIALS_DIRECTORY=str(given))
        assert systemd.run("push", TAG, f"{name}:systemd").status == 0
        helper = place / "bin" / "docker-credential-tests"
        helper.parent.mkdir()
        answer = json.dumps({"Username": USER, "Secret": PASSWORD})
        helper.write_text(
            f"#!/bin/sh\nread host; [ \"$host\" = {registry.host} ] && echo '{answer}'\n"
        )
        helper.chmod(0o755)
        (place / "helped").mkdir()
        (place / "helped/config.json").write_text('{"credsStore": "tests"}')
        helped = built.with_environ(
            DOCKER_CONFIG=str(place / "helped"), PATH=f"{helper.parent}:{os.environ['PATH']}"
        )
        assert helped.run("push", TAG, f"{name}:helped").status == 0
        (place / "helped/config.json").write_text('{"auths": {"x": {"auth": "canary"}}}')
        broken = helped.run("push", TAG, f"{name}:broken")
        assert broken.status == 10
        assert "canary" not in broken.err
    # Nothing of it stays anywhere that minid writes.
    packed = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for path in built.state.rglob("*"):
        if path.is_file() and "layers" not in path.parts:
            data = path.read_bytes()
            assert PASSWORD.encode() not in data, path
            assert packed.encode() not in data, path


def test_tls_with_an_authority_of_ones_own(built: Line, place: Path) -> None:
    with run_registry(place / "tls", tls=True) as registry:
        name = f"{registry.host}/hello"
        done = built.run("push", TAG, name)
        assert (done.status, "certificate" in done.err) == (25, True)
        assert built.run("push", TAG, name, "--ca", str(registry.ca)).status == 0
        assert built.run("pull", name, "--tag", "tls:1", "--ca", str(registry.ca)).status == 12
        pulled = built.run("pull", f"{name}:1.0.0", "--tag", "tls:1", "--ca", str(registry.ca))
        assert pulled.status == 0, pulled.err


@contextmanager
def token_server(folder: Path, port: int) -> Iterator[list[str]]:
    """A realm that gives tokens to who logs in (Docker token specification): the scopes asked."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding

    asked: list[str] = []

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def token(scope: str) -> str:
        key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
        der = certificate.public_bytes(serialization.Encoding.DER)
        kind, name, actions = scope.split(":")
        now = int(datetime.datetime.now(datetime.UTC).timestamp())
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims: dict[str, object] = {
            "iss": "tests",
            "sub": USER,
            "aud": "registry",
            "access": access,
        }
        claims |= {"exp": now + 60, "nbf": now - 60, "iat": now - 60, "jti": "1"}
        text = ".".join(encode(json.dumps(part).encode()) for part in (head, claims))
        signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())  # type: ignore[union-attr,call-arg,arg-type]
        return f"{text}.{encode(signature)}"

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            query = parse_qs(urlsplit(self.path).query)
            known = self.headers.get("Authorization") == wanted
            asked.extend(query.get("scope", []))
            body = json.dumps({"token": token(query["scope"][0])} if known else {}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = HTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_tokens_of_a_realm(built: Line, place: Path) -> None:
    port = free_port()
    folder = place / "token"
    with (
        run_registry(folder, token_realm=f"http://127.0.0.1:{port}/token") as registry,
        token_server(folder, port) as asked,
    ):
        name = f"{registry.host}/team/hello"
        assert built.run("push", TAG, name).status == 25
        line = built.with_environ(DOCKER_CONFIG=registry.login_file())
        done = line.run("push", TAG, name)
        assert done.status == 0, done.err
        assert "repository:team/hello:pull,push" in asked
        assert line.run("pull", f"{name}:1.0.0", "--tag", "token:1").status == 0
        assert "repository:team/hello:pull" in asked


def test_a_damaged_blob_is_not_pushed(built: Line, place: Path) -> None:
    layer = built.query("inspect", TAG)["layers"][-1]["digest"]
    path = built.store / "blobs/sha256" / layer.removeprefix("sha256:")
    data = path.read_bytes()
    with run_registry(place / "damaged") as registry:
        path.chmod(0o644)
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        try:
            done = built.run("push", TAG, f"{registry.host}/hello")
        finally:
            path.write_bytes(data)
            path.chmod(0o444)
        assert (done.status, layer in done.err) == (25, True), done.err
        assert not list((place / "damaged/data").rglob("tags"))


def test_layers_of_another_repository_are_not_sent_again(built: Line, place: Path) -> None:
    from minid.formats.digest import Digest
    from minid.formats.registry_name import parse_registry_name
    from minid.host.registry_connection import Place
    from minid.host.registry_push import push_image

    def read_range(digest: Digest, offset: int, size: int) -> bytes:
        data = (built.store / "blobs/sha256" / digest.hex).read_bytes()
        return data[offset : offset + size]

    digest = Digest.parse(built.tags()[TAG])
    manifest = read_range(digest, 0, 1 << 20)
    with run_registry(place / "beside") as registry:
        first, second = (Place(parse_registry_name(f"{registry.host}/{n}")) for n in ("a", "b"))
        sent = push_image(manifest, first, ["1"], read_range)
        mounted = push_image(manifest, second, ["1"], read_range, beside=["none", "a"])
        assert (sent.present, mounted.sent) == (0, 0)
        shown = skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/b:1")
        assert json.loads(shown)["Digest"] == str(digest)


def test_a_recipe_stands_on_an_image_of_a_registry(built: Line, place: Path) -> None:
    ground = next(name for name in built.tags() if name.startswith("ground:"))
    recipe, text = built.recipe(NAME), built.recipe(NAME).read_text()
    with run_registry(place / "base") as registry:
        base = f"{registry.host}/team/base:1"
        try:
            recipe.write_text(text.replace('base = "ground"', f'base = "{base}"'))
            assert base in recipe.read_text()
            missing = built.run("build", NAME)
            assert (missing.status, f"minid pull {base}" in missing.err) == (11, True)
            assert built.run("push", ground, base).status == 0
            assert built.run("pull", base).status == 0
            made = built.build(NAME)[NAME]
            assert made["status"] == "built"
            assert built.query("inspect", TAG)["base"] == built.tags()[base]
            assert built.build(NAME)[NAME]["status"] == "unchanged"
            # Another image under the tag is another input.
            edited = built.run("set", ground, "--label", "a=b", "--json")
            assert edited.status == 0, edited.err
            assert built.run("push", ground, base).status == 0
            assert built.run("pull", base).status == 0
            again = built.build(NAME)[NAME]
            assert (again["status"], again["changes"]) == ("built", ["base"])
            assert built.query("inspect", TAG)["base"] == built.tags()[base]
        finally:
            recipe.write_text(text)
            built.query("undo", ground)
            built.build(NAME)


def test_the_service_logs_in_with_what_systemd_gives(built: Line, place: Path) -> None:
    config = built.folder / "config.toml"
    text = config.read_text()
    with run_registry(place / "service", login=True) as registry:
        given = Path(registry.login_file())
        (given / "config.json").rename(given / "registry-auth.json")
        try:
            config.write_text(f'{text}registry = "{registry.host}/team"\n')
            with daemon_of(built.with_environ(CREDENTIALS_DIRECTORY=str(given))):
                done = built.run("build", NAME)
                assert done.status == 0, done.out + done.err
            at = f"docker://{registry.host}/team/{TAG}"
            shown = skopeo("inspect", "--tls-verify=false", "--creds", f"{USER}:{PASSWORD}", at)
            assert json.loads(shown)["Digest"] == built.tags()[TAG]
        finally:
            config.write_text(text)
    for path in built.state.rglob("*"):
        if path.is_file() and "layers" not in path.parts:
            assert PASSWORD.encode() not in path.read_bytes(), path
