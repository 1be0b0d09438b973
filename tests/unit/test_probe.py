"""What is concluded from a program's calls: pure, no program runs here."""

from __future__ import annotations

import pytest

from minid.formats.accounts import Accounts
from minid.formats.probe import (
    CREATES,
    EACCES,
    ENOENT,
    EPERM,
    IS_FOLDER,
    OK,
    Event,
    Finding,
    Seen,
    is_device,
    is_library,
    parse_seen,
)
from minid.formats.probe_ground import Ground, find_unstartable, link_program
from minid.formats.probe_rules import find_missing
from minid.formats.recipe_lines import RecipeLines, add_lines, show_lines
from minid.formats.rootfs import Rootfs
from minid.recipe import Directory, File, Group, User
from minid.workbench.probing import merge_lines
from tests.support.tiny_image import file, folder, link

PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:101:101::/:/bin/false\n"


def ground(*entries: object, passwd: str = "", heads: dict[str, bytes] | None = None) -> Ground:
    root = Rootfs([folder("dev"), *entries])  # type: ignore[list-item]
    return Ground(root, Accounts(passwd, passwd), lambda path: (heads or {}).get(path, b""))


def event(
    call: str, path: str, error: int = OK, flags: int = 0, uid: int = 0, at: int = 0
) -> Event:
    return Event(call, path, flags, error, at_ms=at, last=at, tid=1, uid=uid)


def find(*events: Event, on: Ground | None = None, **more: object) -> dict[str, Finding]:
    timed = tuple(
        Event(e.call, e.path, e.flags, e.error, at, at, 1, e.uid) for at, e in enumerate(events)
    )
    seen = Seen(timed, **more)  # type: ignore[arg-type]
    return {f"{one.kind} {one.what}": one for one in find_missing(seen, on or ground())}


def needed(found: dict[str, Finding]) -> set[str]:
    return {name for name, one in found.items() if one.needed}


@pytest.mark.parametrize(
    ("call", "path", "expected"),
    [
        ("open", "/var/log/app/error.log", "/var/log/app"),
        ("mkdir", "/var/tmp/nginx/client", "/var/tmp/nginx"),
        ("bind", "unix:/run/app/app.sock", "/run/app"),
        ("symlink", "/srv/now", "/srv"),
    ],
)
def test_folder_of_what_is_made(call: str, path: str, expected: str) -> None:
    flags = CREATES if call == "open" else 0
    found = find(event(call, path, ENOENT, flags), alive=True)
    assert needed(found) == {f"folder {expected}"}
    assert found[f"folder {expected}"].lines.directories == (Directory(expected),)


def test_folder_belongs_to_who_asked() -> None:
    on = ground(passwd=PASSWD)
    found = find(event("open", "/srv/data/x", ENOENT, CREATES, uid=101), on=on, alive=True)
    assert found["folder /srv/data"].lines.directories == (Directory("/srv/data", owner="web"),)
    found = find(event("open", "/srv/data/x", ENOENT, CREATES, uid=77), on=on, alive=True)
    assert found["folder /srv/data"].lines.directories == (Directory("/srv/data", owner="77"),)


def test_shared_folder_is_everybodys() -> None:
    found = find(event("open", "/tmp/x", ENOENT, CREATES, uid=5), alive=True)
    assert found["folder /tmp"].lines.directories == (Directory("/tmp", mode=0o1777),)


def test_folder_behind_a_link_that_leads_nowhere() -> None:
    on = ground(folder("var"), folder("var/log"), link("var/log/app", "/data/logs/app"))
    found = find(event("open", "/var/log/app", ENOENT, CREATES), on=on, alive=True)
    assert needed(found) == {"folder /data/logs"}


def test_folder_that_is_anothers() -> None:
    on = ground(folder("var"), folder("var/lib"), folder("var/lib/app"), passwd=PASSWD)
    refused = event("open", "/var/lib/app/db", EACCES, CREATES, uid=101)
    found = find(refused, on=on, alive=True)
    assert found["folder /var/lib/app"].lines.directories == (
        Directory("/var/lib/app", owner="web"),
    )
    system = event("open", "/etc/shadow-", EACCES, CREATES, uid=101)
    found = find(system, on=ground(folder("etc"), passwd=PASSWD), alive=True)
    assert not found["folder /etc"].lines  # nobody's to give away


