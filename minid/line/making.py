"""From a plan to a payload: environment, fetch, compile, pack, each as a stage of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from minid.formats.digest import Digest
from minid.formats.tree import dump_tree
from minid.host.environment import environment_token, make_environment, request_key
from minid.host.strip import strip_files
from minid.host.view import DirectoryView
from minid.line.planning import environment_packages
from minid.line.provenance import Materials, dump_report
from minid.line.run import Output, Run, digests, load_tree
from minid.model import Archive, Environment
from minid.recipe_graph import libraries_below
from minid.steps.compile import Workplace, compile_source
from minid.steps.fetch import fetch_archive
from minid.steps.layers import squeeze_files
from minid.steps.pack import pack_payload
from minid.steps.plan import OwnFiles, Plan, nsswitch_text
from minid.store.contents import read_content, store_tree

# What a closure may take from the machine itself: programs and libraries, nobody's files.
_HOST_SYSTEM = ("usr", "lib", "lib32", "lib64", "bin", "sbin", "etc/ld.so.conf", "etc/ld.so.conf.d")


def provide_environment(run: Run, workplace: Workplace) -> Environment:
    """Make the recipe's environment; the run's log gets what the bootstrap says.

    The recipe must have passed `planning.check_recipe`."""
    recipe, config = run.recipe, run.shop.config
    spec = config.environment(recipe.build.environment)
    assert spec is not None
    if spec.kind != "host":
        key = request_key(spec, environment_packages(recipe))
        run.shop.blobs.claim(environment_token(key))
    with run.timed("environment"):
        return make_environment(
            spec,
            environment_packages(recipe),
            config.paths.environments,
            identity=workplace.identity,
            output=run.log.write,
            cancel=workplace.cancel,
        )


def fetch(run: Run) -> Archive:
    """The recipe's archive, in the store when this returns."""
    recipe, config, reporter = run.recipe, run.shop.config, run.shop.reporter

    def report(done: int, total: int | None) -> None:
        run.raise_if_cancelled("fetch")
        reporter.fetched(recipe.name, recipe.source.url.rpartition("/")[2], done, total)

    with run.timed("fetch"):
        archive = fetch_archive(
            recipe.source, run.shop.blobs, config.mirrors, config.fetch, progress=report
        )
        run.shop.blobs.flush()
    for note in archive.notes:
        run.log.say(f"   {note}")
    run.log.say(f"   {archive.file_name} {archive.digest} from {archive.origin}")
    return archive


def compile_stage(
    run: Run,
    plan: Plan,
    *,
    archive: Digest,
    files: OwnFiles,
    environment: Environment,
    needs: Iterable[Digest],
    workplace: Workplace,
) -> Output:
    """The install tree: `tree` and `tar` blobs, the `archive`'s digest, `epoch`, and seconds of
    wall and processor time."""
    blobs = run.shop.blobs

    def make() -> Output:
        made = compile_source(
            run.recipe,
            blobs.path(archive),
            patches=files.patches,
            needs=[load_tree(run, tree) for tree in needs],
            environment=environment,
            workplace=workplace,
            blobs=blobs,
            read=read_content(blobs),
            log=run.log,
        )
        return {
            "tree": str(made.tree),
            "archive": str(archive),
            "epoch": made.epoch,
            "seconds": round(made.seconds, 3),
            "cpu_s": round(made.cpu_s, 3),
            "licenses": dict(made.licenses),
            "blobs": digests(made.tree, made.tar),
        }

    return run.stage("compile", plan.compile, make, _tools(environment))


def _tools(environment: Environment) -> Mapping[str, str]:
    return dict(item.split("=", 1) for item in environment.packages if "=" in item)


def environment_view(environment: Environment) -> DirectoryView:
    """The environment's file system as the closure may see it."""
    from pathlib import Path

    only = _HOST_SYSTEM if environment.kind == "host" else None
    return DirectoryView(Path(environment.root), only)


def pack(
    run: Run,
    plan: Plan,
    install: Output,
    *,
    environment: Environment,
    needs: Iterable[Digest],
    workplace: Workplace,
) -> Output:
    """The payload: `tree` and `report` blobs, `epoch`, and figures for people."""
    recipe, blobs = run.recipe, run.shop.blobs

    def make() -> Output:
        read = read_content(blobs)
        below = [load_tree(run, tree) for tree in needs]
        payload = pack_payload(
            load_tree(run, Digest.parse(str(install["tree"]))),
            below,
            environment_view(environment),
            recipe.contents,
            read=read,
            strip=lambda request: strip_files(
                request,
                environment=environment,
                identity=workplace.identity,
                jobs_folder=workplace.jobs_folder,
                limits=workplace.limits,
            ),
            nsswitch=nsswitch_text(recipe),
            clamp_mtime=int(str(install["epoch"])),
        )
        for warning in payload.warnings:
            run.log.say(f"   {warning}")
            run.shop.reporter.note(recipe.name, warning)
        run.squeezed.update(squeeze_files(payload.tree.entries, read))
        tar, tree = store_tree(payload.tree.entries, read, blobs)
        materials = Materials(recipe, environment, below, run.shop.recipes, _archives(run, install))
        report = dump_report(payload, materials, read)
        told, stored = blobs.add(report), blobs.add(dump_tree(tree))
        return {
            "tree": str(stored),
            "report": str(told),
            "epoch": install["epoch"],
            "blobs": digests(stored, told, tar),
        }

    return run.stage("pack", plan.pack, make)


def _archives(run: Run, install: Output) -> dict[str, Digest]:
    """By recipe, the archive that it was built from: of this one and all libraries below, as far
    as that is recorded."""
    records, recipes = run.shop.records, run.shop.recipes
    found = {run.recipe.name: Digest.parse(str(install["archive"]))} if "archive" in install else {}
    for name, _ in libraries_below(run.recipe, recipes):
        if used := records.inputs(name).get("source.archive"):
            found[name] = Digest.parse(used)
    return found
