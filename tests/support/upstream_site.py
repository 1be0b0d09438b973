"""An upstream on loopback: pages with validators that behave as real ones do, and badly on demand.

HTTP/1.1 with kept connections in threads. Answers of a path come in turn, the last one for good:

    with UpstreamSite() as site:
        site.put("/releases/", index_page("app-1.0.tar.gz"))            # ETag, 304 by itself
        site.put("/busy", Page(status=429, headers={"Retry-After": "3600"}))
        site.put("/flaps", Page(b"..."), hang(), Page(b"..."))
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """One request as it came; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """An answer. `etag` None: made of the body; empty: none. `heeds` says whether validators are
    answered with 304; `headers` come on top and may replace what would be sent."""

    body: bytes = b""
    content_type: str = "text/html"
    status: int = 200
    etag: str | None = None
    last_modified: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    heeds: bool = True

    @property
    def tag(self) -> str:
        if self.etag is not None:
            return self.etag
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"' if self.status == 200 else ""


Act = Callable[["SiteHandler", Asked], None]


class UpstreamSite:
    """Listens from `with` on at `url(path)`. `asked` are all requests so far, in order."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address
        self._answers: dict[str, list[Page | Act]] = {}
        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        self.connections = 0
        self.together = 0
        self.most_together = 0
        self.closing = threading.Event()
        site = self

        class Handler(SiteHandler):
            pass

        Handler.site = site
        self._server = _Server((address, 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> UpstreamSite:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str, host: str = "") -> str:
        return f"http://{host or self._address}:{self.port}{path}"

    def put(self, path: str, *answers: Page | Act | bytes) -> None:
        """Answer that path so from now on; bytes are an HTML page."""
        pages: list[Page | Act] = [Page(a) if isinstance(a, bytes) else a for a in answers]
        with self._lock:
            self._answers[path] = pages

    def put_folder(self, prefix: str, folder: Path) -> None:
        """Answer `prefix` + relative path for every file that is in the folder now."""
        for file in folder.rglob("*"):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                self.put(f"{prefix}{name}", Page(file.read_bytes(), "application/octet-stream"))

    def remove(self, path: str) -> None:
        """404 from now on."""
        with self._lock:
            self._answers.pop(path, None)

    def requests(self, path: str) -> list[Asked]:
        """The requests for that path so far."""
        return [one for one in self.asked if one.target == path]

    def note(self, asked: Asked) -> Page | Act:
        """Count a request, and say what to do about it."""
        with self._lock:
            self.asked.append(asked)
            answers = self._answers.get(asked.target) or [Page(b"<h1>Not Found</h1>", status=404)]
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def enter(self, step: int) -> None:
        with self._lock:
            self.together += step
            self.most_together = max(self.most_together, self.together)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what the tests are about."""


class SiteHandler(BaseHTTPRequestHandler):
    """One connection of a site."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 30
    site: UpstreamSite

    def setup(self) -> None:
        super().setup()
        self.site.connections += 1

    def do_GET(self) -> None:
        asked = Asked(
            self.command, self.path, {name.lower(): value for name, value in self.headers.items()}
        )
        self.site.enter(1)
        try:
            answer = self.site.note(asked)
            if isinstance(answer, Page):
                self.send_page(asked, answer)
            else:
                answer(self, asked)
        finally:
            self.site.enter(-1)

    do_HEAD = do_GET  # noqa: N815

    def send_page(self, asked: Asked, page: Page) -> None:
        """Answer, with 304 where the client knows the page."""
        known = asked.headers.get("if-none-match", "") == page.tag != ""
        dated = page.last_modified and asked.headers.get("if-modified-since") == page.last_modified
        if page.heeds and (known or (dated and "if-none-match" not in asked.headers)):
            page = replace(page, status=304, body=b"", etag=page.tag)
        headers = {"Content-Type": page.content_type, "Content-Length": str(len(page.body))}
        if page.status == 304:
            headers = {}
        if page.tag:
            headers["ETag"] = page.tag
        if page.last_modified:
            headers["Last-Modified"] = page.last_modified
        self.send_response(page.status)
        for name, value in (headers | dict(page.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if asked.method != "HEAD":
            self.wfile.write(page.body)
        self.wfile.flush()

    def log_message(self, format: str, *words: object) -> None:
        """Quiet."""


def index_page(*names: str) -> bytes:
    """A listing as nginx makes it."""
    lines = "\r\n".join(
        f'<a href="{name}">{name}</a>{" " * 20}01-Jan-2026 10:00    1234567' for name in names
    )
    head = "<html>\r\n<head><title>Index of /</title></head>\r\n<body>\r\n<h1>Index of /</h1><hr>"
    return (
        f'{head}<pre><a href="../">../</a>\r\n{lines}\r\n</pre><hr></body>\r\n</html>\r\n'.encode()
    )


CAPTCHA = (
    b"<!DOCTYPE html><html><head><title>Captcha check</title></head><body><form>"
    b"<div class='g-recaptcha'></div></form></body></html>"
)


def redirect(location: str, status: int = 302) -> Page:
    """To another place."""
    return Page(status=status, headers={"Location": location})


def zipped(page: Page) -> Page:
    """The same page, gzip-encoded."""
    return replace(
        page, body=gzip.compress(page.body), headers={**page.headers, "Content-Encoding": "gzip"}
    )


def gzip_bomb(size_bytes: int) -> Page:
    """A small answer that decodes to that many zeros."""
    return zipped(Page(bytes(size_bytes)))


def hang() -> Act:
    """Takes the request and says nothing until the client or the site goes."""

    def act(handler: SiteHandler, _: Asked) -> None:
        handler.close_connection = True
        handler.connection.settimeout(0.05)
        while not handler.site.closing.is_set():
            with contextlib.suppress(TimeoutError):
                if not handler.connection.recv(1024):
                    return

    return act


def drip(pause_s: float = 0.02) -> Act:
    """Headers, and then a byte now and then for ever."""

    def act(handler: SiteHandler, _: Asked) -> None:
        handler.close_connection = True
        handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
        while not handler.site.closing.wait(pause_s):
            handler.connection.sendall(b"x")

    return act


def endless(chunk: bytes = b"x" * 65536) -> Act:
    """A body without an end, as fast as it goes."""

    def act(handler: SiteHandler, _: Asked) -> None:
        handler.close_connection = True
        handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
        with contextlib.suppress(OSError):
            while not handler.site.closing.is_set():
                handler.connection.sendall(chunk)

    return act


def say(data: bytes) -> Act:
    """These bytes as the whole answer, then the end of the connection."""

    def act(handler: SiteHandler, _: Asked) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.sendall(data)
            handler.connection.shutdown(socket.SHUT_WR)

    return act
