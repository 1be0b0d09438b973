"""Invariants of each image with a tag: closure, provenance, layers, elf."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress

from minid.errors import MinidError, StoreError, UnpackError
from minid.formats.compression import decompress, detect_compression
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.formats.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor
from minid.formats.tar_reader import Member, TarLimits, TarReader
from minid.line.edits import chain_of
from minid.model import Image, Layer
from minid.recipe import Recipe
from minid.steps.pack import audit_rootfs
from minid.store.contents import read_content
from minid.store.edits import Edits
from minid.store.reach import parse_row
from minid.workbench.proof import Case, Detail, Finding

_LIMITS = TarLimits(total_bytes=64 << 30, file_bytes=32 << 30, members=2_000_000)
_OWN = "minid: "
_SPECIAL = 0o6000
_SHOWN = 5


def prove_closure(case: Case) -> Iterator[Finding]:
    """Manifest, configuration and layers state each other's digests and sizes; with `contents`
    each layer is decompressed, and is what its diff ID says."""
    checked: set[Digest] = set()
    for detail, tags in case.tagged.values():
        image = parse_image(detail)
        where = ", ".join(tags)
        if not case.usable(image.manifest, image.config):
            continue
        try:
            wrong = _compare(case, image)
        except StoreError as error:
            wrong = error.message
            with suppress(StoreError):
                case.read(image.config)  # where the manifest ended it
        if wrong and case.usable(image.manifest, image.config):
            yield Finding("closure", where, wrong)
        if case.contents:
            for layer in image.layers:
                if layer.digest not in checked and case.usable(layer.digest, layer.diff_id):
                    checked.add(layer.digest)
                    yield from _inflate(case, layer, where)


def _compare(case: Case, image: Image) -> str:
    """What does not fit together; empty where all does."""
    manifest, config = case.read_json(image.manifest), case.read_json(image.config)
    stated = manifest.get("config")
    expected = Descriptor(CONFIG_TYPE, image.config, case.blobs.size(image.config))
    if _descriptors([stated]) != _descriptors([expected.as_json()]):
        return f"expected a manifest of configuration {image.config}, got {stated}"
    layers = [Descriptor(LAYER_TYPE, layer.digest, layer.size).as_json() for layer in image.layers]
    if _descriptors(manifest.get("layers")) != _descriptors(layers):
        return "expected a manifest of the recorded layers, got others"
    diff_ids = [str(layer.diff_id) for layer in image.layers]
    rootfs = config.get("rootfs")
    if not isinstance(rootfs, dict) or rootfs.get("diff_ids") != diff_ids:
        return "expected a configuration with the diff IDs of the layers, got others"
    return ""


def _descriptors(value: object) -> list[object]:
    """What descriptors say that a reader needs, without annotations."""
    keys = ("mediaType", "digest", "size")
    return [
        {key: item.get(key) for key in keys} if isinstance(item, dict) else item
        for item in (value if isinstance(value, list) else ())
    ]


def _inflate(case: Case, layer: Layer, where: str) -> Iterator[Finding]:
    running = hashlib.sha256()
    try:
        with case.blobs.path(layer.digest).open("rb") as file:
            kind = detect_compression(file.read(16))
            file.seek(0)
            for chunk in decompress(file.read, kind, _LIMITS.total_bytes):
                running.update(chunk)
    except (OSError, MinidError) as error:
        yield Finding("closure", where, f"layer {layer.digest}: expected to read it, got {error}")
        return
    if running.hexdigest() != layer.diff_id.hex:
        yield Finding("closure", where, f"layer {layer.digest}: expected diff ID {layer.diff_id}")


def prove_provenance(case: Case) -> Iterator[Finding]:
    """Each image of a recipe has the run that made it, which names the archive, which is there, the
    environment and its tools; any other has the edit that brought it."""
    edits = Edits(case.records.database)
    for manifest, (detail, tags) in case.tagged.items():
        recipe, where = str(detail["recipe"]), ", ".join(tags)
        if not recipe:
            if edits.made(manifest) is None:
                yield Finding("provenance", where, "expected a record of where it came from")
            continue
        root = chain_of(edits, manifest).root
        # A run that made kept edits again gave the edited image itself.
        run = _run_of(case, root) or _run_of(case, manifest)
        if run is None:
            yield Finding("provenance", where, f"expected the run that made {root}, got none")
        else:
            for text, blob in _sources(case, run, recipe, detail):
                yield Finding("provenance", where, text, blob)


def _run_of(case: Case, manifest: str) -> int | None:
    """The last run that gave an image: its row says so, or that it moved tags there, or that it
    made it and edits of it again."""
    query = case.records.database.query
    rows = query("SELECT max(id) FROM runs WHERE manifest = ? AND status = 'ok'", (manifest,))
    rows += query("SELECT max(run) FROM publications WHERE to_manifest = ?", (manifest,))
    rows += query(
        "SELECT max(run) FROM stages JOIN results USING (key)"
        " WHERE results.stage = 'image' AND output LIKE ?",
        (f'%"manifest": "{manifest}"%',),
    )
    return next((int(str(row[0])) for row in rows if row[0] is not None), None)


def _sources(
    case: Case, run: int, recipe: str, detail: Detail
) -> Iterator[tuple[str, Digest | None]]:
    row = case.records.run(run)
    if row is None or row.recipe != recipe or row.version != detail["version"]:
        yield f"expected a run of {recipe} {detail['version']}, got another", None
        return
    report = Digest.parse(str(detail["report"]))
    if case.usable(report):
        environment = case.read_json(report).get("environment")
        told = environment if isinstance(environment, Mapping) else {}
        if not told.get("digest") or "packages" not in told:
            yield "expected the environment and its tools in the report, got none", report
    keys = [stage.key for stage in case.records.stages(run) if stage.name == "compile"]
    output = _result(case, keys[0]) if keys else None
    archive = str((output or {}).get("archive", ""))
    if not archive and row.id == _last_good(case, recipe):  # an older minid told of the last alone
        archive = case.records.inputs(recipe).get("source.archive", "")
    digest = Digest.parse(archive) if archive else None
    if digest and case.usable(digest) and not case.blobs.has(digest):
        yield f"expected the archive {digest}, got nothing", digest


def _result(case: Case, key: str) -> Detail | None:
    rows = case.records.database.query("SELECT output FROM results WHERE key = ?", (key,))
    return parse_row(str(rows[0][0])) if rows else None


def _last_good(case: Case, recipe: str) -> int:
    rows = case.records.database.query("SELECT run FROM inputs WHERE recipe = ?", (recipe,))
    return int(str(rows[0][0])) if rows else 0


def prove_layers(case: Case) -> Iterator[Finding]:
    """Minid's own layers have nothing in them that does not belong there. Those of images from
    elsewhere may."""
    checked: set[Digest] = set()
    newest = max((parse_image(detail).created for detail, _ in case.images.values()), default=0)
    for detail, tags in case.tagged.values():
        image = parse_image(detail)
        if not image.recipe:
            continue
        for layer in image.layers:
            own = layer.created_by.startswith(_OWN)
            if own and layer.diff_id not in checked and case.usable(layer.diff_id):
                checked.add(layer.diff_id)
                recipe = case.recipes.get(image.recipe)
                for text in _layer_faults(case, layer.diff_id, newest, _asked_for(recipe)):
                    yield Finding("layers", ", ".join(tags), f"layer {layer.diff_id}: {text}")


def _asked_for(recipe: Recipe | None) -> frozenset[str] | None:
    """The paths to which a recipe gives a mode of its own; None where there is none to ask."""
    if recipe is None:
        return None
    paths = [item.path for item in recipe.rootfs.files]
    paths += [item.path for item in recipe.rootfs.directories]
    return frozenset(path.strip("/") for path in paths)


def _layer_faults(
    case: Case, digest: Digest, newest: int, asked_for: frozenset[str] | None
) -> Iterator[str]:
    before: bytes | None = None
    told = 0
    try:
        for member in TarReader(case.blobs.iterate(digest), _LIMITS):
            for text in _member_faults(member, before, newest, asked_for):
                told += 1
                if told <= _SHOWN:
                    yield text
            before = member.name
    except UnpackError as error:
        if _is_sound(case, digest):
            yield str(error)
        else:
            case.spoil(digest)
    except StoreError:
        case.spoil(digest)
    if told > _SHOWN:
        yield f"and {told - _SHOWN} more"


def _is_sound(case: Case, digest: Digest) -> bool:
    try:
        for _ in case.blobs.iterate(digest):
            pass
    except StoreError:
        return False
    return True


def _member_faults(
    member: Member, before: bytes | None, newest: int, asked_for: frozenset[str] | None
) -> Iterator[str]:
    name = member.name.decode("utf-8", "backslashreplace")
    unasked = asked_for is not None and name not in asked_for
    if before is not None and member.name <= before:
        yield f"{name}: expected names sorted and each once"
    if member.kind in ("device", "fifo"):
        yield f"{name}: expected no {member.kind}"
    if any(part.startswith(b".wh.") for part in member.name.split(b"/")):
        yield f"{name}: expected no whiteout"
    for attribute, _ in member.xattrs:
        if attribute.startswith(("trusted.overlay.", "user.overlay.")):
            yield f"{name}: expected no attribute of an overlay"
        if attribute == "security.capability" and unasked:
            yield f"{name}: expected no capability that the recipe does not list"
    if member.kind == "file" and member.mode & _SPECIAL and unasked:
        yield f"{name}: expected no set-user-ID that the recipe does not list"
    if member.mtime > newest:
        yield f"{name}: expected no time after the image's own"


def prove_elf(case: Case) -> Iterator[Finding]:
    """Programs of a recipe's images find what they need, inside."""
    checked: dict[Digest, tuple[str, ...]] = {}
    for detail, tags in case.tagged.values():
        tree = Digest.parse(str(detail["tree"]))
        image = parse_image(detail)
        if not image.recipe or not case.usable(tree, *(item.diff_id for item in image.layers)):
            continue
        if tree not in checked:
            try:
                read = read_content(case.blobs)
                checked[tree] = audit_rootfs(case.tree(tree), read)
            except StoreError as error:
                checked[tree] = ()
                if case.usable(tree):
                    yield Finding("content", ", ".join(tags), error.message)
        if checked[tree]:
            yield Finding("elf", ", ".join(tags), "; ".join(checked[tree][:_SHOWN]))
