"""Moving tags by hand: the ledger, the store's tags and its layout together, then the targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from minid.errors import PublishError, StoreError
from minid.formats.image_record import parse_image
from minid.host.docker_engine import engine_answers, inspect_image, is_foreign, remove_image
from minid.host.export_folder import remove_export
from minid.host.files import exclusive_folder
from minid.line.beside import accompany
from minid.line.workshop import Workshop
from minid.model import Published
from minid.steps.publish import Publication, publish_targets, sign_image
from minid.steps.publish_targets import DOCKER, EXPORT, export_name, known_in_docker
from minid.store.edits import EditRow, Edits
from minid.store.layout import write_layout
from minid.store.reach import blobs_of
from minid.store.records import PublicationRow


@dataclass(frozen=True, slots=True)
class Moved:
    """What an edit did: its number, what moved and what is gone as `target name`, and what a person
    should know."""

    edit: int
    moved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def move_tags(
    shop: Workshop,
    row: EditRow,
    detail: Mapping[str, object],
    names: Sequence[str],
    *,
    targets: bool = True,
    expected: Mapping[str, str] | None = None,
    removed: Sequence[str] = (),
) -> Moved:
    """Record an edit and point the store's tags `names` at the image of `detail`, together or not
    at all; with `targets` Docker, export and registry follow, as after a run.

    `detail` is the record of an image (`image_record.dump_image` and more) whose blobs are in the
    store. `expected` has the manifest digest (or "") that a tag must still have: StoreError, with
    nothing done, where one moved meanwhile or a blob is missing. `removed` tags go, in Docker and
    the export folder too. PublishError, with nothing done, where Docker is demanded and silent or
    has a name for somebody else's image; KeyFileError likewise for a key to sign with that is
    missing or locked; PublishError, after the store's tags have moved, where a target that was
    demanded refuses.
    """
    image = replace(parse_image(detail), tags=tuple(names))
    if targets and shop.config.publish.docker == "on":
        refuse_held(shop, names)
    if not shop.blobs.claim(*blobs_of(detail)):
        raise StoreError(
            f"{image.recipe or 'image'} {image.version}: expected all of it in the store, got a "
            "part that is missing",
            hint="`minid verify` says what, `minid gc` may just have removed it",
        )
    shop.blobs.flush()
    publication = accompany(shop, Publication(0, image, detail, row.time))
    if targets:
        sign_image(publication, shop.config.publish, shop.blobs, shop.records)
    with exclusive_folder(shop.blobs.root):  # of two that move a tag the second sees the first
        for name, before in (expected or {}).items():
            if shop.records.tagged(name) != before:
                raise StoreError(
                    f"{name}: expected the image that was looked at, got another meanwhile",
                    hint="look at it, and try again",
                )
        edits = Edits(shop.records.database)
        with edits.together():
            number = edits.add(row)
            rows = shop.records.publish(0, detail, names, row.time, edit=number)
            for name in removed:
                shop.records.untag(name, row.time, number)
        write_layout(shop.blobs, shop.records, shop.machine)
    moved = [f"store {item.name}" for item in rows]
    gone = [f"store {name}" for name in removed]
    notes: tuple[str, ...] = ()
    if targets:
        gone += [f"{DOCKER} {name}" for name in removed if _untag_docker(shop, name, number)]
        gone += [f"{EXPORT} {name}" for name in removed if _remove_export(shop, name, number)]
        served = _serve(shop, replace(publication, edit=number))
        moved += served.moved
        notes = served.notes
    return Moved(number, tuple(moved), notes, tuple(gone))


def _serve(shop: Workshop, what: Publication) -> Published:
    """Have the other targets follow; who refuses is told together with what the store has."""
    try:
        return publish_targets(
            what,
            publishing=shop.config.publish,
            blobs=shop.blobs,
            records=shop.records,
            machine=shop.machine,
        )
    except PublishError as error:
        done = f"edit {what.edit} is in the store; `minid build` publishes it where it is not yet"
        hint = f"{error.hint}; {done}" if error.hint else done
        raise PublishError(error.message, hint=hint) from error


def refuse_held(shop: Workshop, names: Iterable[str]) -> None:
    """PublishError for names that Docker has for somebody else's image, and where Docker is
    demanded, for an engine that does not answer. Asked before anything moves."""
    docker = shop.config.publish.docker
    if docker == "off":
        return
    if not engine_answers():
        if docker == "on":
            raise PublishError(
                "docker: expected an engine that answers, got none",
                hint='publish.docker = "auto" in config.toml does without one',
            )
        return
    for name in names:
        if is_foreign(name, known_in_docker(shop.records, [name])):
            raise PublishError(
                f"docker: {name}: expected a free name or an image of minid's, got another image",
                hint=f"docker tag {name} some-other-name && docker rmi {name}",
            )


def _untag_docker(shop: Workshop, name: str, number: int) -> bool:
    """Take a tag away in Docker where it is still the image that minid put there."""
    before = shop.records.published(DOCKER, name)
    if not before or shop.config.publish.docker == "off" or not engine_answers():
        return False
    there = (inspect_image(name) or {}).get("Id", "")
    gone = there in known_in_docker(shop.records, [name]) and remove_image(name)
    row = PublicationRow(0, DOCKER, name, before, "", shop.clock(), number)
    shop.records.add_publication(row)
    return gone


def _remove_export(shop: Workshop, name: str, number: int) -> bool:
    """Remove the archive of a tag that is gone from the export folder."""
    before, folder = shop.records.published(EXPORT, name), shop.config.publish.export
    if not before or folder is None:
        return False
    remove_export(folder / export_name(name))
    row = PublicationRow(0, EXPORT, name, before, "", shop.clock(), number)
    shop.records.add_publication(row)
    return True
