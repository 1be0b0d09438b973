"""Lines added to a recipe's text; all else stays as it was written, comments too.

What is added goes where its like stands already: tables into `[[rootfs.directories]]` where there
are such, else into an array of inline tables with a line each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from minid.recipe import Directory, Edit, File, Group, Silence, User

Pairs = tuple[tuple[str, str], ...]
_Make = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class RecipeLines:
    """What is to stand in a recipe besides what stands there: `dlopen` in [contents], `ignore` in
    [lint], the rest in [rootfs]. Something of the same path or name that stands there is
    replaced."""

    users: tuple[User, ...] = ()
    groups: tuple[Group, ...] = ()
    directories: tuple[Directory, ...] = ()
    links: Pairs = ()
    files: tuple[File, ...] = ()
    edits: tuple[Edit, ...] = ()
    remove: tuple[str, ...] = ()
    dlopen: tuple[str, ...] = ()
    ignore: tuple[Silence, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, item.name) for item in fields(self))


def add_lines(text: str, lines: RecipeLines) -> str:
    """The text of a recipe with these lines. It must be valid TOML, as every recipe is."""
    import tomlkit

    document = tomlkit.parse(text)
    if lines.dlopen:
        _add_words(_table(document, "contents"), "dlopen", lines.dlopen)
    elsewhere = ("dlopen", "ignore")
    if any(getattr(lines, item.name) for item in fields(lines) if item.name not in elsewhere):
        rootfs = _table(document, "rootfs")
        for name in ("users", "groups", "directories"):
            _add_tables(rootfs, name, [_plain(item) for item in getattr(lines, name)])
        _add_links(rootfs, lines.links)
        _add_tables(rootfs, "files", [_plain(item) for item in lines.files])
        _add_words(rootfs, "remove", lines.remove)
        _add_tables(rootfs, "edits", [_plain(item) for item in lines.edits])
    if lines.ignore:
        _add_tables(_table(document, "lint"), "ignore", [_plain(item) for item in lines.ignore])
    return tomlkit.dumps(document)


def show_lines(lines: RecipeLines) -> str:
    """The lines alone, as they would stand in a recipe that has none."""
    return add_lines("", lines).strip() + "\n" if lines else ""


def _plain(value: User | Group | Directory | File | Edit | Silence) -> dict[str, Any]:
    """A line's keys as a person would write them: none that says what holds anyway."""
    found: dict[str, Any] = {}
    for item in fields(value):
        given = getattr(value, item.name)
        if given == item.default or given is None or given == ():
            continue
        key = item.name.removesuffix("_")
        if key == "mode":
            given = f"{given:04o}"
        found[key] = list(given) if isinstance(given, tuple) else given
    return found


def _table(document: Any, name: str) -> Any:  # noqa: ANN401 (tomlkit's tables share no type)
    import tomlkit

    if name not in document:
        if document.as_string() and not document.as_string().endswith("\n\n"):
            document.add(tomlkit.nl())
        document.add(name, tomlkit.table())
    return document[name]


def _add_tables(table: Any, name: str, values: list[dict[str, Any]]) -> None:  # noqa: ANN401
    if not values:
        return
    import tomlkit
    from tomlkit.items import AoT, InlineTable

    if name not in table:
        if name == "edits" and not isinstance(table, InlineTable):
            if not table.as_string().endswith("\n\n"):
                table.add(tomlkit.nl())
            table[name] = tomlkit.aot()
        else:
            # A line for each, but in an inline table, where TOML allows none.
            table[name] = tomlkit.value("[]" if isinstance(table, InlineTable) else "[\n]")
    found = table[name]
    for value in values:
        if isinstance(found, AoT):
            _put(found, value, name, _make_table)
        else:
            _put(found, value, name, _make_inline)


def _put(found: Any, value: dict[str, Any], name: str, make: _Make) -> None:  # noqa: ANN401
    """Add a table to its like, or in the place of the one of the same name or path. Edits are done
    one after the other, and each silence has its reason, so these stand for themselves."""
    key = "name" if name in ("users", "groups") else "path"
    for number, other in enumerate(found):
        if other.unwrap() == value:
            return
        if name not in ("edits", "ignore") and other.get(key) == value[key]:
            if make is _make_table:
                _overwrite(other, value)
            else:
                found[number] = make(value)
            return
    if make is _make_inline:
        _add_line(found, make(value))
    else:
        found.append(make(value))


def _make_table(value: Mapping[str, Any]) -> Any:  # noqa: ANN401
    import tomlkit

    made = tomlkit.table()
    for name, item in value.items():
        made[name] = item
    made.add(tomlkit.nl())
    return made


def _make_inline(value: Mapping[str, Any]) -> Any:  # noqa: ANN401
    import tomlkit

    words = (f"{name} = {tomlkit.item(item).as_string()}" for name, item in value.items())
    return tomlkit.value("{ " + ", ".join(words) + " }")


def _overwrite(table: Any, value: Mapping[str, Any]) -> None:  # noqa: ANN401
    for name in [name for name in table if name not in value]:
        del table[name]
    for name, item in value.items():
        table[name] = item


def _add_line(found: Any, item: object) -> None:  # noqa: ANN401
    """Add to an array, on a line of its own where the array has lines."""
    if "\n" in found.as_string():
        found.add_line(item, indent="  ")
    else:
        found.append(item)


def _add_links(table: Any, links: Pairs) -> None:  # noqa: ANN401
    if not links:
        return
    import tomlkit

    if "links" not in table:
        words = (f"{tomlkit.item(a).as_string()} = {tomlkit.item(b).as_string()}" for a, b in links)
        table["links"] = tomlkit.value("{ " + ", ".join(words) + " }")
        return
    found = table["links"]
    if isinstance(found, tomlkit.items.InlineTable) and found.as_string().startswith("{ "):
        # Written anew: what is appended would take the place of the blank before the brace.
        both = {str(path): item.as_string() for path, item in found.items()}
        both |= {path: tomlkit.item(target).as_string() for path, target in links}
        words = (f"{tomlkit.item(path).as_string()} = {text}" for path, text in both.items())
        table["links"] = tomlkit.value("{ " + ", ".join(words) + " }")
        return
    for path, target in links:
        found[path] = target


def _add_words(table: Any, name: str, words: Iterable[str]) -> None:  # noqa: ANN401
    import tomlkit

    fresh = [word for word in words if word not in table.get(name, ())]
    if not fresh:
        return
    if name not in table:
        table[name] = tomlkit.array()
    for word in fresh:
        table[name].append(word)
