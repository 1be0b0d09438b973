"""What a release is called and where its archive is, told from a recipe's `[source]`. Pure."""

from __future__ import annotations

from dataclasses import replace

from minid.formats.archive_name import parse_archive_name
from minid.formats.digest import Digest
from minid.recipe import Recipe, Source, expand


def archive_url(source: Source, archive: Digest) -> str:
    """Where upstream offers the archive with that digest; empty where only a distribution does."""
    urls = {item.sha256: item.url for item in source.alternatives} | {source.sha256: source.url}
    return expand(urls.get(archive, ""), source.version)


def settle_source(recipe: Recipe, archive: Digest) -> Recipe:
    """The recipe with the archive that was used as its only one. Where a distribution gave it the
    release's own address stays."""
    source = recipe.source
    url = archive_url(source, archive) or expand(source.url, source.version)
    settled = replace(source, url=url, sha256=archive, distro=None, alternatives=())
    return replace(recipe, source=settled)


def program_name(recipe: Recipe) -> str:
    """The program that a recipe builds: several recipes may build one (`nginx`, `nginx-static`).

    The archive's name says it, else the distribution's source package, else the recipe's name.
    """
    source = recipe.source
    try:
        return parse_archive_name(expand(source.url, source.version)).name
    except ValueError:
        return source.distro.package if source.distro else recipe.name
