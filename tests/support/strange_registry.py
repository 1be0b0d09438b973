"""A registry that misbehaves on demand, for what no real one does when asked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ODD_LOCATIONS = {
    "no address": "https://[::1/upload",
    "no port": "https://localhost:99999/upload",
    "file": "file:///etc/passwd",
    "plain ftp": "ftp://localhost:21/x",
    "host alone": "https:///x",
}


@dataclass
class Strange:
    """What it does, and what it saw. `fault` is one of the words below."""

    fault: str = ""
    host: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    upload: bytes = b""
    seen: Counter[str] = field(default_factory=Counter)
    authorizations: list[str] = field(default_factory=list)
    broke: int = 0
    beside: dict[str, bytes] = field(default_factory=dict)
    """Blobs of other repositories, which can be mounted."""
    asked: dict[str, list[str]] = field(default_factory=dict)
    """What the realm was asked."""
    pieces: list[int] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    @property
    def state(self) -> Strange:
        return self.server.state

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_any(self) -> None:
        state, fault = self.state, self.state.fault
        state.seen[self.command] += 1
        if "Authorization" in self.headers:
            state.authorizations.append(self.headers["Authorization"])
        data = self.body() if fault != "reset" or self.command != "PATCH" else b""
        if fault == "token" and not self.is_known(data):
            pass
        elif fault == "foreign realm":
            self.answer(401, WWW_Authenticate='Bearer realm="http://127.0.0.2:9/token",service="x"')
        elif fault == "busy" and state.seen[self.command] < 3:
            self.answer(429, Retry_After="0")
        elif fault == "endless":
            self.answer(200, b"x" * (9 << 20))
        elif fault == "trickle":
            self.trickle()
        elif fault in ODD_LOCATIONS and self.command == "POST":
            self.answer(202, Location=ODD_LOCATIONS[fault])
        elif fault == "deep" and self.command == "POST":
            self.answer(400, b"[" * 200_000)
        elif fault == "odd wait" and state.seen[self.command] < 3:
            self.answer(503, Retry_After="\xb2")
        elif fault == "elsewhere" and self.command == "POST":
            self.answer(202, Location="http://127.0.0.2:9/upload")
        else:
            getattr(self, f"on_{self.command.lower()}")(data)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815 (its names)

    def is_known(self, data: bytes) -> bool:
        """Whether a request has the token of the realm, which changes an identity for one."""
        if self.path == "/token":
            self.state.asked = parse_qs(data.decode())
            self.answer(200, b'{"access_token": "short"}')
            return False
        if self.path == "/v2/" or self.headers.get("Authorization") == "Bearer short":
            return True
        realm = f'Bearer realm="http://{self.state.host}/token",service="here"'
        self.answer(401, WWW_Authenticate=realm)
        return False

    def trickle(self) -> None:
        """A byte now and then, as long as somebody listens."""
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(600):
                self.wfile.write(b"x")
                time.sleep(0.05)
        self.close_connection = True

    def on_head(self, _: bytes) -> None:
        digest = self.path.rpartition("/")[2]
        self.answer(200 if digest in self.state.blobs else 404)

    def on_get(self, _: bytes) -> None:
        state = self.state
        if self.path == "/v2/":
            self.answer(200)
        elif "/uploads/" in self.path:
            end = len(state.upload) - 1
            self.answer(204, Location=self.path, Range=f"0-{max(end, 0)}")
        elif "/referrers/" in self.path:
            self.give_referrers()
        elif "/manifests/" in self.path:
            found = state.manifests.get(self.path.rpartition("/")[2])
            if found is not None and state.fault == "other bytes":
                found = found.replace(b"{", b"{ ", 1)
            self.answer(200, found) if found is not None else self.answer(404)
        else:
            self.give_blob(state.blobs.get(self.path.rpartition("/")[2], b""))

    def give_referrers(self) -> None:
        """Its own index of what refers to a manifest, two a page, if it has such an index."""
        state, parts = self.state, urlsplit(self.path)
        if state.fault != "referrers":
            self.answer(404)
            return
        subject, start = parts.path.rpartition("/")[2], int(parse_qs(parts.query).get("n", "0")[0])
        entries = []
        for digest, data in sorted(state.manifests.items()):
            value = json.loads(data)
            if digest.startswith("sha256:") and value.get("subject", {}).get("digest") == subject:
                facts = {"mediaType": value["mediaType"], "digest": digest, "size": len(data)}
                entries.append(facts | {"artifactType": value["artifactType"]})
        index = {"schemaVersion": 2, "manifests": entries[start : start + 2]}
        more = {"Link": f'<{parts.path}?n={start + 2}>; rel="next"'} if entries[start + 2 :] else {}
        self.answer(200, json.dumps(index).encode(), **more)

    def give_blob(self, found: bytes) -> None:
        state = self.state
        start = int(re.sub(r"\D", "", self.headers.get("Range", "0")))
        if state.fault == "no ranges":
            start = 0
        if state.fault in ("breaks", "no ranges") and state.broke < 2:
            state.broke += 1
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(found) - start))
            self.end_headers()
            self.wfile.write(found[start : start + 3000])
            self.close_connection = True
            return
        self.answer(206 if start else 200, found[start:])

    def on_post(self, _: bytes) -> None:
        state = self.state
        asked = parse_qs(urlsplit(self.path).query)
        digest = asked.get("mount", [""])[0]
        if digest in state.beside and asked["from"] == ["base"]:
            state.blobs[digest] = state.beside[digest]
            self.answer(201, Location=f"/v2/x/blobs/{digest}")
            return
        state.upload = b""
        least = "9000" if state.fault == "long pieces" else "0"
        self.answer(202, Location="/v2/x/blobs/uploads/1", OCI_Chunk_Min_Length=least)

    def on_patch(self, data: bytes) -> None:
        state = self.state
        size = int(self.headers.get("Content-Length") or 0)
        if state.fault == "reset" and state.broke < 2:
            state.broke += 1
            state.upload += self.rfile.read(size // 2)
            self.close_connection = True
            self.connection.close()
            return
        data = data or self.rfile.read(size)
        state.pieces.append(len(data))
        start = int(re.split("[-/]", self.headers["Content-Range"])[0])
        if start != len(state.upload):
            self.answer(416, Location=self.path)
            return
        state.upload += data
        self.answer(202, Location=self.path, Range=f"0-{len(state.upload) - 1}")

    def on_put(self, data: bytes) -> None:
        state = self.state
        if "/manifests/" in self.path:
            if state.fault == "refuses manifest":
                said = {"errors": [{"code": "DENIED", "message": "no more room"}]}
                self.answer(403, json.dumps(said).encode())
                return
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            state.manifests[digest] = state.manifests[self.path.rpartition("/")[2]] = data
            named = digest if state.fault != "other digest" else "sha256:" + "0" * 64
            subject = json.loads(data).get("subject", {}).get("digest", "")
            noted = {"OCI_Subject": subject} if state.fault == "referrers" and subject else {}
            self.answer(201, Docker_Content_Digest=named, **noted)
            return
        digest = "sha256:" + self.path.rpartition("sha256:")[2]
        if digest != "sha256:" + hashlib.sha256(state.upload).hexdigest():
            self.answer(400)
            return
        state.blobs[digest] = state.upload
        if state.fault == "lost answer" and not state.broke:
            state.broke += 1
            self.close_connection = True
            return
        self.answer(201)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    state: Strange

    def handle_error(self, *_: object) -> None:
        """Connections break here on purpose."""


@contextmanager
def strange_registry(fault: str = "") -> Iterator[Strange]:
    """The registry at `host`, on loopback and without TLS."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.state = Strange(fault, f"127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
