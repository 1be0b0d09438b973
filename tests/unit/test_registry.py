"""Talking to a registry that misbehaves: what is tried again, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minid.errors import PublishError
from minid.formats.digest import Digest
from minid.formats.oci import MANIFEST_TYPE, Descriptor
from minid.formats.registry_login import Login
from minid.formats.registry_name import parse_registry_name
from minid.host import registry as registry_module
from minid.host import registry_wire
from minid.host.registry import Pushed, Read, Registry
from minid.host.registry_connection import ATTEMPTS, Connection, Place
from tests.support.strange_registry import ODD_LOCATIONS, Strange, strange_registry

BLOB = bytes(range(256)) * 40
DIGEST = Digest.of(BLOB)
MANIFEST = b'{"schemaVersion":2,"mediaType":"%s"}' % MANIFEST_TYPE.encode()


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "PIECE_BYTES", 4096)


@pytest.fixture
def waits() -> list[float]:
    return []


def opened(state: Strange, waits: list[float], login: Login | None = None) -> Connection:
    name = parse_registry_name(f"{state.host}/x:1")
    return Connection(Place(name, login), pause=waits.append)


def push(
    state: Strange,
    waits: list[float],
    data: bytes = BLOB,
    login: Login | None = None,
    beside: tuple[str, ...] = (),
) -> Pushed:
    def read(_: Digest) -> Read:
        return lambda offset, size: data[offset : offset + size]

    with opened(state, waits, login) as connection:
        parts = [Descriptor("application/x", DIGEST, len(BLOB))]
        registry = Registry(connection, writes=True)
        return registry.push(MANIFEST, MANIFEST_TYPE, parts, read, ["1"], beside=beside)


def test_what_is_pushed_arrives_and_is_not_sent_again(waits: list[float]) -> None:
    with strange_registry() as state:
        assert push(state, waits) == Pushed(1, 0)
        assert state.blobs == {str(DIGEST): BLOB}
        assert state.manifests["1"] == MANIFEST
        assert push(state, waits) == Pushed(0, 1)
        with opened(state, waits) as connection:
            found = Registry(connection, writes=False)
            assert found.manifest("1")[0] == MANIFEST
            assert b"".join(found.blob(DIGEST, len(BLOB))) == BLOB
    assert waits == []


def test_a_broken_connection_goes_on_where_the_registry_stands(waits: list[float]) -> None:
    with strange_registry("reset") as state:
        assert push(state, waits) == Pushed(1, 0)
        assert state.blobs == {str(DIGEST): BLOB}
        assert state.broke == 2


def test_a_busy_registry_is_asked_again(waits: list[float]) -> None:
    with strange_registry("busy") as state:
        assert push(state, waits) == Pushed(1, 0)
    assert waits


def test_a_wait_that_is_no_number_is_left_to_us(waits: list[float]) -> None:
    with strange_registry("odd wait") as state:
        assert push(state, waits) == Pushed(1, 0)
    assert waits


def test_a_lost_answer_to_the_last_request_is_asked_for(waits: list[float]) -> None:
    with strange_registry("lost answer") as state:
        assert push(state, waits) == Pushed(1, 0)
        assert state.seen["PATCH"] == 3  # nothing was sent twice


def test_an_identity_is_changed_for_a_token(waits: list[float]) -> None:
    with strange_registry("token") as state:
        login = Login("ann", "canary-password", "canary-identity")
        assert push(state, waits, login=login, beside=("base",)) == Pushed(1, 0)
    assert state.asked["refresh_token"] == ["canary-identity"]
    assert state.asked["grant_type"] == ["refresh_token"]
    assert state.asked["scope"] == ["repository:x:pull,push"]
    assert set(state.authorizations) == {"Bearer short"}


def test_what_a_repository_beside_has_is_mounted(waits: list[float]) -> None:
    with strange_registry() as state:
        state.beside[str(DIGEST)] = BLOB
        assert push(state, waits, beside=("other", "base")) == Pushed(0, 1)
        assert state.seen["PATCH"] == 0


def test_pieces_are_as_long_as_the_registry_wants(waits: list[float]) -> None:
    with strange_registry("long pieces") as state:
        assert push(state, waits) == Pushed(1, 0)
        assert state.pieces == [9000, len(BLOB) - 9000]


@pytest.mark.parametrize("fault", ["breaks", "no ranges"])
def test_a_broken_download_goes_on(fault: str, waits: list[float]) -> None:
    with strange_registry(fault) as state:
        state.blobs[str(DIGEST)] = BLOB
        with opened(state, waits) as connection:
            found = b"".join(Registry(connection, writes=False).blob(DIGEST, len(BLOB)))
        assert found == BLOB
        assert state.broke == 2


def test_a_registry_that_trickles_is_cut_off(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_wire, "CONNECT_S", 0.1)
    monkeypatch.setattr(registry_wire, "READ_S", 0.2)  # a byte comes more often than that
    with strange_registry("trickle") as state, opened(state, waits) as connection:
        with pytest.raises(PublishError, match="in time"):
            Registry(connection, writes=False).manifest("1")
        assert state.seen["GET"] >= ATTEMPTS


@pytest.mark.parametrize("fault", [*ODD_LOCATIONS, "deep"])
def test_answers_that_are_none(fault: str, waits: list[float]) -> None:
    with strange_registry(fault) as state:
        with pytest.raises(PublishError):
            push(state, waits)
        assert state.manifests == {}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("refuses manifest", "no more room"),
        ("other digest", "for it"),
        ("other bytes", "expected manifest"),
        ("foreign realm", "https"),
        ("elsewhere", "https"),
    ],
)
def test_what_is_refused(fault: str, said: str, waits: list[float]) -> None:
    login = Login("ann", "canary")
    with strange_registry(fault) as state:
        with pytest.raises(PublishError, match=said) as found:
            push(state, waits, login=login)
        assert "canary" not in str(found.value)
        assert "canary" not in repr(login)
        assert state.authorizations == []


def test_bytes_that_are_not_those_of_the_name_never_get_one(waits: list[float]) -> None:
    with strange_registry() as state:
        with pytest.raises(PublishError, match="other bytes"):
            push(state, waits, BLOB[:-1] + b"?")
        assert state.blobs == {}
        assert state.manifests == {}


def test_nobody_there(waits: list[float]) -> None:
    state = Strange(host="127.0.0.1:9")
    with pytest.raises(PublishError, match=r"127\.0\.0\.1:9"):
        push(state, waits)


@pytest.fixture
def endless() -> Iterator[Strange]:
    with strange_registry("endless") as state:
        yield state


def test_answers_are_bounded(endless: Strange, waits: list[float]) -> None:
    with opened(endless, waits) as connection, pytest.raises(PublishError, match="a long one"):
        Registry(connection, writes=False).manifest("1")
    with opened(endless, waits) as connection, pytest.raises(PublishError, match="got more"):
        list(Registry(connection, writes=False).blob(DIGEST, len(BLOB)))
