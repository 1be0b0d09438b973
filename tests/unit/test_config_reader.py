"""config.toml: where it is found, what it becomes, what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from minid.config import Building, Checking, Config, Fetching
from minid.config_reader import config_problems, find_config, load_config
from minid.errors import ConfigError
from minid.host.transfer import local_path
from minid.model import Limits


def load(folder: Path, text: str, **environ: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    return load_config(file, environ)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert config.paths.recipes == tmp_path / "recipes"
    assert config.paths.state == tmp_path / "var"
    assert (config.fetch, config.build, config.check) == (Fetching(), Building(), Checking())
    assert config.mirrors == ()
    assert [spec.name for spec in config.environments] == ["debian", "host"]
    host, debian = config.environment("host"), config.environment("debian")
    assert host is not None and host.kind == "host" and host.packages == ()
    assert debian is not None and debian.kind == "debian" and "gcc" in debian.packages


def test_no_file_is_the_defaults_of_the_folder(tmp_path: Path) -> None:
    config = load_config(None, {"MINID_STATE": "other"}, start=tmp_path)
    assert config.file is None
    assert config.paths.recipes == tmp_path / "recipes"
    assert config.paths.state == tmp_path / "other"


def test_everything_at_once(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
mirrors = ["file:../mirror", "file:///srv//m", "https://mirror.example/a/"]
[paths]
recipes = "../r"
state = "/var/lib/x"
[environments.centos]
image = "centos:7"
[environments.debian]
suite = "bookworm"
packages = ["g++"]
mirror = "file:apt"
[environments.mine]
kind = "host"
[fetch]
max_size = "3 MB"
connect_timeout = 2
total_timeout = "1 h"
min_rate = 1
proxy = "http://u:p@proxy.example:3128"
[build]
jobs = 3
user = "builder"
[build.limits]
memory = "1 GiB"
cpu = "1 min"
inodes = 10
[check]
runner = "docker"
[publish]
docker = "off"
export = "out"
""",
    )
    assert config.mirrors == (
        f"file:{tmp_path.parent}/mirror",
        "file:/srv/m",
        "https://mirror.example/a",
    )
    assert config.paths.recipes == tmp_path.parent / "r"
    assert config.paths.store == Path("/var/lib/x/store")
    kinds = {spec.name: (spec.kind, spec.image, spec.packages) for spec in config.environments}
    assert kinds == {
        "centos": ("image", "centos:7", ()),
        "debian": ("debian", "", ("g++",)),
        "host": ("host", "", ()),
        "mine": ("host", "", ()),
    }
    debian = config.environment("debian")
    assert debian is not None and debian.mirror == f"file:{tmp_path}/apt"
    assert config.fetch.max_bytes == 3_000_000
    assert (config.fetch.connect_timeout_s, config.fetch.total_timeout_s) == (2.0, 3600.0)
    assert config.build == Building(
        jobs=3, user="builder", limits=Limits(memory_bytes=1 << 30, cpu_s=60, inodes=10)
    )
    assert config.check.runner == "docker"
    assert (config.publish.docker, config.publish.export) == ("off", tmp_path / "out")


def test_environment_variables_come_first(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "config.toml"
    file.write_text('mirrors = ["file:a", "file:b"]\npaths.state = "s"\n')
    environ = {"MINID_MIRRORS": "file:c  http://127.0.0.1:8080/ file:/x", "MINID_STATE": "/t"}
    config = load_config(file, environ, start=tmp_path / "sub")
    assert config.mirrors == (
        f"file:{tmp_path}/sub/c",
        "http://127.0.0.1:8080",
        "file:/x",
        f"file:{tmp_path}/a",
        f"file:{tmp_path}/b",
    )
    assert config.paths.state == Path("/t")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("mirrors = 'file:x'", "mirrors: expected an array of mirrors"),
        ("mirrors = ['ftp://x']", "mirrors[0]: expected a mirror"),
        ("mirrors = ['https://u:p@x/']", "mirrors[0]: expected a mirror"),
        ("[fetch]\nattempts = 0", "fetch.attempts: expected a whole number from 1 to 20, got 0"),
        ("[fetch]\nmax_sise = 1", 'got "max_sise"; did you mean "max_size"?'),
        ("[build]\nuser = '-rf'", "build.user: expected a user name"),
        ("[build.limits]\ntmp = '2 G'", 'build.limits.tmp: expected a size such as "7 MB"'),
        ("[check]\nrunner = 'podman'", 'expected "sandbox" or "docker", got "podman"'),
        ("[environments.'../x']\nkind = 'host'", 'environments."../x": expected a name'),
        ("[environments.x]\nimage = '--privileged'", "environments.x.image: expected an image"),
        (
            "[environments.x]\nkind = 'host'\nsuite = 'sid'",
            "environments.x.suite: expected no such",
        ),
        ("[environments.x]\nkind = 'image'", "environments.x.image: expected the reference"),
        ("[fetch]\nproxy = 'socks://x'", "fetch.proxy: expected a proxy"),
        ("x", "config.toml:1: expected valid TOML"),
    ],
)
def test_problems(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert line in caught.value.message
    assert caught.value.message.startswith(str(tmp_path / "config.toml"))
    assert caught.value.exit_code == 10
    problems = config_problems(text.encode(), tmp_path / "config.toml")
    assert [str(problem) for problem in problems] == caught.value.message.split("\n")


def test_wrong_mirrors_in_the_environment_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^MINID_MIRRORS: expected a mirror .* got \"ftp://x\"$"):
        load_config(None, {"MINID_MIRRORS": "ftp://x"}, start=tmp_path)


def test_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable file, got no such file"):
        load_config(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="expected a readable file, got is a directory"):
        load_config(tmp_path, {})


def test_the_nearest_file_is_found(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "config.toml").touch()
    assert find_config(deep, {}) == tmp_path / "config.toml"
    (tmp_path / "a" / "config.toml").mkdir()
    assert find_config(deep, {}) == tmp_path / "config.toml"
    (deep / "config.toml").touch()
    assert find_config(deep, {}) == deep / "config.toml"
    assert find_config(deep, {"MINID_CONFIG": "/etc/x.toml"}) == Path("/etc/x.toml")
    assert find_config(deep, {"MINID_CONFIG": "y.toml"}) == deep / "y.toml"


def test_the_system_file_keeps_its_state_in_var_lib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.toml"
    file.touch()
    monkeypatch.setattr("minid.config_reader.SYSTEM_CONFIG", file)
    config = load_config(file, {})
    assert config.paths.state == Path("/var/lib/minid")
    assert config.paths.recipes == tmp_path / "recipes"


def test_a_mirror_in_a_folder_of_a_strange_name_is_found_there(tmp_path: Path) -> None:
    folder = tmp_path / "50% c#?"
    folder.mkdir()
    file = folder / "config.toml"
    file.write_text('mirrors = ["file:archives"]\n')
    (mirror,) = load_config(file, {}).mirrors
    assert local_path(mirror) == folder / "archives"


def test_the_key_to_sign_with_is_the_files_or_the_one_that_systemd_gives(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load_config(file, given).publish.sign.key is None
    (tmp_path / "sign.key").write_text("")
    assert load_config(file, given).publish.sign.key == tmp_path / "sign.key"
    assert load_config(file, {}).publish.sign.key is None
    file.write_text('[sign]\nkey = "own.key"\npublic = "own.pub"\n')
    signing = load_config(file, given).publish.sign
    assert (signing.key, signing.public) == (tmp_path / "own.key", tmp_path / "own.pub")
