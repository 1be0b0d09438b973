"""Requests to one registry: who it may be, who we are, and again where that can help.

Redirects are the caller's; credentials go to the registry itself and to the realm that it names,
and there only over https (or to this machine).
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urljoin

from minid.errors import PublishError
from minid.formats.registry_login import Challenge, Login, parse_challenge
from minid.formats.registry_name import RegistryName
from minid.host.registry_wire import Answer, BrokenError, Wire, origin

ATTEMPTS = 5
MAX_PAUSE_S = 30.0
_MAX_REDIRECTS = 5
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Place:
    """How a registry is reached. `insecure`: over http where it is not this machine."""

    name: RegistryName
    login: Login | None = field(default=None, repr=False)
    insecure: bool = False
    ca_file: Path | None = None


class RefusedError(PublishError):
    """A registry answered with a status that is none of those expected."""

    def __init__(self, where: str, answer: Answer) -> None:
        said = _said(answer.body)
        hint = "log in with `docker login` or `podman login`" if answer.status in (401, 403) else ""
        super().__init__(f"{where}: got status {answer.status}{said}", hint=hint)
        self.status = answer.status
        self.retryable = answer.status in _AGAIN
        self.retry_after = _retry_after(answer)


class Connection:
    """One registry. Use as a context manager; `pause` waits between attempts."""

    def __init__(self, place: Place, *, pause: Callable[[float], object] = time.sleep) -> None:
        self.place = place
        self._pause = pause
        self._wire = Wire(str(place.name), place.name.host, place.ca_file)
        self._authorization = ""
        self.base = self._find_base(place.name.host)
        self._origin = origin(self.base)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def _find_base(self, host: str) -> str:
        """https; of a registry that may do without http where it is not spoken, which is asked
        once, without anything secret."""
        try:
            _, name, _ = origin(f"https://{host}")
        except ValueError as error:
            raise PublishError(f"{self.place.name}: expected a registry, got: {error}") from error
        self._local = name in _LOOPBACK
        if self._local or self.place.insecure:
            try:
                self._wire.ask("GET", f"https://{host}/v2/", _dressed({}), None)
            except BrokenError as error:
                if error.untrusted:
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

        `url` may be a path of the registry; `scope` has what a token is to grant, several with
        spaces between. RefusedError for other statuses, BrokenError where the connection breaks;
        `again` False leaves the second attempt to the caller.
        """
        attempts = ATTEMPTS if again else 1
        for attempt in range(attempts):
            try:
                answer = self._ask_once(method, url, headers or {}, body, scope)
                if answer.status in expected:
                    return answer
                raise RefusedError(f"{self.place.name}: {what}", answer)
            except (BrokenError, RefusedError) as error:
                if attempt + 1 == attempts:
                    raise
                self.wait(error, attempt)
        raise AssertionError

    def wait(self, error: BrokenError | RefusedError, attempt: int) -> None:
        """Wait after an attempt (the first is 0): longer each time, at least as long as the
        registry asks for, and not as long as everybody else. Where another attempt cannot help,
        the error is raised."""
        if isinstance(error, RefusedError) and not error.retryable:
            raise error
        if isinstance(error, BrokenError) and error.untrusted:
            raise error
        back_off = min(MAX_PAUSE_S, 0.5 * 2**attempt) * (0.5 + random.random() / 2)  # noqa: S311
        asked = error.retry_after if isinstance(error, RefusedError) else 0.0
        self._pause(max(asked, back_off))

    def _ask_once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, scope: str
    ) -> Answer:
        target = self._absolute(url)
        answer = self._wire.ask(method, target, self._dressed(target, headers), body)
        if answer.status != 401 or not self._is_own(target):
            return answer
        self._authorize(answer, scope)
        return self._wire.ask(method, target, self._dressed(target, headers), body)

    @contextlib.contextmanager
    def stream(
        self, path: str, size: int, *, what: str, scope: str, start: int = 0
    ) -> Iterator[Iterator[bytes]]:
        """The body of a GET, of `size` bytes, by pieces from byte `start` on. Redirects are
        followed, to https alone or within the registry, and without credentials elsewhere."""
        url = self._absolute(path)
        headers = {"Range": f"bytes={start}-"} if start else {}
        refused = 0
        for _ in range(_MAX_REDIRECTS + 2):
            with self._wire.stream(url, self._dressed(url, headers), size) as (answer, pieces):
                if answer.status == 206 and start:
                    yield pieces
                    return
                if answer.status == 200:  # all of it, whatever was asked for
                    yield _skip(pieces, start)
                    return
            if answer.status in (301, 302, 303, 307, 308):
                url = self._absolute(answer.header("location"), url)
            elif answer.status == 401 and self._is_own(url) and not refused:
                self._authorize(answer, scope)
                refused += 1
            else:
                raise RefusedError(f"{self.place.name}: {what}", answer)
        raise PublishError(f"{self.place.name}: {what}: expected few redirects, got more")

    def _absolute(self, url: str, start: str = "") -> str:
        """Where a registry may send us: over https, or within itself."""
        try:
            found = urljoin(start or self.base, url)
            asked = origin(found)
        except ValueError as error:
            raise PublishError(f"{self.place.name}: expected a URL, got {url[:80]!r}") from error
        if asked[0] == "https" or asked == self._origin:
            return found
        raise PublishError(
            f"{self.place.name}: expected to stay on https, got sent to {asked[0]}://{asked[1]}"
        )

    def _is_own(self, url: str) -> bool:
        return origin(url) == self._origin

    def _dressed(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        own = _dressed(headers)
        if self._authorization and self._is_own(url):
            own["Authorization"] = self._authorization
        return own

    def _authorize(self, answer: Answer, scope: str) -> None:
        challenge = parse_challenge(answer.header("www-authenticate"))
        login = self.place.login
        if challenge is None:
            raise RefusedError(f"{self.place.name}: login", answer)
        if challenge.scheme == "basic":
            if login is None or not login.user or self._authorization:
                raise RefusedError(f"{self.place.name}: login", answer)
            self._expect_secret_way(self.base)
            self._authorization = login.basic()
            return
        self._authorization = f"Bearer {self._token(challenge, scope)}"

    def _token(self, challenge: Challenge, scope: str) -> str:
        """A token of the realm (Docker Registry v2 authentication, token specification)."""
        realm = challenge.parameters.get("realm", "")
        service = challenge.parameters.get("service", "")
        self._expect_secret_way(realm)
        login = self.place.login
        if login is not None and login.identity:
            fields = {
                "grant_type": "refresh_token",
                "refresh_token": login.identity,
                "service": service,
                "client_id": "minid",
                "scope": scope,
            }
            headers = _dressed({"Content-Type": "application/x-www-form-urlencoded"})
            answer = self._wire.ask("POST", realm, headers, urlencode(fields).encode())
        else:
            wanted = [("service", service)] if service else []
            wanted += [("scope", one) for one in scope.split()]
            own = _dressed({"Authorization": login.basic()} if login else {})
            sign = "&" if "?" in realm else "?"
            answer = self._wire.ask("GET", f"{realm}{sign}{urlencode(wanted)}", own, None)
        if answer.status != 200:
            # Without the realm's own words: what it was sent may be in them.
            raise RefusedError(f"{self.place.name}: login", Answer(answer.status, {}))
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            value = json.loads(answer.body)
            token = value.get("token") or value.get("access_token")
            if isinstance(token, str) and token.isascii() and token.isprintable():
                return token
        raise PublishError(f"{self.place.name}: login: expected a token, got something else")

    def _expect_secret_way(self, url: str) -> None:
        """A password goes over https, to this machine, or where the operator said that http is to
        be taken, to that registry alone; a token is asked for in the same ways."""
        try:
            asked = origin(url)
        except ValueError:
            asked = ("", "", 0)
        local = self._local and asked[1] in _LOOPBACK
        own = self.place.insecure and asked == origin(self.base)
        if asked[0] == "https" or (asked[0] == "http" and (local or own)):
            return
        raise PublishError(
            f"{self.place.name}: login: expected to be asked over https, "
            f"got {asked[0] or 'something'}://{asked[1][:100]}"
        )


def _skip(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        yield piece[count:]
        count = max(0, count - len(piece))


def _dressed(headers: Mapping[str, str]) -> dict[str, str]:
    return {"User-Agent": "minid", "Accept-Encoding": "identity", **headers}


def _retry_after(answer: Answer) -> float:
    """The seconds that a registry asks to wait for; dates are left to the back-off."""
    text = answer.header("retry-after").strip()
    return min(float(text), MAX_PAUSE_S) if text.isascii() and text.isdigit() else 0.0


def _said(body: bytes) -> str:
    """The registry's own words, of its error document (OCI distribution, error codes)."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        first = json.loads(body)["errors"][0]
        text = f"{first.get('code', '')}: {first.get('message', '')}"
        return f" ({text[:200]})"
    return ""
