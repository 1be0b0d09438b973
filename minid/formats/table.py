"""Reading TOML tables by declaration: a `Table` of `Key`s validates, documents and suggests.

A kind is one of `Scalar`, `Array`, `Pairs`, `Either` and `Table`. `read` turns a parsed value into
the frozen one, and adds every problem it meets to the list it is given instead of raising, so that
an author sees all of them at once. What a key *means* to minid does not belong here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_PROBLEMS = 100
_MAX_SUGGESTIONS = 20
_GOT_LENGTH = 80
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file. `key` is the path of the key, or empty for the file as a whole."""

    file: str
    key: str
    expected: str
    got: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        hint = f'; did you mean "{self.suggestion}"?' if self.suggestion else ""
        return f"{where}: expected {self.expected}, got {self.got}{hint}"


class Problems:
    """The problems of one file, in the order in which they were met."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []
        self.count = 0

    def add(self, key: str, expected: str, got: str, suggestion: str = "") -> None:
        """Note a problem; from the hundredth on they are only counted."""
        self.count += 1
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(Problem(self.file, key, expected, got, suggestion))

    def add_unknown(self, key: str, name: str, known: Iterable[str]) -> str:
        """Note a key that nothing reads; gives the known one it looks like, or ""."""
        suggestion = ""
        if self.count < _MAX_SUGGESTIONS and len(name) < 64:
            import difflib

            suggestion = next(iter(difflib.get_close_matches(name, list(known), n=1)), "")
        self.add(key, "a known key", show_value(name), suggestion)
        return suggestion

    def add_at_line(self, line: int, expected: str, got: str) -> None:
        """Note a problem of the file as a whole, at a line when that is known."""
        file = f"{self.file}:{line}" if line else self.file
        self.count += 1
        self.found.append(Problem(file, "", expected, got))

    def extend(self, more: Problems) -> None:
        """Take over the problems of another look at the same file."""
        self.found.extend(more.found)
        self.count += more.count

    def text(self) -> str:
        """All problems, one a line, and how many more there are."""
        lines = [str(problem) for problem in self.found]
        if self.count > len(self.found):
            lines.append(f"{self.file}: and {self.count - len(self.found)} more")
        return "\n".join(lines)


def show_text(text: str) -> str:
    """`text` with everything that a terminal could act on escaped (controls, bidi marks)."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def show_value(value: object) -> str:
    """A parsed value in a message: quoted, shortened, harmless to a terminal."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        short = value if len(value) <= _GOT_LENGTH else value[:_GOT_LENGTH] + "…"
        return show_text(json.dumps(short, ensure_ascii=False))
    return str(value)[:_GOT_LENGTH]


def key_path(parent: str, name: str) -> str:
    """The path of the key `name` in the table `parent`, quoted where TOML would quote it."""
    shown = name if _BARE_KEY.fullmatch(name) else show_value(name)
    return f"{parent}.{shown}" if parent else shown


class _Kind:
    """What all kinds share. `expects` completes the sentence `expected …`."""

    __slots__ = ()
    expects: str

    def accepts(self, value: object) -> bool:
        """Whether the TOML type fits; `read` says whether the value does."""
        raise NotImplementedError

    def read(self, value: object, where: str, problems: Problems) -> object:
        """The value for the program; None after adding to `problems` when it is wrong."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Scalar(_Kind):
    """One value of one of the TOML types `types`.

    `convert` gives the program's value and raises ValueError for a wrong one. `schema` is the JSON
    Schema of the written form.
    """

    expects: str
    types: tuple[type, ...]
    schema: Mapping[str, object]
    convert: Callable[[Any], object] | None = None

    def accepts(self, value: object) -> bool:
        return type(value) in self.types

    def read(self, value: object, where: str, problems: Problems) -> object:
        if type(value) in self.types:
            try:
                return value if self.convert is None else self.convert(value)
            except (ValueError, OverflowError):
                pass
        problems.add(where, self.expects, show_value(value))
        return None


@dataclass(frozen=True, slots=True)
class Array(_Kind):
    """An array of one kind, read as a tuple. `unique` refuses a value that stands twice."""

    item: _Kind
    expects: str
    minimum: int = 0
    unique: bool = False

    def accepts(self, value: object) -> bool:
        return type(value) is list

    def read(self, value: object, where: str, problems: Problems) -> object:
        if not isinstance(value, list) or len(value) < self.minimum:
            got = "an empty array" if value == [] else show_value(value)
            problems.add(where, self.expects, got)
            return None
        read = self.item.read
        items = [read(item, f"{where}[{index}]", problems) for index, item in enumerate(value)]
        if self.unique:
            _refuse_twice(value, where, problems)
        return tuple(items)


