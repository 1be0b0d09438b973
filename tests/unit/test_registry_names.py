"""Names and logins of registries, as people and programs write them."""

from __future__ import annotations

import base64
import json

import pytest

from minid.formats.digest import Digest
from minid.formats.registry_login import parse_challenge, parse_helper_answer, parse_logins
from minid.formats.registry_name import has_registry, parse_registry_name


@pytest.mark.parametrize(
    ("text", "host", "repository", "reference"),
    [
        ("registry.example/team/web:1", "registry.example", "team/web", "1"),
        ("localhost:5000/web", "localhost:5000", "web", "latest"),
        ("localhost/web", "localhost", "web", "latest"),
        ("docker.io/nginx:1", "registry-1.docker.io", "library/nginx", "1"),
        ("docker.io/a/b", "registry-1.docker.io", "a/b", "latest"),
        (f"r.example/a@{Digest.of(b'')}", "r.example", "a", str(Digest.of(b""))),
    ],
)
def test_names(text: str, host: str, repository: str, reference: str) -> None:
    name = parse_registry_name(text)
    assert (name.host, name.repository, name.reference) == (host, repository, reference)


@pytest.mark.parametrize(
    "text",
    ["nginx", "team/web:1", "r.example/Web", "r.example/a:b:c", "r.example/../a", "r.example/",
     "r.example/a@sha256:1", "https://r.example/a", "r.example/a?x=1", "a b.c/x", ""],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_registry_name(text)


def test_names_with_a_place_of_their_own() -> None:
    assert has_registry("registry.example/base:1")
    assert has_registry("localhost/base:1")
    assert has_registry("here:5000/base:1")
    assert not has_registry("team/base:1")
    assert not has_registry("nginx:1.26.3")


def packed(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def test_logins_of_a_file() -> None:
    value = {
        "auths": {
            "https://index.docker.io/v1/": {"auth": packed("hub", "h")},
            "r.example": {"auth": packed("all", "a:b")},
            "r.example/team": {"auth": packed("team", "t")},
            "t.example": {"identitytoken": "token"},
            "plain.example": {"username": "ann", "password": "p"},
            "empty.example": {},
        },
        "credHelpers": {"h.example": "secret-service"},
        "credsStore": "desktop",
    }
    found = parse_logins(json.dumps(value).encode())
    hub = found.login("docker.io", "library/nginx")
    assert hub is not None
    assert hub.user == "hub"
    own, team = found.login("r.example", "web"), found.login("r.example", "team/web")
    assert own is not None
    assert (own.user, own.password) == ("all", "a:b")
    assert team is not None
    assert team.user == "team"
    token = found.login("t.example", "x")
    assert token is not None
    assert token.identity == "token"
    plain = found.login("plain.example", "x")
    assert plain is not None
    assert (plain.user, plain.password) == ("ann", "p")
    assert found.login("empty.example", "x") is None
    assert found.helper("h.example") == ("secret-service", "h.example")
    assert found.helper("docker.io") == ("desktop", "https://index.docker.io/v1/")
    assert "a:b" not in repr(own)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"auths": {"a": {"auth": "!"}}}', '{"credsStore": "../x"}',
     '{"auths": {"a": {"auth": "YWFh"}}}', '{"auths": {"a": 1}}'],
)  # fmt: skip
def test_what_is_no_file_of_logins(text: str) -> None:
    with pytest.raises(ValueError):
        parse_logins(text.encode())


def test_what_helpers_and_registries_say() -> None:
    assert parse_helper_answer(b'{"Username": "ann", "Secret": "s"}').user == "ann"
    assert parse_helper_answer(b'{"Username": "<token>", "Secret": "s"}').identity == "s"
    both = parse_challenge('Basic realm="a", Bearer realm="https://t/x",service="s"')
    assert both is not None
    assert (both.scheme, both.parameters["service"]) == ("bearer", "s")
    basic = parse_challenge('Basic realm="here"')
    assert basic is not None
    assert basic.scheme == "basic"
    assert parse_challenge("Negotiate") is None
