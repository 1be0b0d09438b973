"""A recipe's text with another release in its `[source]`; all else stays as it was written."""

from __future__ import annotations

from minid.formats.digest import Digest
from minid.recipe import expand


def write_source(text: str, *, version: str, url: str, sha256: Digest) -> tuple[str, list[str]]:
    """The text of a recipe with this release, and the keys of `[source]` that had to go.

    The text must be a valid recipe. `url` is written only where the recipe's own URL does not lead
    to it. What holds bytes or times of the old release alone goes: alternatives, a digest of the
    distribution's own, `released`.
    """
    import tomlkit

    document = tomlkit.parse(text)
    source = document["source"]
    assert isinstance(source, dict)
    source["version"] = version
    source["sha256"] = sha256.hex
    if expand(str(source["url"]), version) != url:
        source["url"] = url
    gone = [key for key in ("alternatives", "released") if key in source]
    if isinstance(source.get("distro"), dict):
        gone.append("distro")
    for key in gone:
        del source[key]
    return tomlkit.dumps(document), gone
