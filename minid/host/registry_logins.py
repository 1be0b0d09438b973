"""Where logins for registries are found on a machine.

In this order: a credential that systemd gave (`registry-auth.json`), `REGISTRY_AUTH_FILE`, podman's
auth.json, Docker's config.json. The first that has a login for the registry counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from minid.errors import ConfigError
from minid.formats.registry_login import Login, parse_helper_answer, parse_logins
from minid.formats.registry_name import RegistryName
from minid.host import process

CREDENTIAL = "registry-auth.json"
_MAX_BYTES = 1 << 20
_HELPER_TIMEOUT_S = 20.0


def find_login(name: RegistryName, environ: Mapping[str, str]) -> Login | None:
    """The login for a repository; None: as anybody. ConfigError for a file that is broken."""
    for path in _files(environ):
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ConfigError(f"{path}: expected to be read, got {error.strerror}") from error
        try:
            found = parse_logins(data)
        except ValueError as error:
            # Not the error's own words: they may hold what the file holds.
            raise ConfigError(f"{path}: expected a file of logins, got something else") from error
        login = found.login(name.registry, name.repository)
        if login is not None:
            return login
        helper = found.helper(name.registry)
        if helper is not None and (login := _ask_helper(*helper, environ)) is not None:
            return login
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = environ.get("HOME", "")
    if environ.get("CREDENTIALS_DIRECTORY"):
        yield Path(environ["CREDENTIALS_DIRECTORY"], CREDENTIAL)
    if environ.get("REGISTRY_AUTH_FILE"):
        yield Path(environ["REGISTRY_AUTH_FILE"])
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"], "containers/auth.json")
    if home:
        yield Path(home, ".config/containers/auth.json")
    if environ.get("DOCKER_CONFIG"):
        yield Path(environ["DOCKER_CONFIG"], "config.json")
    elif home:
        yield Path(home, ".docker/config.json")


def _ask_helper(program: str, registry: str, environ: Mapping[str, str]) -> Login | None:
    """Ask `docker-credential-PROGRAM`; None where it has no login for the registry."""
    name = f"docker-credential-{program}"
    argv = [str(process.need_program(name)), "get"]
    keep = {key: environ[key] for key in ("HOME", "PATH", "XDG_RUNTIME_DIR") if key in environ}
    done = process.run(
        argv, timeout_s=_HELPER_TIMEOUT_S, input_bytes=registry.encode(), environ=keep
    )
    if done.status:
        return None
    try:
        return parse_helper_answer(done.stdout)
    except ValueError as error:
        raise ConfigError(f"{name}: expected a login in JSON, got something else") from error
