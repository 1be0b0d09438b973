"""From a payload to a tag: compose, image, check, publish, each as a stage of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event

from minid.errors import CheckError, ClosureError, StoreError
from minid.formats.digest import Digest, digest_of_json
from minid.formats.image_record import dump_image, dump_layer, parse_layer
from minid.formats.oci import architecture_of
from minid.formats.rootfs import overlay_trees
from minid.formats.tree import dump_tree
from minid.line.making import describe_payload, load_tree
from minid.line.run import Output, Run, digests, load_json
from minid.model import CheckReport, CheckResult, Entry, Image, Layer, Published, Tree
from minid.recipe import Recipe
from minid.steps.check import DockerRunner, ImageToCheck, Runner, SandboxRunner, check_image
from minid.steps.compose import Composed, compose_rootfs
from minid.steps.image import (
    Base,
    build_image,
    check_budget,
    run_config_of,
)
from minid.steps.layers import layer_key, write_layer
from minid.steps.pack import audit_rootfs
from minid.steps.plan import STAGE_VERSIONS, OwnFiles, Plan
from minid.steps.publish import Publication, load_docker, publish_image
from minid.store.contents import read_content
from minid.store.blobs import Blobs


@dataclass(frozen=True, slots=True)
class Below:
    """What a base hands up: its root file system (a blob) and its image."""

    tree: Digest
    image: Image


def compose(run: Run, plan: Plan, packed: Output, files: OwnFiles, base: Below | None) -> Output:
    """The root file system: `tree` blob, the image's own `layers`, and whether the base is below.

    The payload's layer is kept by what is in it, so that an edit of a configuration file writes
    kilobytes.
    """
    recipe, blobs = run.recipe, run.shop.blobs

    def make() -> Output:
        read = read_content(blobs)
        base_tree = load_tree(run, base.tree) if base else Tree()
        payload = load_tree(run, Digest.parse(str(packed["tree"])))
        composed = compose_rootfs(
            recipe,
            base=base_tree,
            payload=payload,
            files=files.files,
            read=read,
            mtime=int(str(packed["epoch"])),
        )
        missing = audit_rootfs(composed.tree, read)
        if missing:
            raise ClosureError(
                f"{recipe.file}: expected every library inside the image, got: "
                + "; ".join(missing),
                hint="add the library's path to contents.dlopen, or build with the base's "
                "environment",
            )
        flat = composed.flatten or recipe.image.squash
        layers: list[Layer] = []
        trees: list[Tree] = [] if flat else [base_tree]
        for entries, created_by in _layers(recipe, composed, flat):
            layer, tree = _write_layer(run, entries, created_by)
            layers.append(layer)
            trees.append(tree)
        stored = blobs.add(dump_tree(overlay_trees(*trees)))
        return {
            "tree": str(stored),
            "layers": [dump_layer(layer) for layer in layers],
            "flat": flat,
            "epoch": packed["epoch"],
            "report": packed["report"],
            "blobs": [
                *digests(stored),
                *(str(layer.digest) for layer in layers),
                *(str(layer.diff_id) for layer in layers),
            ],
        }

    return run.stage("compose", plan.compose, make)


def _layers(recipe: Recipe, composed: Composed, flat: bool) -> list[tuple[tuple[Entry, ...], str]]:
    payload = describe_payload(recipe, Tree(composed.payload))
    own = f"minid: rootfs of recipe {recipe.name}"
    if flat:
        return [(composed.tree.entries, payload)]
    return [
        (entries, text)
        for entries, text in ((composed.payload, payload), (composed.own, own))
        if entries
    ]


def _write_layer(run: Run, entries: tuple[Entry, ...], created_by: str) -> tuple[Layer, Tree]:
    blobs, records = run.shop.blobs, run.shop.records
    key = layer_key(entries)
    found = records.result(key)
    if found and all(
        blobs.has(Digest.parse(str(found[name]))) for name in ("tree", "digest", "diff_id")
    ):
        layer = parse_layer(found | {"created_by": created_by})
        return layer, load_tree(run, Digest.parse(str(found["tree"])))
    layer, tree = write_layer(entries, read_content(blobs), blobs, created_by=created_by)
    stored = blobs.add(dump_tree(tree))
    blobs.flush()
    output = dump_layer(layer) | {"tree": str(stored)}
    records.add_result(key, "layer", run.recipe.name, output, run.shop.clock())
    return layer, tree


def image(run: Run, plan: Plan, composed: Output, base: Below | None) -> Output:
    """The image in the store, not yet checked, as the records keep it (`parse_image`)."""
    recipe, blobs = run.recipe, run.shop.blobs
    values = composed["layers"]
    layers = tuple(parse_layer(value) for value in values) if isinstance(values, list) else ()

    def make() -> Output:
        below = None
        if base is not None:
            config = load_json(blobs.read(base.image.config))
            below = (
                # A flat image has one layer, so it cannot keep the history of others.
                Base((), {**config, "history": []})
                if composed["flat"]
                else Base(base.image.layers, config)
            )
        built = build_image(
            recipe,
            layers=layers,
            base=below,
            created=int(str(composed["epoch"])),
            architecture=architecture_of(run.shop.machine),
            blobs=blobs,
        )
        check_budget(recipe, built.sizes, load_tree(run, Digest.parse(str(composed["tree"]))))
        return dump_image(built) | {
            "tree": composed["tree"],
            "report": composed["report"],
            "blobs": digests(built.manifest, built.config),
        }

    return run.stage("image", plan.image, make)


def check(run: Run, made: Image) -> CheckReport:
    """Run the recipe's smoke tests on the stored image; CheckError where one fails.

    A report of the same files under the same command is not asked for again: comment and labels
    do not change what a program does.
    """
    recipe, shop = run.recipe, run.shop
    config = load_json(shop.blobs.read(made.config))
    runner = shop.config.check.runner
    key = digest_of_json(
        {
            "stage": "check",
            "version": STAGE_VERSIONS["check"],
            "run": run_config_of(config).as_json(),
            "layers": [str(layer.diff_id) for layer in made.layers],
            "checks": [asdict(item) for item in recipe.checks],
            "release": recipe.source.version,
            "runner": runner,
        }
    ).hex

    def make() -> Output:
        where = make_runner(
            runner,
            made,
            layers=shop.config.paths.layers,
            blobs=shop.blobs,
            machine=shop.machine,
        )
        report = check_stored(recipe, made, shop.blobs, where, cancel=shop.cancel)
        for line in report.log:
            run.log.say(f"   {line}")
        if not report.passed:
            raise _check_error(recipe, report)
        return asdict(report) | {"blobs": []}

    return _parse_report(run.stage("check", key, make))


def _runtime_part(config: Mapping[str, object]) -> Mapping[str, object]:
    found = config.get("config")
    return found if isinstance(found, dict) else {}


def check_stored(
    recipe: Recipe,
    made: Image,
    blobs: Blobs,
    runner: Runner,
    *,
    audit: bool = True,
    cancel: Event | None = None,
) -> CheckReport:
    """Run the recipe's smoke tests on an image of the store now; see `check_image`.

    `{version}` in the checks is the image's version. StoreError where a layer is missing.
    """
    subject = ImageToCheck(
        name=f"{made.recipe}:{made.version}",
        version=made.version,
        config=_runtime_part(load_json(blobs.read(made.config))),
        layers=tuple((layer.diff_id, _stored(layer.diff_id, blobs)) for layer in made.layers),
    )
    return check_image(subject, recipe.checks, runner, audit=audit, cancel=cancel)


def _stored(digest: Digest, blobs: Blobs) -> Path:
    if not blobs.has(digest):
        raise StoreError(f"store: expected blob {digest}, got nothing", hint="`minid build` again")
    return blobs.path(digest)


def make_runner(kind: str, made: Image, *, layers: Path, blobs: Blobs, machine: str) -> Runner:
    """The runner of that name (`sandbox` or `docker`); `layers` is the cache of unpacked layers."""
    if kind == "sandbox":
        return SandboxRunner(layers)
    return DockerRunner(lambda _: load_docker(made, blobs, machine))


def _check_error(recipe: Recipe, report: CheckReport) -> CheckError:
    failed = next(result for result in report.results if not result.passed)
    return CheckError(
        f"{recipe.file}: {failed.name}: {failed.detail}",
        hint="the tags stay where they were; `minid logs` has the program's output",
        log_tail=report.output_tail,
    )


def _parse_report(value: Output) -> CheckReport:
    def texts(key: str) -> tuple[str, ...]:
        found = value.get(key)
        return tuple(str(item) for item in found) if isinstance(found, (list, tuple)) else ()

    results = value.get("results")
    return CheckReport(
        runner=str(value["runner"]),
        results=tuple(CheckResult(**item) for item in results if isinstance(item, dict))
        if isinstance(results, (list, tuple))
        else (),
        libraries=texts("libraries"),
        missed=texts("missed"),
        output_tail=texts("output_tail"),
        log=texts("log"),
    )


def publish(run: Run, made: Image, detail: Output) -> Published:
    """Move the tags. What a target refused, and did not have to take, is a note."""
    shop = run.shop
    with run.timed("publish"):
        published = publish_image(
            Publication(run.id, made, detail, shop.clock()),
            publishing=shop.config.publish,
            blobs=shop.blobs,
            records=shop.records,
            machine=shop.machine,
        )
    for line in published.moved:
        run.log.say(f"   {line} → {made.manifest}")
    for note in published.notes:
        run.log.say(f"   {note}")
        shop.reporter.note(run.recipe.name, note)
    return published
