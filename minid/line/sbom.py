"""The bill of materials of an image, from what its builds recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from minid import __version__
from minid.errors import ImageError
from minid.formats.bom import (
    Bom,
    File,
    How,
    Item,
    Link,
    image_purl,
    item_key,
    package_purl,
    release_cpe,
    release_purl,
    uri_or_nothing,
)
from minid.formats.digest import Digest
from minid.formats.package_record import Package
from minid.formats.spdx_license import license_ref, need_expression
from minid.line.origins import Origin, Story
from minid.model import Content
from minid.store.blobs import Blobs

_PIECE = 8 << 20
_MAX_FILES = 200_000
_MAX_TEXT = 16_000


def make_bom(story: Story, blobs: Blobs) -> Bom:
    """The bill: the image and those below it, the releases they were built from with the libraries
    that these needed, the packages that libraries were copied from, and every file.

    ImageError for an image of more than 200,000 files.
    """
    return _Maker(blobs).make(story)


class _Maker:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._items: dict[str, Item] = {}
        self._links: dict[Link, None] = {}
        self._texts: dict[str, str] = {}
        self._sums: dict[Digest, str] = {}
        self._releases: dict[str, str] = {}  # of images, by their keys

    def make(self, story: Story) -> Bom:
        self._add_image(story)
        files = tuple(self._files(story))
        for below in _stories(story):
            self._add_linkable(below, {f"/{file.image_path}": file for file in files})
            self._add_bindings(below, {f"/{file.image_path}": file for file in files})
        return Bom(
            items=tuple(self._items.values()),
            files=files,
            links=tuple(self._links),
            created=int(str(story.facts["created"])),
            tool=__version__,
            texts={name: text[:_MAX_TEXT] for name, text in self._texts.items()},
        )

    def _link(self, of: str, how: How, to: str) -> None:
        self._links[Link(of, how, to)] = None

    # items

    def _add_image(self, story: Story) -> str:
        key = _image_key(story)
        if key in self._items:
            return key
        tags = story.facts.get("tags")
        names = [str(tag) for tag in tags] if isinstance(tags, list) else []
        names.sort(key=lambda tag: tag != f"{story.recipe}:{story.version}")
        name = story.recipe or (names[0].rpartition(":")[0] if names else "image")
        manifest = Digest.parse(story.manifest)
        labels = (story.config.get("config") or {}).get("Labels") or {}
        expression = self._license(str(labels.get("org.opencontainers.image.licenses", "")))
        self._items[key] = Item(
            key,
            "image",
            names[0] if names else name,
            story.version or (names[0].rpartition(":")[2] if names else manifest.short),
            purl=image_purl(name, manifest, str(story.config.get("architecture", ""))),
            digest=manifest,
            license=expression,
        )
        if story.recipe:
            self._add_releases(story, key, labels)
        if story.base:
            self._link(key, "stands on", self._add_image(story.base))
        return key

    def _add_releases(self, story: Story, image: str, labels: Mapping[str, Any]) -> None:
        facts = story.report.get("source") or {
            "name": story.recipe,
            "version": story.version,
            "license": labels.get("org.opencontainers.image.licenses", ""),
        }
        own = self._add_release(facts, library=False)
        self._releases[image] = own
        self._link(image, "made from", own)
        needs = {str(need["name"]): need for need in story.report.get("needs") or ()}
        copied = {str(item.get("need")) for item in (story.report.get("taken") or {}).values()}
        for name, need in needs.items():
            key = self._add_release(need, library=True)
            above = needs.get(str(need["of"]))
            of = own if above is None else self._add_release(above, library=True)
            how: How = "needs to build"
            if name in copied:
                how = "links dynamically"
            elif need.get("static"):
                how = "links statically"
            self._link(of, how, key)

    def _add_release(self, facts: Mapping[str, Any], *, library: bool) -> str:
        name, version = str(facts.get("program") or facts["name"]), str(facts["version"])
        digest = Digest.parse(str(facts["digest"])) if facts.get("digest") else None
        url = uri_or_nothing(str(facts.get("url", "")))
        key = item_key("Release", name, version, digest.short if digest else "")
        if key not in self._items:
            self._items[key] = Item(
                key,
                "release",
                name,
                version,
                purl=release_purl(name, version, url, digest) if digest else "",
                cpe=release_cpe(name, version),
                url=url,
                digest=digest,
                license=self._license(str(facts.get("license", ""))),
                homepage=uri_or_nothing(str(facts.get("homepage", ""))),
                summary=str(facts.get("summary", "")),
                library=library,
            )
        return key

    def _add_package(self, package: Package) -> str:
        key = item_key("Package", package.name, package.version, package.architecture)
        if key in self._items:
            return key
        for name, text in package.texts:
            self._add_text(name, text)
        self._items[key] = Item(
            key,
            "package",
            package.name,
            package.version,
            purl=package_purl(package),
            license=package.license,
        )
        source = item_key("Source", package.source, package.source_version)
        self._items.setdefault(
            source,
            Item(
                source,
                "source",
                package.source,
                package.source_version,
                purl=package_purl(package, source=True),
                license=package.license,
            ),
        )
        self._link(key, "made from", source)
        return key

    def _license(self, text: str) -> str:
        expression, unknown = need_expression(text)
        for name in unknown:
            self._add_text(license_ref(name), name)
        return expression

    def _add_text(self, name: str, text: str) -> None:
        """Packages may mean different texts by one name: all of them are told."""
        known = self._texts.get(name, "")
        if text not in known.split("\n\n--\n\n"):
            self._texts[name] = f"{known}\n\n--\n\n{text}" if known else text

    # files

    def _files(self, story: Story) -> Iterator[File]:
        entries = [entry for entry in story.tree.entries if entry.kind in ("file", "hardlink")]
        if len(entries) > _MAX_FILES:
            raise ImageError(f"sbom: expected at most {_MAX_FILES} files, got {len(entries)}")
        for entry in entries:
            file = story.entry(entry.image_path)
            if file is None or file.content is None:
                continue
            holder = story.holder(entry.image_path)
            yield File(
                entry.image_path,
                self._sha1(file.content),
                file.content.digest.hex,
                self._holder(holder, entry.image_path, holder.origin(entry.image_path)),
            )

    def _holder(self, story: Story, path: str, origin: Origin) -> str:
        image = self._add_image(story)
        if origin.package is not None:
            key = self._add_package(origin.package)
            self._link(image, "contains", key)
            return key
        if origin.kind == "need":
            needs = {str(need["name"]): need for need in story.report.get("needs") or ()}
            if origin.name in needs:
                release = self._add_release(needs[origin.name], library=True)
                self._link(f"/{path}", "made from", release)
        return image

    def _sha1(self, content: Content) -> str:
        """The SHA-1 that SPDX demands. StoreError where the bytes are not those of the digest."""
        known = self._sums.get(content.digest)
        if known is None:
            assert content.blob is not None
            old, new = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
            for start in range(0, content.size, _PIECE):
                size = min(_PIECE, content.size - start)
                piece = self._blobs.read_range(content.blob, content.offset + start, size)
                old.update(piece)
                new.update(piece)
            if new.hexdigest() != content.digest.hex:
                raise self._blobs.damaged(content.blob)
            known = self._sums[content.digest] = old.hexdigest()
        return known

    def _add_linkable(self, story: Story, files: Mapping[str, File]) -> None:
        """Packages whose archives of objects the build had: inside the programs that are known to
        have code of them, else only needed to build, as nothing in a program tells."""
        release = self._releases.get(_image_key(story))
        for package, into in story.linkable if release else ():
            assert release is not None
            key = self._add_package(package)
            programs = [f"/{path}" for path in into if f"/{path}" in files]
            for path in programs:
                self._link(path, "links statically", key)
            self._link(release, "links statically" if programs else "needs to build", key)

    def _add_bindings(self, story: Story, files: Mapping[str, File]) -> None:
        """Which file is bound to which library, and which release or package thus needs another."""
        for path, reason in story.reasons.items():
            via = f"/{reason.via}"
            if reason.how == "needed" and via in files and f"/{path}" in files:
                self._link(via, "links dynamically", f"/{path}")
                of, to = files[via].holder, files[f"/{path}"].holder
                of = self._releases.get(of, of)
                if self._items[to].kind == "package" and of != to:
                    self._link(of, "needs", to)


def _image_key(story: Story) -> str:
    return item_key("Image", story.recipe, Digest.parse(story.manifest).short)


def _stories(story: Story) -> Iterator[Story]:
    found: Story | None = story
    while found is not None:
        yield found
        found = found.base
