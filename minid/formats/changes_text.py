"""A change of a text file, said as edits of a recipe: prepend, append, replace."""

from __future__ import annotations

import difflib
import re

from minid.recipe import Edit

MAX_TEXT = 65536  # what a string of a recipe may hold
_MAX_LINES = 5000
_MAX_EDITS = 8
_MAX_CONTEXT = 4
_PLACEHOLDER = re.compile(r"\{(version|major|minor|patch)\}")


def plain_text(data: bytes) -> str | None:
    """The bytes as a text that a recipe can hold word for word, or None."""
    if len(data) > MAX_TEXT:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    fit = all(char.isprintable() or char in "\n\t" for char in text)
    return text if fit and not _PLACEHOLDER.search(text) else None


def find_edits(path: str, before: bytes, after: bytes) -> tuple[Edit, ...]:
    """Edits of the file at `path` that make `after` of `before`; none where that would take more
    text than the file has, or where an edit cannot say it."""
    old, new = plain_text(before), plain_text(after)
    if not old or new is None:
        return ()
    edits = _around(path, old, new) or _inside(path, old, new)
    said = sum(len(e.prepend) + len(e.append) + len(e.replace or "") + len(e.with_) for e in edits)
    return edits if said <= max(len(new), 200) and apply_edits(edits, old) == new else ()


def apply_edits(edits: tuple[Edit, ...], text: str) -> str | None:
    """What compose makes of a text; None where a `replace` does not occur as often as expected."""
    for edit in edits:
        if edit.replace is not None:
            if text.count(edit.replace) != edit.expect:
                return None
            text = text.replace(edit.replace, edit.with_)
        text = edit.prepend + text + edit.append
    return text


def _around(path: str, old: str, new: str) -> tuple[Edit, ...]:
    """Text that was put before or behind the whole."""
    head, found, tail = new.partition(old)
    return (Edit(path, prepend=head, append=tail),) if found and (head or tail) else ()


def _inside(path: str, old: str, new: str) -> tuple[Edit, ...]:
    lines, others = old.splitlines(keepends=True), new.splitlines(keepends=True)
    if max(len(lines), len(others)) > _MAX_LINES:
        return ()
    matcher = difflib.SequenceMatcher(None, lines, others, autojunk=False)
    blocks = [block for block in matcher.get_opcodes() if block[0] != "equal"]
    if len(blocks) > _MAX_EDITS:
        return ()
    edits, now = [], lines
    # From the end, so that the numbers of the lines before hold.
    for _tag, first, last, start, end in reversed(blocks):
        edit = _replacement(path, now, first, last, others[start:end])
        if edit is None:
            return ()
        edits.append(edit)
        now = [*now[:first], *others[start:end], *now[last:]]
    return tuple(edits)


def _replacement(path: str, now: list[str], first: int, last: int, fresh: list[str]) -> Edit | None:
    """The exchange of some lines, with as many of those around them as make it occur once."""
    text = "".join(now)
    for context in range(0 if last > first else 1, _MAX_CONTEXT + 1):
        above = now[max(0, first - context) : first]
        below = now[last : last + (context if not above else 0)]
        wanted = "".join([*above, *now[first:last], *below])
        if wanted and text.count(wanted) == 1:
            return _trimmed(path, wanted, "".join([*above, *fresh, *below]), text)
    return None


def _trimmed(path: str, wanted: str, put: str, text: str) -> Edit:
    """Without the newline at both ends, where it is as clear without."""
    bare = wanted.rstrip("\n")
    if bare and put.endswith("\n") and wanted == bare + "\n" and text.count(bare) == 1:
        return Edit(path, replace=bare, with_=put[:-1])
    return Edit(path, replace=wanted, with_=put)
