"""The house's own rules: which room may know which, what stands where, what is written down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minid.pipeline  # noqa: F401 (defines errors of its own)
from minid import errors
from minid.cli.main import COMMANDS
from minid.errors import MinidError

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "minid").rglob("*.py"))
# A room may import itself and what stands below it.
BELOW = {
    "cli": {
        "daemon",
        "workbench",
        "pipeline",
        "line",
        "upstream",
        "steps",
        "store",
        "host",
        "formats",
        "beside",
        "errors",
    },
    "daemon": {
        "workbench",
        "pipeline",
        "line",
        "upstream",
        "steps",
        "store",
        "host",
        "formats",
        "beside",
        "errors",
    },
    "workbench": {"line", "steps", "store", "host", "formats", "beside", "errors"},
    "pipeline": {"line", "steps", "store", "host", "formats", "beside", "errors"},
    "line": {"steps", "store", "host", "formats", "beside", "errors"},
    "steps": {"store", "host", "formats", "beside", "errors"},
    "upstream": {"store", "host", "formats", "beside", "errors"},
    "store": {"host", "formats", "beside", "errors"},
    "host": {"formats", "beside", "errors"},
    "formats": {"beside", "errors"},
    "beside": {"formats", "errors"},
    "errors": set(),
}
# Values that stand beside the formats. Formats may use the plain ones, not what reads files.
BESIDE = re.compile(r"model|report|recipe(_\w+)?|config(_\w+)?")
PLAIN = {"model", "recipe"}
HEAVY = {
    "aiohttp",
    "asyncio",
    "concurrent.futures",
    "docker",
    "elftools",
    "re2",
    "requests",
    "selectolax",
    "structlog",
    "tomlkit",
    "urllib3",
    "watchdog",
    "zstandard",
}
# Programs that run as children and answer on standard output.
CHILDREN = {"minid/host/inner_digest.py", "minid/host/unpack.py"}
MAX_FILE = 400
MAX_FUNCTION = 60


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The room that a module of minid stands in; empty for `minid` itself."""
    parts = module.split(".")
    if len(parts) < 2:
        return ""
    return "beside" if BESIDE.fullmatch(parts[1]) else parts[1]


def imports_of(path: Path) -> Iterator[str]:
    """Modules of minid that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("minid"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minid"):
            base = str(node.module)
            names = (f"{base}.{alias.name}" for alias in node.names)
            modules = [name for name in names if is_module(name)]
            yield from modules or [base]


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def every_error(root: type[MinidError] = MinidError) -> list[type[MinidError]]:
    return [root, *(found for child in root.__subclasses__() for found in every_error(child))]


def test_imports_go_one_way() -> None:
    wrong = [
        f"{module_of(path)} imports {name}"
        for path in SOURCES
        for name in imports_of(path)
        if room_of(name)
        and room_of(name) != room_of(module_of(path))
        and room_of(name) not in BELOW[room_of(module_of(path))]
    ]
    assert not wrong


def test_formats_know_values_and_no_readers() -> None:
    wrong = [
        f"{path.name} imports {name}"
        for path in SOURCES
        if path.parent.name == "formats"
        for name in imports_of(path)
        if room_of(name) == "beside" and name.split(".")[1] not in PLAIN
    ]
    assert not wrong


def test_no_step_imports_a_step() -> None:
    """A step in several files, `check` and `check_tries`, is one step."""
    wrong = [
        f"{path.name} imports {name}"
        for path in SOURCES
        if path.parent.name == "steps"
        for name in imports_of(path)
        if room_of(name) == "steps"
        and name.split(".")[2].partition("_")[0] != path.stem.partition("_")[0]
    ]
    assert not wrong


def test_every_module_stands_in_a_room() -> None:
    rooms = {room_of(module_of(path)) for path in SOURCES}
    assert rooms - {""} == BELOW.keys()


def talks(path: Path) -> Iterator[str]:
    """Places where a file prints or ends the process."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "sys.exit", "exit", "quit", "sys.stdout.write"):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {called}"


def test_only_the_command_line_talks() -> None:
    below = [path for path in SOURCES if path.parent.name != "cli"]
    wrong = [
        place
        for path in below
        if path.relative_to(ROOT).as_posix() not in CHILDREN
        for place in talks(path)
    ]
    assert not wrong


def test_children_are_programs() -> None:
    for name in CHILDREN:
        path = ROOT / name
        assert list(talks(path)), f"{name} no longer needs to be an exception"
        assert '__name__ == "__main__"' in path.read_text(), name


def test_every_error_has_an_exit_code_of_its_own() -> None:
    own = [error for error in every_error() if error.__module__ == errors.__name__]
    codes = [error.exit_code for error in own]
    assert len(set(codes)) == len(codes)
    assert all("exit_code" in vars(error) for error in own)
    assert all(0 < code < 126 for code in codes)  # from 126 on the shell speaks


def test_errors_of_other_modules_only_refine() -> None:
    for error in every_error():
        if error.__module__ != errors.__name__:
            parent = error.__mro__[1]
            assert error.exit_code == parent.exit_code  # type: ignore[attr-defined]


def test_error_page_lists_exactly_the_exit_codes() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text()
    written = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE))
    own = [error for error in every_error() if error.__module__ == errors.__name__]
    assert written == {str(error.exit_code): error.__name__ for error in own}


def test_error_page_says_what_can_be_tried_again() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text()
    for error in every_error():
        row = re.search(rf"^\| \d+ \| `{error.__name__}` \| (yes|no) \|", page, re.MULTILINE)
        if error.__module__ == errors.__name__:
            assert row, error.__name__
            assert row[1] == ("yes" if error.retryable else "no"), error.__name__


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    assert re.search(rf"\bminid {command}\b", page)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_module_and_a_line_of_help(command: str) -> None:
    path = ROOT / f"minid/cli/{command.replace('-', '_')}_command.py"
    names = {node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")}
    assert {"configure_parser", "execute"} <= names
    assert COMMANDS[command]


def test_every_command_module_is_a_command() -> None:
    modules = {path.stem for path in (ROOT / "minid/cli").glob("*_command.py")}
    assert modules == {f"{command.replace('-', '_')}_command" for command in COMMANDS}


def test_command_line_starts_without_heavy_modules() -> None:
    code = "import sys, minid.cli.main; print('\\n'.join(sys.modules))"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "minid.cli.main" in loaded
    assert not loaded & HEAVY


def test_files_are_small() -> None:
    lengths = {module_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {name: length for name, length in lengths.items() if length > MAX_FILE}


def test_functions_are_small() -> None:
    long = [
        f"{module_of(path)}.{node.name}: {(node.end_lineno or 0) - node.lineno + 1}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION
    ]
    assert not long