def test_what_was_made_later_was_not_missing() -> None:
    assert not find(event("stat", "/run/app", ENOENT), event("mkdir", "/run/app"), exit_code=1)


def test_search_path_that_was_followed_to_the_end() -> None:
    events = [
        event("open", "/lib/x86_64/libz.so.1", ENOENT),
        event("stat", "/lib/x86_64", ENOENT),
        event("open", "/lib/libz.so.1"),
        event("exec", "/usr/local/bin/tool", ENOENT),
        event("exec", "/bin/tool"),
    ]
    assert not find(*events, exit_code=1, output=("something about x86_64",))


def test_name_that_was_in_none_of_many_folders() -> None:
    folders = ("/usr/local/bin", "/usr/sbin", "/bin")
    looked = [event("stat", f"{folder}/grep", ENOENT) for folder in folders]
    found = find(*looked, exit_code=127, output=("sh: grep: not found",))
    assert needed(found) == {"program grep"} and len(found) == 1
    looked = [event("open", f"/usr/{at}/strict.pm", ENOENT) for at in "abcde"]
    found = find(*looked, exit_code=2)
    assert needed(found) == {"file strict.pm"} and not found["file strict.pm"].lines
    assert "and 2 more" in found["file strict.pm"].why
    named = "cannot open /usr/b/strict.pm"
    assert "file /usr/b/strict.pm" in needed(find(*looked, exit_code=2, output=(named,)))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/ld.so.preload",
        "/etc/localtime",
        "/usr/share/locale/de/LC_MESSAGES/libc.mo",
        "/lib/glibc-hwcaps/x86-64-v3",
        "/proc/sys/kernel/x",
        "/usr/lib/ssl/openssl.cnf",
    ],
)
def test_noise(path: str) -> None:
    assert not find(event("open", path, ENOENT), exit_code=1)


def test_library_that_the_loader_wants() -> None:
    said = "app: error while loading shared libraries: libz.so.1: cannot open shared object file"
    found = find(event("open", "/lib/libz.so.1", ENOENT), exit_code=127, output=(said,))
    assert needed(found) == {"library libz.so.1"}
    assert found["library libz.so.1"].lines.dlopen == ("libz.so.1",)


def test_library_that_is_done_without() -> None:
    found = find(event("open", "/lib/libextra.so", ENOENT), alive=True)
    assert found and not needed(found)


def test_name_service_module_after_a_lookup_that_failed() -> None:
    missed = event("open", "/lib/libnss_files.so.2", ENOENT)
    found = find(missed, exit_code=1, names=(("user", "web"),))
    assert needed(found) == {"name service libnss_files.so.2", "user web"}


def test_users_and_groups_that_were_asked_for() -> None:
    names = (("user", "web"), ("group", "web"), ("group", "log"), ("user", "nobody"))
    found = find(exit_code=1, names=names)
    assert needed(found) == {"user web", "group log", "user nobody"}
    assert found["user nobody"].lines.users == (User("nobody", 65534, 65534),)
    assert not find(exit_code=1, names=names[:2], on=ground(passwd=PASSWD))


def test_user_that_no_recipe_can_name() -> None:
    found = find(exit_code=1, names=(("user", "Üser\n[x]"), ("group", "$(x)")))
    assert not any(one.lines for one in found.values())


@pytest.mark.parametrize(
    "line",
    [
        'nginx: [emerg] getpwnam("web") failed',
        "can't find the user web to switch to",
        "httpd: unknown user/group web",
        "su: user web does not exist",
        "chown: invalid user: 'web'",
    ],
)
def test_user_by_the_programs_own_words(line: str) -> None:
    opened = event("open", "/etc/passwd", ENOENT)
    assert needed(find(opened, exit_code=1, output=(line,))) == {"user web"}
    assert not find(exit_code=1, output=(line,))  # it never looked


