"""Whether an image does what its recipe promises: its smoke tests as a stage of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from minid.errors import CheckError, StoreError
from minid.formats.digest import Digest, digest_of_json
from minid.formats.runtime_spec import process_argv
from minid.line.run import Output, Run, load_json
from minid.model import CheckReport, CheckResult, Image
from minid.recipe import Recipe
from minid.steps.image import run_config_of
from minid.steps.plan import STAGE_VERSIONS
from minid.store.blobs import Blobs

if TYPE_CHECKING:
    from minid.steps.check import Runner


def check(run: Run, made: Image, programs: str) -> CheckReport:
    """Run the recipe's smoke tests on the stored image; CheckError where one fails.

    `programs` is what `compose` says of the files (`shipping.fingerprint`): the audit, which starts
    the program a second time, is taken from an earlier check of the same programs.

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
        audit_key = _audit_key(config, programs, runner)
        earlier = run.find(audit_key) if programs else None
        report = check_stored(
            recipe, made, shop.blobs, where, audit=earlier is None, cancel=shop.cancel
        )
        for line in report.log:
            run.log.say(f"   {line}")
        if not report.passed:
            raise _check_error(recipe, report)
        seen: Output = {"libraries": report.libraries, "missed": report.missed, "blobs": []}
        if earlier is None:
            shop.records.add_result(audit_key, "audit", recipe.name, seen, shop.clock())
        else:
            run.log.say("   audit: as before, no program and no library has changed")
            seen = earlier
        return asdict(report) | seen

    return _parse_report(run.stage("check", key, make))


def _audit_key(config: Mapping[str, object], programs: str, runner: str) -> str:
    """What shapes an audit: the files besides texts, and how the program is started.

    Of the command its first word: an option that changed is seen by the checks, and is not worth a
    second start of the program.
    """
    how = run_config_of(config).as_json() | {"Cmd": None, "Entrypoint": None}
    words = process_argv(_runtime_part(config))
    return digest_of_json(
        {
            "stage": "audit",
            "version": STAGE_VERSIONS["check"],
            "program": words[:1],
            "run": how,
            "programs": programs,
            "runner": runner,
        }
    ).hex


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
    from minid.steps.check import ImageToCheck, check_image

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
    from minid.steps.check import DockerRunner, SandboxRunner

    if kind == "sandbox":
        return SandboxRunner(layers)
    from minid.steps.publish import load_docker

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
