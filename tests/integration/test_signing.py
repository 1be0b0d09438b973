"""Signatures by real keys, held to the real minisign and ssh-keygen, and to a real registry."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.line import Line, new_line
from tests.support.registry import run_registry
from tests.support.require import require

pytestmark = pytest.mark.integration
PASSWORD = "canary-7f2e91"
TAG = "ground:1.0.0"


def run(*argv: str, data: bytes = b"", cwd: Path | None = None, status: int = 0) -> str:
    done = subprocess.run(argv, input=data, capture_output=True, cwd=cwd)
    assert done.returncode == status, (argv, done.stdout, done.stderr)
    return done.stdout.decode()


@pytest.fixture(scope="module")
def built() -> Iterator[Line]:
    require("bwrap", "gcc", "make", "runc", "skopeo", "minisign", "ssh-keygen")
    with new_line() as line:
        make_keys(line.folder)
        line.build("ground")
        yield line


def make_keys(folder: Path) -> None:
    for name in ("ours", "theirs"):
        run("minisign", "-G", "-W", "-p", f"{name}.pub", "-s", f"{name}.key", cwd=folder)
    typed = f"{PASSWORD}\n{PASSWORD}\n".encode()
    run("minisign", "-G", "-p", "locked.pub", "-s", "locked.key", data=typed, cwd=folder)
    for kind in ("ed25519", "rsa"):
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", kind, cwd=folder)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", PASSWORD, "-f", "shut", cwd=folder)
    allowed = [f"{kind}@x {(folder / f'{kind}.pub').read_text()}" for kind in ("ed25519", "rsa")]
    (folder / "allowed").write_text("".join(allowed))
    for key in ("ours.key", "theirs.key", "locked.key"):
        (folder / key).chmod(0o600)


@pytest.fixture
def archive(built: Line) -> Path:
    path = built.folder / "x_1-image.tar.gz"
    for beside in built.folder.glob("x_1-image*"):
        beside.unlink()
    path.write_bytes(os.urandom(200_000))
    return path


def test_minisign_takes_ours_and_we_take_its(built: Line, archive: Path) -> None:
    name = archive.name
    assert built.run("sign", "--key", "ours.key", name).status == 0
    said = run("minisign", "-V", "-p", "ours.pub", "-m", name, cwd=built.folder)
    assert f"file:{name}" in said
    run("minisign", "-V", "-p", "theirs.pub", "-m", name, cwd=built.folder, status=1)
    for prehashed in ([], ["-H"], ["-l"]):
        run("minisign", "-S", *prehashed, "-s", "theirs.key", "-m", name, cwd=built.folder)
        done = built.run("verify-signature", "--key", "theirs.pub", name, "--json")
        assert done.status == 0, done.err
        assert done.json()["comment"].startswith("timestamp:")
        assert built.run("verify-signature", "--key", "ours.pub", name).status == 28
    public = (built.folder / "theirs.pub").read_text().splitlines()[1]
    assert built.run("verify-signature", "--key", public, name).status == 0


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_ssh_keygen_takes_ours_and_we_take_its(built: Line, archive: Path, kind: str) -> None:
    folder, name, data = built.folder, archive.name, archive.read_bytes()
    assert built.run("sign", "--key", kind, name).status == 0
    words = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", f"{kind}@x", "-n", "minid"]
    run(*words, "-s", f"{name}.sig", data=data, cwd=folder)
    archive.with_name(f"{name}.sig").unlink()
    run("ssh-keygen", "-Y", "sign", "-f", kind, "-n", "file", name, cwd=folder)
    held = built.run("verify-signature", "--allowed-signers", "allowed", name, "--json").json()
    assert (held["signer"], held["kind"]) == (f"{kind}@x", "openssh")
    assert built.run("verify-signature", "--key", f"{kind}.pub", name).status == 0
    assert built.run("verify-signature", "--key", "shut.pub", name).status == 28
    archive.with_name(f"{name}.sig").unlink()
    run("ssh-keygen", "-Y", "sign", "-f", kind, "-n", "git", name, cwd=folder)
    done = built.run("verify-signature", "--key", f"{kind}.pub", name)
    assert (done.status, "namespace 'git'" in done.err) == (28, True)


def test_an_agent_signs_with_a_key_that_is_shut(built: Line, archive: Path) -> None:
    done = built.run("sign", "--key", "shut", archive.name)
    assert (done.status, "ssh-add" in done.err) == (10, True)
    assert not archive.with_name(f"{archive.name}.sig").exists()
    require("ssh-agent", "ssh-add")
    socket = built.folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        ask = built.folder / "ask"
        ask.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
        ask.chmod(0o700)
        environ = {**os.environ, "SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS": str(ask)}
        environ |= {"SSH_ASKPASS_REQUIRE": "force"}
        for _ in range(100):
            argv = ["ssh-add", "-q", str(built.folder / "shut")]
            if not subprocess.run(argv, env=environ, capture_output=True).returncode:
                break
        with_agent = built.with_environ(SSH_AUTH_SOCK=str(socket))
        assert with_agent.run("sign", "--key", "shut.pub", archive.name).status == 0
        assert built.run("verify-signature", "--key", "shut.pub", archive.name).status == 0
    finally:
        agent.kill()
        agent.wait()


def test_a_password_comes_as_a_credential_and_is_told_nowhere(built: Line, archive: Path) -> None:
    done = built.run("sign", "--key", "locked.key", archive.name)
    assert (done.status, "sign.password" in done.err) == (10, True)
    given = built.folder / "given"
    given.mkdir(exist_ok=True)
    (given / "sign.password").write_text(f"{PASSWORD}\n")
    service = built.with_environ(CREDENTIALS_DIRECTORY=str(given))
    done = service.run("sign", "--key", "locked.key", archive.name)
    assert done.status == 0, done.err
    run("minisign", "-V", "-p", "locked.pub", "-m", archive.name, cwd=built.folder)
    assert PASSWORD not in done.err + done.out


def test_what_does_not_hold(built: Line, archive: Path) -> None:
    name = archive.name
    assert built.run("verify-signature", "--key", "ours.pub", name).status == 28
    built.query("sign", "--key", "ours.key", name)
    signature = archive.with_name(f"{name}.minisig")
    good = signature.read_bytes()
    for bad in (b"", b"\x00" * 100, good[:-30], good.replace(b"file:", b"File:"), b"x" * 300_000):
        signature.write_bytes(bad)
        assert built.run("verify-signature", "--key", "ours.pub", name).status == 28, bad[:50]
    signature.write_bytes(good)
    archive.write_bytes(archive.read_bytes()[:-1])
    assert built.run("verify-signature", "--key", "ours.pub", name).status == 28
    assert built.run("verify-signature", "--key", "none.pub", name).status == 10
    assert built.run("verify-signature", "--key", "allowed", name).status == 10
    assert built.run("verify-signature", name).status == 2
    public = built.run("sign", "--key", "ours.pub", name)
    assert (public.status, "got a public one" in public.err) == (10, True)
    for key, mode in (("theirs.key", 0o604), ("ed25519", 0o640)):
        (built.folder / key).chmod(mode)
        refused = built.run("sign", "--key", key, name)
        assert (refused.status, "others cannot read" in refused.err) == (10, True)
        (built.folder / key).chmod(0o600)


def test_an_image_goes_with_its_signatures_to_a_registry(built: Line, tmp_path: Path) -> None:
    assert built.run("verify-signature", "--key", "ours.pub", TAG).status == 28
    for key in ("ours.key", "ed25519"):
        built.query("sign", "--key", key, TAG)
    assert built.run("verify-signature", "--key", "ours.pub", TAG).status == 0
    assert built.run("verify-signature", "--key", "theirs.pub", TAG).status == 28
    manifest = built.tags()[TAG]
    with run_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/ground"
        bare = built.run("push", TAG, f"{name}:bare", "--no-referrers", "--json").json()
        assert bare[0]["referrers"] == []
        assert built.run("verify-signature", "--key", "ours.pub", f"{name}:bare").status == 28
        (told,) = built.run("push", TAG, f"{name}:1", "--json").json()
        assert told["manifest"] == manifest
        listed = sorted(told["referrers"])
        signed = "application/vnd.minid.signature.v1"
        assert listed == ["application/spdx+json", "application/vnd.in-toto+json", signed, signed]
        for key in ("ours.pub", "ed25519.pub"):
            done = built.run("verify-signature", "--key", key, f"{name}:1", "--json")
            assert done.status == 0, done.err
            assert (done.json()["manifest"], done.json()["in"]) == (manifest, "registry")
        assert built.run("verify-signature", "--key", "rsa.pub", f"docker://{name}:1").status == 28
        # Again: nothing is added; and what another tool reads is what was told.
        built.query("push", TAG, f"{name}:1")
        tag = manifest.replace(":", "-")
        index = json.loads(inspect(f"{name}:{tag}"))
        assert sorted(entry["artifactType"] for entry in index["manifests"]) == listed
        for entry in index["manifests"]:
            artifact = inspect(f"{name}@{entry['digest']}")
            assert "sha256:" + hashlib.sha256(artifact).hexdigest() == entry["digest"]
            assert json.loads(artifact)["subject"]["digest"] == manifest
        check_with_other_tools(name, index, tmp_path, built.folder)
        assert "sha256:" + hashlib.sha256(inspect(f"{name}:1")).hexdigest() == manifest


def inspect(name: str) -> bytes:
    argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def check_with_other_tools(name: str, index: dict, where: Path, keys: Path) -> None:  # type: ignore[type-arg]
    """skopeo and minisign alone find and check the signature."""
    (where / "manifest.json").write_bytes(inspect(f"{name}:1"))
    checked = 0
    for entry in index["manifests"]:
        place = where / entry["digest"][7:19]
        source = f"docker://{name}@{entry['digest']}"
        run("skopeo", "copy", "-q", "--src-tls-verify=false", source, f"dir:{place}")
        layer = json.loads((place / "manifest.json").read_bytes())["layers"][0]
        if layer["mediaType"].endswith("minisign"):
            blob = place / layer["digest"].removeprefix("sha256:")
            words = ["-m", str(where / "manifest.json"), "-x", str(blob)]
            run("minisign", "-V", "-p", str(keys / "ours.pub"), *words)
            checked += 1
    assert checked == 1


def test_builds_sign_what_they_publish(built: Line) -> None:
    config = built.folder / "config.toml"
    text = config.read_text()
    try:
        with config.open("a") as file:
            file.write('export = "images"\n[sign]\nkey = "no.key"\npublic = "theirs.pub"\n')
        failed = built.run("build", "ground")
        assert (failed.status, "no.key" in failed.err) == (10, True)
        assert finding(built) == (False, True)
        config.write_text(config.read_text().replace("no.key", "theirs.key"))
        assert finding(built) == (True, False)
        assert built.build("ground")["ground"]["status"] == "built"
        assert built.run("verify-signature", TAG).status == 0
        archive = "images/ground_1.0.0-image.tar.gz"
        assert built.run("verify-signature", archive).status == 0
        run("minisign", "-V", "-p", "theirs.pub", "-m", archive, cwd=built.folder)
        assert built.build("ground")["ground"]["status"] == "unchanged"
        # A signature that is missing is made again; an edit's archive has its own.
        (built.folder / f"{archive}.minisig").unlink()
        assert built.build("ground")["ground"]["status"] == "built"
        assert built.run("verify-signature", archive).status == 0
        before = built.tags()[TAG]
        (built.folder / "theirs.key").rename(built.folder / "away.key")
        assert built.run("set", TAG, "--label", "a=b").status == 10
        assert built.tags()[TAG] == before  # what cannot be signed is not tagged
        (built.folder / "away.key").rename(built.folder / "theirs.key")
        built.query("set", TAG, "--label", "a=b")
        assert built.tags()[TAG] != before
        assert built.run("verify-signature", archive).status == 0
        assert built.run("verify-signature", TAG).status == 0
        # Without a key no old signature stays beside a new archive.
        config.write_text(text + 'export = "images"\n')
        built.query("undo", TAG)
        assert not (built.folder / f"{archive}.minisig").exists()
    finally:
        config.write_text(text)


def finding(line: Line) -> tuple[bool, bool]:
    """What the doctor says of the key: whether it signs, and whether there is something to do."""
    found = {item["what"]: item for item in line.run("doctor", "--json").json()["findings"]}
    return found["signing"]["ok"], bool(found["signing"]["mend"])


def test_secrets_are_nowhere_that_minid_writes(built: Line) -> None:
    secrets = [PASSWORD.encode(), (built.folder / "ours.key").read_bytes().splitlines()[1]]
    secrets.append((built.folder / "ed25519").read_bytes().splitlines()[2])
    for path in [*built.state.rglob("*"), *(built.folder / "images").rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret in data for secret in secrets), path
