"""The `[track]` table as the rules that pages are read and releases are judged by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal

from minid.config import Tracking
from minid.errors import RecipeError
from minid.formats.pattern import Pattern, compile_pattern
from minid.formats.version import component, in_series, is_prerelease
from minid.recipe import Recipe, expand
from minid.upstream.values import Found, Verify
from minid.upstream.verify_options import read_verify

Source = Literal["index", "json", "text", "git-tags", "none"]

# What a version may be: it becomes part of file names, tags and commands. As in recipes.
_VERSION = re.compile(r"[A-Za-z0-9]+(?:[._+~-][A-Za-z0-9]+)*")
_MAX_VERSION = 64
_EXACT = re.compile(r"[A-Za-z0-9._~-]+")
_EXTENSION = re.compile(r"\.(?:tar(?:\.[a-z0-9]{1,5})?|t(?:gz|bz2?|xz|zst)|zip)$")
_SHORT = {".tgz": ".tar.gz", ".tbz": ".tar.bz2", ".tbz2": ".tar.bz2", ".txz": ".tar.xz"}
_BASIS = ("url", "match", "items", "version", "where", "series", "parity", "parity_of", "pre")
_BOUNDS = ("reject", "max_jump", "artifact")


@dataclass(frozen=True, slots=True)
class Rules:
    """The table with its defaults filled in; `docs/reference/recipe.md` has the keys.

    `match` is None where the source needs none. `rejects` are versions as written, and
    `reject_patterns` the other ones. `source_url` and `version` are of the recipe's file, also
    where it was moved to another release; `extension` is that of its archive.
    `basis` says which listing and which filters these are: what was remembered under another one
    does not count. `proof` says the same of the ways to verify, `bounds` of what else decides about
    a version, under which the page is only to be judged anew.
    """

    recipe: str
    source: Source
    version: str
    source_url: str
    extension: str = ""
    url: str = ""
    match: Pattern | None = None
    items: str = ""
    version_field: str = ""
    where: tuple[tuple[str, object], ...] = ()
    artifact: str = ""
    series: str = ""
    parity: Literal["", "even", "odd"] = ""
    parity_of: int = 2
    pre: bool = False
    rejects: frozenset[str] = frozenset()
    reject_patterns: tuple[Pattern, ...] = ()
    every_s: float = 0.0
    settle_s: float = 0.0
    max_jump: int = 1
    verify: Verify = Verify()
    basis: str = ""
    proof: str = ""
    bounds: str = ""

    def version_in(self, text: str) -> str | None:
        """The version in the last segment of a link, a line or a tag, None where it is no match."""
        return None if self.match is None else self.match.group("version", text)

    def artifact_url(self, found: Found) -> str:
        """Where the archive of a version is: by the recipe's template, by the page, or where the
        recipe's own archive is."""
        if self.artifact or not found.url:
            template = self.artifact or self.source_url
            moved = expand(template, found.version)
            return moved if moved != template else _move_url(template, self.version, found.version)
        return found.url

    def fits(self, found: Found) -> bool:
        """Whether an archive is packed as the recipe's own, as far as its link tells."""
        if not self.extension or not found.url:
            return True
        # Only links of an index are names of files; other pages may tell any address.
        unknown = "" if self.source == "index" else self.extension
        return (extension_of(found.url) or unknown) == self.extension

    def drop_reason(self, version: str) -> str:
        """Why a version does not count, or nothing where it does."""
        if len(version) > _MAX_VERSION or not _VERSION.fullmatch(version):
            return "no version"
        if version in self.rejects:
            return "rejected by the recipe"
        for pattern in self.reject_patterns:
            if pattern.match(version):
                return f"rejected by the recipe: {pattern.text}"
        if not self.pre and is_prerelease(version):
            return "a pre-release"
        if self.parity and (component(version, self.parity_of) or 0) % 2 != (self.parity == "odd"):
            return f"component {self.parity_of} is not {self.parity}"
        if self.series and not in_series(version, self.series):
            return self.outside
        return ""

    @property
    def outside(self) -> str:
        """The reason that `drop_reason` gives when the series alone rules a version out."""
        return f"not in series {self.series}"


def read_rules(recipe: Recipe, tracking: Tracking | None = None) -> Rules:
    """The rules of a validated recipe; `tracking` has the times of recipes that name none.

    RecipeError for a pattern that the engine refuses.
    """
    table: dict[str, Any] = dict(recipe.track.options)
    times = tracking or Tracking()
    rejects = [str(item) for item in table.get("reject", ())]
    version, url = recipe.source.moved_from or (recipe.source.version, recipe.source.url)
    patterns = [item for item in rejects if not _EXACT.fullmatch(item)]
    verify = read_verify(recipe.track.options)
    return Rules(
        recipe=recipe.name,
        source=recipe.track.source,
        version=version,
        source_url=url,
        extension="" if "artifact" in table else extension_of(url),
        url=table.get("url", ""),
        match=_compile(recipe, "match", table["match"]) if "match" in table else None,
        items=table.get("items", ""),
        version_field=table.get("version", ""),
        where=tuple(table.get("where", ())),
        artifact=table.get("artifact", ""),
        series=table.get("series", ""),
        parity=table.get("parity", ""),
        parity_of=table.get("parity_of", 2),
        pre=table.get("pre", False),
        rejects=frozenset(rejects),
        reject_patterns=tuple(_compile(recipe, "reject", item) for item in patterns),
        every_s=float(table.get("every", times.every_s)),
        settle_s=float(table.get("settle", times.settle_s)),
        max_jump=table.get("max_jump", 1),
        verify=verify,
        basis=_digest([recipe.track.source, *(table.get(key) for key in _BASIS)]),
        proof=_digest(verify),
        bounds=_digest([version, url, *(table.get(key) for key in _BOUNDS)]),
    )


def extension_of(url: str) -> str:
    """`.tar.gz`, `.zip`, … of an archive's address, the long form for `.tgz`; else nothing."""
    found = _EXTENSION.search(url.partition("?")[0].partition("#")[0].lower())
    return _SHORT.get(found[0], found[0]) if found else ""


def _move_url(url: str, old: str, new: str) -> str:
    """`url` with the old version's text replaced, and that of folders that are named after its
    series, such as `1.26` or `v1`."""
    *folders, name = url.split("/")
    before, after = (re.findall(r"[0-9]+", version) for version in (old, new))
    series = {
        f"{prefix}{'.'.join(before[:count])}": f"{prefix}{'.'.join(after[:count])}"
        for count in (1, 2)
        if min(len(before), len(after)) > count
        for prefix in ("", "v")
    }
    # Scheme and host come first and are no folders.
    folders[3:] = [series.get(item, item.replace(old, new)) for item in folders[3:]]
    return "/".join([*folders, name.replace(old, new)]) if old else url


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _compile(recipe: Recipe, key: str, text: str) -> Pattern:
    try:
        return compile_pattern(text)
    except ValueError as error:
        raise RecipeError(
            f"{recipe.file}: track.{key}: expected a pattern of RE2's syntax, got {text!r}: {error}"
        ) from error