def test_name_service_configuration() -> None:
    found = find(event("open", "/etc/nsswitch.conf", ENOENT), exit_code=1)
    (item,) = found["name service /etc/nsswitch.conf"].lines.files
    assert item.content and "passwd: files" in item.content


def test_last_word_of_a_program_that_failed() -> None:
    missing = event("open", "/etc/app.conf", ENOENT)
    found = find(event("open", "/etc/extra", ENOENT), missing, exit_code=1)
    assert needed(found) == {"file /etc/app.conf"}
    assert found["file /etc/app.conf"].lines.files == (File("/etc/app.conf", ""),)
    assert not needed(find(missing, event("open", "/etc/other"), exit_code=1))
    assert not needed(find(missing, alive=True))
    assert not needed(find(missing, exit_code=1, names=(("user", "web"),))) - {"user web"}


def test_folder_by_the_call_or_the_words() -> None:
    assert needed(find(event("chdir", "/srv/x", ENOENT), alive=True)) == {"folder /srv/x"}
    found = find(event("open", "/srv/x", ENOENT, IS_FOLDER), exit_code=1)
    assert needed(found) == {"folder /srv/x"}
    said = 'the data directory "/srv/x" is missing'
    found = find(event("stat", "/srv/x", ENOENT), exit_code=1, output=(said,))
    assert needed(found) == {"folder /srv/x"}
    plain = "cannot open /srv/x: No such file or directory"
    found = find(event("stat", "/srv/x", ENOENT), exit_code=1, output=(plain,))
    assert needed(found) == {"file /srv/x"}


def test_folder_that_was_looked_for_after_what_is_in_it() -> None:
    # nginx, asked for a page: the page, then the folder that it should have been in.
    calls = (event("stat", "/srv/html/index.html", ENOENT), event("open", "/srv/html", ENOENT))
    said = ('"/srv/html/index.html" is not found (2: No such file or directory)',)
    found = find(*calls, output=said, alive=True)
    assert set(found) == {"file /srv/html/index.html", "folder /srv/html"}
    assert found["folder /srv/html"].lines == RecipeLines(directories=(Directory("/srv/html"),))


def test_file_that_a_later_round_shows_to_be_a_folder() -> None:
    first = RecipeLines(files=(File("/srv/html", ""), File("/srv/htm", "")))
    more = merge_lines(first, [RecipeLines(files=(File("/srv/html/index.html", ""),))])
    assert [one.path for one in more.files] == ["/srv/htm", "/srv/html/index.html"]
    assert more.directories == (Directory("/srv/html"),)


def test_devices_are_the_engines() -> None:
    bare = Ground(Rootfs([folder("bin")]), Accounts(), lambda _: b"")
    found = find(event("open", "/dev/null"), alive=True, on=bare)
    one = found["device /dev/null"]
    assert one.supplied == "engine" and one.lines.directories == (Directory("/dev"),)
    assert not find(event("open", "/dev/null"), alive=True)["device /dev/null"].lines
    gone = find(event("open", "/dev/fuse", ENOENT), alive=True)["device /dev/fuse"]
    assert "--device /dev/fuse" in gone.advice and not gone.lines


def test_device_that_a_program_names() -> None:
    on = ground(heads={"/bin/app": b"..\0/dev/null\0.."})
    assert "device /dev/null" in find(event("exec", "/bin/app"), on=on, alive=True)


def test_rights_and_services() -> None:
    found = find(event("setgroups", "", EPERM, uid=7), exit_code=1)
    assert needed(found) == {"right setgroups"}
    found = find(event("connect", "inet:127.0.0.1:5432", 111), exit_code=1,
                 output=("cannot connect to 127.0.0.1:5432",))  # fmt: skip
    assert needed(found) == {"port 127.0.0.1:5432"}
    found = find(event("bind", "inet:0.0.0.0:80", EACCES, uid=7), exit_code=1)
    assert needed(found) == {"port 0.0.0.0:80"}
    assert not find(event("connect", "unix:/dev/log", ENOENT), exit_code=1)