def _refuse_twice(items: list[Any], where: str, problems: Problems) -> None:
    seen: set[object] = set()
    for index, item in enumerate(items):
        if isinstance(item, (dict, list)):
            continue
        if item in seen:
            problems.add(f"{where}[{index}]", "each value once", f"{show_value(item)} again")
        seen.add(item)


@dataclass(frozen=True, slots=True)
class Pairs(_Kind):
    """A table with free keys, read as pairs sorted by key. `name` is the kind of the keys."""

    name: Scalar
    value: _Kind
    expects: str

    def accepts(self, value: object) -> bool:
        return type(value) is dict

    def read(self, value: object, where: str, problems: Problems) -> object:
        if not isinstance(value, dict):
            problems.add(where, self.expects, show_value(value))
            return None
        pairs = []
        for name, item in sorted(value.items()):
            path = key_path(where, name)
            pairs.append(
                (self.name.read(name, path, problems), self.value.read(item, path, problems))
            )
        return tuple(pairs)


@dataclass(frozen=True, slots=True)
class Either(_Kind):
    """One of several kinds, told apart by their TOML types."""

    kinds: tuple[_Kind, ...]
    expects: str

    def accepts(self, value: object) -> bool:
        return any(kind.accepts(value) for kind in self.kinds)

    def read(self, value: object, where: str, problems: Problems) -> object:
        for kind in self.kinds:
            if kind.accepts(value):
                return kind.read(value, where, problems)
        problems.add(where, self.expects, show_value(value))
        return None


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table: its kind, what it means, and its default as a TOML value or in words.

    `field` is the keyword under which `Table.make` gets the value, where it is not `name`.
    """

    name: str
    kind: _Kind
    meaning: str
    default: str = ""
    required: bool = False
    field: str = ""


Rule = Callable[[Mapping[str, Any]], Iterable[tuple[str, str, str]]]


@dataclass(frozen=True, slots=True)
class Table(_Kind):
    """A table with known keys. `make` is called with a keyword for each key that is there.

    A rule looks at the parsed table and yields `(key, expected, got)` for what does not fit
    together; rules run only when every key for itself was right.
    """

    keys: tuple[Key, ...]
    make: Callable[..., object] = dict
    rules: tuple[Rule, ...] = ()
    expects: str = "a table"
    _known: Mapping[str, Key] = field(init=False, repr=False, compare=False)
    _required: tuple[Key, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", {key.name: key for key in self.keys})
        object.__setattr__(self, "_required", tuple(key for key in self.keys if key.required))

    def accepts(self, value: object) -> bool:
        return type(value) is dict

    def read(self, value: object, where: str, problems: Problems) -> object:
        if not isinstance(value, dict):
            problems.add(where, self.expects, show_value(value))
            return None
        before = problems.count
        keywords = self._read_keys(value, where, problems)
        if problems.count == before:
            for rule in self.rules:
                for name, expected, got in rule(value):
                    problems.add(key_path(where, name) if name else where, expected, got)
        return self.make(**keywords) if problems.count == before else None

    def _read_keys(
        self, value: Mapping[str, object], where: str, problems: Problems
    ) -> dict[str, Any]:
        prefix = f"{where}." if where else ""
        keywords: dict[str, Any] = {}
        misspelt: set[str] = set()
        for name, item in value.items():
            if (key := self._known.get(name)) is None:
                path = key_path(where, name)
                misspelt.add(problems.add_unknown(path, name, self._known))
            else:
                keywords[key.field or name] = key.kind.read(item, prefix + name, problems)
        for key in self._required:
            if key.name not in value and key.name not in misspelt:
                problems.add(key_path(where, key.name), key.kind.expects, "nothing")
        return keywords


def array_of(item: _Kind, what: str, minimum: int = 0) -> Array:
    """An array of one kind, with the usual words for it."""
    return Array(item, f"an array of {what}", minimum)


def one_of(*names: str) -> Rule:
    """The rule that exactly one of these keys is there."""

    def rule(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        there = [name for name in names if name in table]
        if len(there) != 1:
            yield "", f"exactly one of {', '.join(names)}", " and ".join(there) or "none of them"

    return rule


def read_table(table: Table, value: object, file: str) -> tuple[Any, Problems]:
    """Read a whole parsed file; the value is None when there are problems."""
    problems = Problems(file)
    made = table.read(value, "", problems)
    return made, problems
