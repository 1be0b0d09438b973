"""Requests to one registry: who it may be, who we are, and again where that can help.

Redirects are the caller's; credentials go to the registry itself and to the realm that it names,
and there only over https (or to this machine).
"""

from __future__ import annotations

import contextlib
import json
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from minid.errors import PublishError
from minid.formats.registry_login import Challenge, Login, parse_challenge
from minid.formats.registry_name import RegistryName

if TYPE_CHECKING:
    import urllib3

ATTEMPTS = 5
CONNECT_S, READ_S = 10.0, 60.0
MAX_PAUSE_S = 30.0
MAX_SMALL_BYTES = 8 << 20
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_CERTS_D = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))


@dataclass(frozen=True, slots=True)
class Place:
    """How a registry is reached. `insecure`: over http where it is not this machine."""

    name: RegistryName
    login: Login | None = field(default=None, repr=False)
    insecure: bool = False
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry said. `body` is empty where the caller takes it by pieces."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def header(self, name: str) -> str:
        """A header's value, or empty."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), "")


class RefusedError(PublishError):
    """A registry answered with a status that is none of those expected."""

    def __init__(self, where: str, answer: Answer) -> None:
        said = _said(answer.body)
        hint = "log in with `docker login` or `podman login`" if answer.status in (401, 403) else ""
        super().__init__(f"{where}: got status {answer.status}{said}", hint=hint)
        self.status = answer.status
        self.retryable = answer.status in _AGAIN


class BrokenError(PublishError):
    """The connection broke before the answer was whole."""


class Connection:
    """One registry. Use as a context manager; `pause` waits between attempts."""

    def __init__(self, place: Place, *, pause: Callable[[float], object] = time.sleep) -> None:
        self.place = place
        self._pause = pause
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}
        self._authorization = ""
        host = place.name.host
        bare = host if host.startswith("[") else host.partition(":")[0]
        self._local = bare in _LOOPBACK
        self.base = f"https://{host}"
        if self._local or place.insecure:
            self.base = self._find_scheme(host)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.close()

    def _find_scheme(self, host: str) -> str:
        """https where it is spoken, else http: asked once, without anything secret."""
        try:
            self._send("GET", f"https://{host}/v2/", {}, None).release_conn()
        except BrokenError as error:
            if (
                isinstance(error.__cause__, Exception)
                and "certificate" in str(error.__cause__).lower()
            ):
                raise
            return f"http://{host}"
        return f"https://{host}"

    def ask(
        self,
        method: str,
        url: str,
        expected: tuple[int, ...],
        *,
        what: str,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        again: bool = True,
    ) -> Answer:
        """One request, made again where that can help, with a login where one is asked for.

        `url` may be a path of the registry. RefusedError for other statuses, BrokenError where the
        connection breaks; `again` False leaves the second attempt to the caller.
        """
        attempts = ATTEMPTS if again else 1
        for attempt in range(attempts):
            try:
                answer = self._ask_once(method, url, headers or {}, body, scope)
                if answer.status in expected:
                    return answer
                error: PublishError = RefusedError(f"{self.place.name}: {what}", answer)
                wait = _retry_after(answer)
                if not error.retryable:
                    raise error
            except BrokenError as broken:
                error, wait = broken, 0.0
            if attempt + 1 == attempts:
                raise error
            self._pause(max(wait, min(MAX_PAUSE_S, 0.5 * 2**attempt) * (0.5 + random.random() / 2)))  # noqa: S311
        raise AssertionError

    def _ask_once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, scope: str
    ) -> Answer:
        answer = self._read(
            self._send(method, self._absolute(url), self._dressed(url, headers), body)
        )
        if answer.status != 401 or not self._is_own(url):
            return answer
        self._authorize(answer, scope)
        return self._read(
            self._send(method, self._absolute(url), self._dressed(url, headers), body)
        )

    @contextlib.contextmanager
    def stream(
        self, path: str, *, what: str, scope: str, start: int = 0
    ) -> Iterator[Iterator[bytes]]:
        """The body of a GET by pieces, from byte `start` on. Redirects are followed, to https alone
        unless the registry itself is reached otherwise, and without credentials."""
        url = self._absolute(path)
        headers = {"Range": f"bytes={start}-"} if start else {}
        for _ in range(6):
            response = self._send("GET", url, self._dressed(url, headers), None)
            if response.status == 401 and self._is_own(url):
                self._authorize(self._read(response), scope)
                response = self._send("GET", url, self._dressed(url, headers), None)
            if response.status in (301, 302, 303, 307, 308):
                target = urljoin(url, response.headers.get("Location", ""))
                response.release_conn()
                url = self._allowed(target)
                continue
            if response.status not in ((206,) if start else (200,)):
                raise RefusedError(f"{self.place.name}: {what}", self._read(response))
            try:
                yield self._pieces(response)
            finally:
                response.close()
            return
        raise PublishError(f"{self.place.name}: {what}: expected a few redirects at most, got more")

    def _pieces(self, response: Any) -> Iterator[bytes]:  # noqa: ANN401 (urllib3's response)
        import urllib3

        try:
            yield from response.stream(1 << 18, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BrokenError(f"{self.place.name}: the connection broke: {error}") from error

    def _allowed(self, url: str) -> str:
        """Where a registry may send us: over https, or within itself."""
        parts = urlsplit(url)
        if parts.scheme == "https" or url.startswith(f"{self.base}/"):
            return url
        raise PublishError(
            f"{self.place.name}: expected to stay on https, got sent to {parts.scheme}://{parts.netloc}"
        )

    def _absolute(self, url: str) -> str:
        return self._allowed(urljoin(self.base, url))

    def _is_own(self, url: str) -> bool:
        return self._absolute(url).startswith(f"{self.base}/")

    def _dressed(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        own = {"User-Agent": "minid", **headers}
        if self._authorization and self._is_own(url):
            own["Authorization"] = self._authorization
        return own

    def _authorize(self, answer: Answer, scope: str) -> None:
        challenge = parse_challenge(answer.header("www-authenticate"))
        login = self.place.login
        if challenge is None:
            raise RefusedError(f"{self.place.name}: login", answer)
        if challenge.scheme == "basic":
            if login is None or self._authorization:
                raise RefusedError(f"{self.place.name}: login", answer)
            self._expect_secret_way(self.base)
            self._authorization = login.basic()
            return
        self._authorization = f"Bearer {self._token(challenge, scope)}"

    def _token(self, challenge: Challenge, scope: str) -> str:
        """A token of the realm (Docker Registry v2 authentication, token specification)."""
        realm = challenge.parameters.get("realm", "")
        service = challenge.parameters.get("service", "")
        login = self.place.login
        if login is not None or not realm.startswith("https://"):
            self._expect_secret_way(realm)
        if login is not None and login.identity:
            fields = {
                "grant_type": "refresh_token",
                "refresh_token": login.identity,
                "service": service,
                "client_id": "minid",
                "scope": scope,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._read(self._send("POST", realm, headers, urlencode(fields).encode()))
        else:
            query = urlencode({"service": service, "scope": scope} if service else {"scope": scope})
            own = {"Authorization": login.basic()} if login else {}
            sign = "&" if "?" in realm else "?"
            answer = self._read(self._send("GET", f"{realm}{sign}{query}", own, None))
        if answer.status != 200:
            raise RefusedError(f"{self.place.name}: login", Answer(answer.status, {}))
        with contextlib.suppress(ValueError, AttributeError):
            value = json.loads(answer.body)
            token = value.get("token") or value.get("access_token")
            if isinstance(token, str) and token.isascii() and token.isprintable():
                return token
        raise PublishError(f"{self.place.name}: login: expected a token, got something else")

    def _expect_secret_way(self, url: str) -> None:
        """A password goes over https, to this machine, or where the operator said that http is to
        be taken, to that registry alone."""
        parts = urlsplit(url)
        local = (parts.hostname or "") in ("localhost", "127.0.0.1", "::1")
        own = self.place.insecure and url.startswith(self.base)
        if parts.scheme == "https" or (parts.scheme == "http" and ((local and self._local) or own)):
            return
        raise PublishError(
            f"{self.place.name}: login: expected to be asked over https, "
            f"got {parts.scheme}://{parts.netloc}"
        )

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Any:  # noqa: ANN401
        import urllib3

        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            return self._pool(parts.scheme, parts.netloc).urlopen(
                method,
                path or "/",
                body=body,
                headers=dict(headers),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise BrokenError(
                f"{self.place.name}: expected an answer of {parts.netloc}, got: {_short(error)}",
                hint=_tls_hint(error),
            ) from error

    def _read(self, response: Any) -> Answer:  # noqa: ANN401 (urllib3's response)
        import urllib3

        try:
            body = response.read(MAX_SMALL_BYTES + 1, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise BrokenError(
                f"{self.place.name}: the connection broke: {_short(error)}"
            ) from error
        if len(body) > MAX_SMALL_BYTES:
            response.close()
            raise PublishError(f"{self.place.name}: expected a short answer, got a long one")
        response.release_conn()
        return Answer(response.status, dict(response.headers), body)

    def _pool(self, scheme: str, netloc: str) -> urllib3.HTTPConnectionPool:
        import urllib3

        key = f"{scheme}://{netloc}"
        if key not in self._pools:
            timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
            parts = urlsplit(key)
            host, port = parts.hostname or "", parts.port
            if scheme == "https":
                self._pools[key] = urllib3.HTTPSConnectionPool(
                    host, port, timeout=timeout, ssl_context=self._context(netloc)
                )
            elif scheme == "http":
                self._pools[key] = urllib3.HTTPConnectionPool(host, port, timeout=timeout)
            else:
                raise PublishError(f"{self.place.name}: expected http or https, got {scheme!r}")
        return self._pools[key]

    def _context(self, netloc: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        own = netloc == self.place.name.host
        files = [self.place.ca_file] if self.place.ca_file else []
        files += [folder / netloc / "ca.crt" for folder in _CERTS_D]
        for path in files if own else []:
            if path is not None and (path == self.place.ca_file or path.is_file()):
                try:
                    context.load_verify_locations(path)
                except (OSError, ssl.SSLError) as error:
                    raise PublishError(f"{path}: expected certificates, got: {error}") from error
        return context


def _retry_after(answer: Answer) -> float:
    text = answer.header("retry-after")
    return min(float(text), MAX_PAUSE_S) if text.isdigit() else 0.0


def _said(body: bytes) -> str:
    """The registry's own words, of its error document (OCI distribution, error codes)."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        first = json.loads(body)["errors"][0]
        text = f"{first.get('code', '')}: {first.get('message', '')}"
        return f" ({text[:200]})"
    return ""


def _short(error: BaseException) -> str:
    text = str(error)
    return text.rpartition(": ")[2][:200] or type(error).__name__


def _tls_hint(error: BaseException) -> str:
    if "certificate" in str(error).lower():
        return "publish.registry_ca names a file with its authority"
    return ""