def test_program_in_the_background() -> None:
    events = (event("exec", "/sbin/nginx"), event("open", "/etc/nginx.conf"))
    found = find(*events, exit_code=0, background=True)
    (edit,) = found["foreground nginx"].lines.edits
    assert (edit.path, edit.prepend) == ("/etc/nginx.conf", "daemon off;\n")
    found = find(event("exec", "/sbin/other"), exit_code=0, background=True)
    assert found["foreground other"].advice


def test_interpreters() -> None:
    tried = event("exec", "/bin/app", ENOENT)
    on = ground(folder("bin"), file("bin/app", b"", 0o755), heads={"/bin/app": b"#! /bin/sh -e\n"})
    assert needed(find(tried, exit_code=1, on=on)) == {"program /bin/sh"}
    on = ground(folder("bin"), file("bin/app", b"", 0o755),
                heads={"/bin/app": b"\x7fELF..\0/lib64/ld-linux-x86-64.so.2\0"})  # fmt: skip
    found = find(tried, exit_code=1, on=on)
    assert found["library /lib64/ld-linux-x86-64.so.2"].lines.dlopen


def test_program_that_cannot_start() -> None:
    on = ground(folder("opt"), file("opt/app", b"", 0o755), passwd=PASSWD)
    path = "/usr/sbin:/usr/bin"
    one, two, three = find_unstartable(("app",), path, "me:us", on)
    assert (one.lines.users, two.lines.groups) == ((User("me"),), (Group("us"),))
    assert three.lines.links == (("/usr/sbin/app", "/opt/app"),)
    assert not find_unstartable(("/opt/app",), path, "web:web", on)
    assert not find_unstartable(("/opt/app",), path, "1000:1000", on)
    (gone,) = find_unstartable(("nothing",), path, "", on)
    assert not gone.lines


def test_no_link_to_itself_or_to_what_cannot_run() -> None:
    root = Rootfs([folder("opt"), file("opt/app", b""), folder("bin"), link("bin/tool", "x")])
    assert not link_program("app", root, "/usr/bin")
    assert not link_program("/bin/tool", root, "/usr/bin")


def test_loops_of_links_are_nothing() -> None:
    on = ground(folder("var"), link("var/log", "/var/log"))
    assert not on.has("/var/log/x")
    found = find(event("open", "/var/log/a/x", ENOENT, CREATES), on=on, alive=True)
    assert needed(found) == {"folder /var/log/a"}


@pytest.mark.parametrize("path", ["/x\ny/z", "/" + "a" * 300 + "/b", "/.wh.x/y", "/\udc80/y"])
def test_paths_that_no_recipe_can_hold(path: str) -> None:
    found = find(event("open", path, ENOENT, CREATES), event("open", path, ENOENT),
                 event("chdir", path, ENOENT), exit_code=1)  # fmt: skip
    assert not any(one.lines.directories for one in found.values() if one.what == path)
    for one in found.values():
        show_lines(one.lines)


def test_names() -> None:
    assert is_library("libc.so.6") and is_library("mod_x.so") and not is_library("ld.so.cache")
    assert is_device("/dev/null") and not is_device("/dev/shm/x") and not is_device("/dev/log")


def test_facts_of_the_keeper() -> None:
    seen = parse_seen(
        {"rows": [["open", "/x", 4, 2, 7, 9, 3, 0, 1]], "names": [["user", "a"]], "exit_code": 1}
    )
    assert seen.events[0].makes and not seen.events[0].reads and seen.failed
    assert seen.names == (("user", "a"),)
    assert not parse_seen({"alive": True}).failed


def test_lines_are_valid_toml() -> None:
    lines = RecipeLines(users=(User("web"),), links=(('/a"b', "/c"),), files=(File("/e", 'x"\n'),))
    import tomllib

    parsed = tomllib.loads(add_lines("# mine\n[rootfs]\nbase = 'scratch' # so\n", lines))
    assert parsed["rootfs"]["links"] == {'/a"b': "/c"}
    assert parsed["rootfs"]["files"] == [{"path": "/e", "content": 'x"\n'}]
