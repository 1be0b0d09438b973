"""Whether an image has what it should not have: lints, as a stage of a run and by themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from minid.errors import LintError
from minid.formats.digest import Digest
from minid.formats.image_record import parse_image
from minid.formats.lint import Finding, make_strict, silence
from minid.formats.lint_bytes import usable_host_name
from minid.formats.lint_subject import Release
from minid.formats.tree import parse_tree
from minid.line.run import Run, load_json
from minid.model import Tree
from minid.recipe import Recipe
from minid.steps.lint import Facts, ImageToLint, lint_image
from minid.store.blobs import Blobs
from minid.store.records import Records

Detail = Mapping[str, object]

_SHOWN = 10
_LICENSE_LABEL = "org.opencontainers.image.licenses"


@dataclass(frozen=True, slots=True)
class Linted:
    """The findings on an image; `licenses` has the digests of its source's licence files."""

    findings: tuple[Finding, ...]
    licenses: Mapping[str, str]

    def record(self, detail: Detail) -> dict[str, object]:
        """The record of the image with what was found."""
        told = [finding.as_json() for finding in self.findings]
        return {**detail, "lint": told, "licenses": dict(self.licenses)}


def lint(run: Run, detail: Detail, base: Digest | None, licenses: Mapping[str, str]) -> Linted:
    """Look over the image that is to be tagged; `base` is its base's root file system.

    What is found is in the log, warnings are told to who watches as well. LintError for a finding
    that is an error and that the recipe does not silence.
    """
    shop, recipe = run.shop, run.recipe

    def recall(key: str, stage: str, make: Callable[[], Facts]) -> Facts:
        found = run.find(key)
        if found is None:
            made = make()
            shop.records.add_result(key, stage, recipe.name, {**made, "blobs": []}, shop.clock())
            return made
        return found

    with run.timed("lint"):
        image = image_to_lint(detail, shop.blobs, shop.records, base=base, licenses=licenses)
        host_name = usable_host_name(os.uname().nodename)
        found = lint_image(image, shop.blobs, host_name, recall)
        findings = weigh(found, recipe, strict=shop.config.lint.strict)
        for finding in findings:
            run.log.say(f"   {describe(finding)}")
    _tell(run, findings)
    _refuse(recipe, findings)
    return Linted(findings, licenses)


def weigh(
    findings: Sequence[Finding], recipe: Recipe | None, *, strict: bool
) -> tuple[Finding, ...]:
    """The findings as the recipe and the configuration take them."""
    told = silence(findings, recipe.lint.ignore if recipe else ())
    return make_strict(told) if strict else told


def describe(finding: Finding) -> str:
    """A finding in a line."""
    if finding.silenced:
        return f"let be: {finding} ({finding.silenced})"
    return f"{finding.severity}: {finding}"


def errors_among(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What fails a run."""
    return tuple(item for item in findings if item.severity == "error" and not item.silenced)


def image_to_lint(
    detail: Detail,
    blobs: Blobs,
    records: Records,
    *,
    base: Digest | None,
    licenses: Mapping[str, str],
) -> ImageToLint:
    """An image of the records as lints want it, with the release before it."""
    image = parse_image(detail)
    config = load_json(blobs.read(image.config))
    inner = config.get("config")
    runtime: Mapping[str, object] = inner if isinstance(inner, dict) else {}
    before = records.last_release(image.recipe, image.version) if image.recipe else None
    return ImageToLint(
        tree=parse_tree(blobs.read(Digest.parse(str(detail["tree"])))),
        base=parse_tree(blobs.read(base)) if base else Tree(),
        config=runtime,
        now=replace(_release(detail, runtime), licenses=licenses),
        before=_earlier_release(before, blobs) if before else None,
        programs=str(detail.get("programs") or ""),
    )


def _earlier_release(detail: Detail, blobs: Blobs) -> Release:
    config = Digest.parse(str(detail["config"]))
    inner = load_json(blobs.read(config)).get("config") if blobs.claim(config) else None
    return _release(detail, inner if isinstance(inner, dict) else {})


def _release(detail: Detail, runtime: Mapping[str, object]) -> Release:
    labels = runtime.get("Labels")
    return Release(
        version=str(detail["version"]),
        unpacked=parse_image(detail).sizes.unpacked,
        license=str(labels.get(_LICENSE_LABEL, "")) if isinstance(labels, dict) else "",
        licenses=licenses_of(detail),
    )


def base_tree(detail: Detail, blobs: Blobs, records: Records) -> Digest | None:
    """The root file system of the image below a recorded one, as far as the store has it."""
    below = records.image(str(detail.get("base") or ""))
    tree = Digest.parse(str(below["tree"])) if below and below.get("tree") else None
    return tree if tree is not None and blobs.claim(tree) else None


def licenses_of(row: Detail) -> Mapping[str, str]:
    """The licence files that a compilation, or the record of an image, has."""
    found = row.get("licenses")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _tell(run: Run, findings: Sequence[Finding]) -> None:
    shown = [item for item in findings if item.severity == "warning" and not item.silenced]
    for finding in shown[:_SHOWN]:
        run.shop.reporter.note(run.recipe.name, f"lint: {describe(finding)}")
    if len(shown) > _SHOWN:
        run.shop.reporter.note(run.recipe.name, f"lint: and {len(shown) - _SHOWN} more")


def _refuse(recipe: Recipe, findings: Sequence[Finding]) -> None:
    wrong = errors_among(findings)
    if not wrong:
        return
    lines = [f"{recipe.file}: lint: {finding}" for finding in wrong[:_SHOWN]]
    if len(wrong) > _SHOWN:
        lines.append(f"and {len(wrong) - _SHOWN} more")
    raise LintError(
        "\n".join(lines),
        hint="mend the image, or let it be with a reason in [lint]; `minid lint --rules` says what "
        "each means",
    )
