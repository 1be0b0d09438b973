"""config.json for the OCI runtime, and the users of an image."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minid.errors import ImageError
from minid.formats import runtime_spec as spec

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:100:101:Web:/srv/web:/bin/false\nodd:x:1:1::\n"
GROUP = "root:x:0:\nweb:x:101:\nlogs:x:102:other,web\nwheel:x:10:root\n"
ROOT = {"uid": 0, "gid": 0, "extra": [], "home": "/root"}


@pytest.mark.parametrize(
    ("user", "uid", "gid", "extra", "home"),
    [
        ("", 0, 0, [10], "/root"),
        ("root", 0, 0, [10], "/root"),
        ("web", 100, 101, [102], "/srv/web"),
        ("100", 100, 101, [102], "/srv/web"),
        ("web:logs", 100, 102, [], "/srv/web"),
        ("web:7", 100, 7, [], "/srv/web"),
        ("4242", 4242, 0, [], "/"),
        ("4242:web", 4242, 101, [], "/"),
    ],
)
def test_resolve_user(user: str, uid: int, gid: int, extra: list[int], home: str) -> None:
    found = spec.resolve_user(user, PASSWD, GROUP)
    assert found == {"uid": uid, "gid": gid, "extra": extra, "home": home}


@pytest.mark.parametrize(
    "user", ["nobody", "web:nobody", "-1", "odd:x y", "²", "2147483648", "web:9" + "9" * 5000]
)
def test_unknown_names_are_refused(user: str) -> None:
    with pytest.raises(ImageError, match=r"image\.user"):
        spec.resolve_user(user, PASSWD, GROUP)


@pytest.mark.parametrize("line", ["web:x:one:1::/:", "web:x:1:one::/:", "web:x:1:-1::/:"])
def test_passwd_that_is_none(line: str) -> None:
    with pytest.raises(ImageError, match="expected an id"):
        spec.resolve_user("web", line, "")


def test_image_without_passwd_runs_as_root() -> None:
    assert spec.resolve_user("", "", "") == {"uid": 0, "gid": 0, "extra": [], "home": "/"}


def test_entrypoint_comes_before_cmd() -> None:
    assert spec.process_argv({"Entrypoint": ["a"], "Cmd": ["b", "c"]}) == ("a", "b", "c")
    assert spec.process_argv({"Cmd": None}) == ()


def test_environment_is_completed_and_not_overridden() -> None:
    assert spec.process_env({}, "box", "/root") == (
        f"PATH={spec.DEFAULT_PATH}",
        "HOSTNAME=box",
        "HOME=/root",
    )
    env = spec.process_env({"Env": ["PATH=/bin", "A=b=c", "HOME=/h"]}, "box", "/root")
    assert env == ("PATH=/bin", "HOSTNAME=box", "A=b=c", "HOME=/h")


def config(**more: Any) -> spec.Json:
    return spec.runtime_config({"Cmd": ["x"], **more}, ROOT)


def test_network_and_user_namespace_are_inherited() -> None:
    kinds = {entry["type"] for entry in config()["linux"]["namespaces"]}
    assert kinds == {"pid", "mount", "uts", "ipc"}


def test_process_is_dockers() -> None:
    process = config(WorkingDir="/srv")["process"]
    assert process["cwd"] == "/srv"
    assert process["terminal"] is False
    assert process["noNewPrivileges"] is False
    assert process["capabilities"]["effective"] == list(spec.DEFAULT_CAPABILITIES)
    assert process["capabilities"]["ambient"] == []


def test_ordinary_user_holds_no_capability_but_may_gain_them() -> None:
    made = spec.runtime_config({"Cmd": ["x"]}, ROOT | {"uid": 100})
    capabilities = made["process"]["capabilities"]
    assert capabilities["permitted"] == capabilities["effective"] == []
    assert capabilities["bounding"] == list(spec.DEFAULT_CAPABILITIES)


def test_argv_replaces_the_images_own() -> None:
    made = spec.runtime_config({"Entrypoint": ["e"], "Cmd": ["c"]}, ROOT, argv=("x", "-v"))
    assert made["process"]["args"] == ["x", "-v"]


def test_nothing_to_run_is_the_images_fault() -> None:
    with pytest.raises(ImageError, match="neither cmd nor entrypoint"):
        spec.runtime_config({}, ROOT)


def test_malformed_configuration_is_named() -> None:
    with pytest.raises(ImageError, match=r"config\.Cmd: expected a list of strings, got 'x'"):
        spec.runtime_config({"Cmd": "x"}, ROOT)


def test_sys_can_be_left_out() -> None:
    made = spec.runtime_config({"Cmd": ["x"]}, ROOT, sys=False)
    assert "/sys" not in [mount["destination"] for mount in made["mounts"]]
    assert not [path for path in made["linux"]["maskedPaths"] if path.startswith("/sys")]


def test_binds_come_last_and_are_private() -> None:
    made = spec.runtime_config({"Cmd": ["x"]}, ROOT, binds=[("/b/hosts", "/etc/hosts")])
    assert made["mounts"][-1]["source"] == "/b/hosts"
    assert made["mounts"][-1]["options"] == ["bind", "rprivate"]


def test_listener_adds_a_filter_that_lets_everything_else_through() -> None:
    plain = config()
    made = spec.with_listener(plain, "/s", "x86_64")
    seccomp = made["linux"]["seccomp"]
    assert seccomp["defaultAction"] == "SCMP_ACT_ALLOW"
    assert seccomp["architectures"] == ["SCMP_ARCH_X86_64"]
    assert "write" not in seccomp["syscalls"][0]["names"]  # the runtime itself needs it
    assert "seccomp" not in plain["linux"]
    json.dumps(made)


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 15), ("SIGQUIT", 3), ("quit", 3), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-2", 62)],
)
def test_stop_signal(text: str, number: int) -> None:
    assert spec.stop_signal({"StopSignal": text}) == number


@pytest.mark.parametrize("text", ["SIGNOTHING", "0", "65", "99999999", "RTMIN+", "RTMAX+1", "_DFL"])
def test_stop_signal_that_is_none(text: str) -> None:
    with pytest.raises(ImageError, match=r"image\.stop_signal: expected a signal"):
        spec.stop_signal({"StopSignal": text})


def test_users_by_number() -> None:
    assert spec.user_names("root:x:0:0::/:\ntoor:x:0:0::/:\nbad\nx:x:y:0::/:\nweb:x:100:1::/:") == {
        0: "root",
        100: "web",
    }
