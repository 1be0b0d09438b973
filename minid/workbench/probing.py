"""Run a program, see what it misses, lay that over its root, run it again, until it misses nothing.

A program that finds no user ends before it looks for its folders. So what a recipe's lines would
lay is tried in a throwaway layer at once; the image and the recipe stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from threading import Event as Flag

from minid.errors import ComposeError, ImageError, MinidError
from minid.formats.accounts import Accounts
from minid.formats.digest import Digest
from minid.formats.probe import Finding, Seen, parse_seen
from minid.formats.probe_ground import Ground, find_unstartable
from minid.formats.probe_rules import find_missing
from minid.formats.recipe_lines import RecipeLines
from minid.formats.rootfs import Rootfs as Root
from minid.formats.runtime_spec import DEFAULT_PATH
from minid.host.container import ContainerSpec
from minid.host.probe_container import ProbeContainer
from minid.model import Composed, Tree
from minid.recipe import Build, Directory, Recipe, Rootfs, Source
from minid.steps.compose import compose_rootfs
from minid.store.contents import Read
from minid.workbench.probe_subject import Subject, write_layer_file

MAX_ROUNDS = 16
_HEAD_BYTES = 32 << 20
_NO_DIGEST = Digest.of(b"")  # of a recipe that is composed and never fetched


@dataclass(frozen=True, slots=True)
class Request:
    """What to run and for how long: `argv` empty means the image's own, `whole` to the last second
    of `seconds`. `knocks` are asked once it has settled. `programs` are others that will be run."""

    argv: tuple[str, ...]
    seconds: float = 10.0
    whole: bool = False
    knocks: tuple[tuple[int, bytes], ...] = ()
    programs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """One run and what it showed anew; `seen` is None where the runtime could not start it."""

    findings: tuple[Finding, ...]
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class Report:
    """All rounds. `lines` are those that a recipe should get; `end` is the last run."""

    rounds: tuple[Round, ...] = ()
    lines: RecipeLines = field(default_factory=RecipeLines)

    @property
    def findings(self) -> list[Finding]:
        """Everything, in order of time."""
        return [finding for one in self.rounds for finding in one.findings]

    @property
    def missing(self) -> list[Finding]:
        """What the program does not work without."""
        return [finding for finding in self.findings if finding.needed]

    @property
    def end(self) -> Seen | None:
        """How the last run went."""
        return self.rounds[-1].seen if self.rounds else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a probe works: the cache of unpacked layers, a folder of its own for what it tries, and
    the door to files' bytes."""

    layers: Path
    folder: Path
    read: Read
    cancel: Flag | None = None


def probe(
    subject: Subject,
    request: Request,
    place: Place,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Rounds until one shows nothing new that a line can supply."""
    rounds: list[Round] = []
    lines = RecipeLines()
    known: set[tuple[str, str]] = set()
    for number in range(1, MAX_ROUNDS + 1):
        progress(f"round {number}")
        findings, seen = _try(subject, request, place, lines)
        # A file that was made empty is there from now on: that it is wanted stays known.
        fresh = tuple(one for one in findings if (one.kind, one.what) not in known)
        known |= {(one.kind, one.what) for one in fresh}
        rounds.append(Round(fresh, seen))
        more = merge_lines(lines, (one.lines for one in fresh if one.needed and one.lines))
        if more == lines or replace(more, dlopen=()) == replace(lines, dlopen=()):
            lines = more  # nothing that can be tried here: libraries come with a build
            break
        lines = more
    end = rounds[-1].seen
    if end is None or end.failed:  # empty files were tried, and did not help
        lines = replace(lines, files=tuple(file for file in lines.files if file.content))
    return Report(tuple(rounds), lines)


def merge_lines(lines: RecipeLines, more: Iterable[RecipeLines]) -> RecipeLines:
    """Lines together; of two about the same path or name the first stays."""
    found = {item.name: list(getattr(lines, item.name)) for item in fields(lines)}
    for other in more:
        for item in fields(other):
            have = {_key(one) for one in found[item.name]}
            found[item.name] += [one for one in getattr(other, item.name) if _key(one) not in have]
    users = {user.name for user in found["users"]}
    found["groups"] = [group for group in found["groups"] if group.name not in users]
    # What one round took for a file may turn out to be a folder in the next.
    paths = [str(_key(one)) for name in ("files", "directories", "links") for one in found[name]]
    for file in list(found["files"]):
        if any(path.startswith(f"{file.path}/") for path in paths):
            found["files"].remove(file)
            found["directories"].append(Directory(file.path))
    return RecipeLines(**{name: tuple(values) for name, values in found.items()})


def _key(item: object) -> object:
    if isinstance(item, tuple):
        return item[0]
    return getattr(item, "path", None) or getattr(item, "name", None) or item


def _try(
    subject: Subject, request: Request, place: Place, lines: RecipeLines
) -> tuple[list[Finding], Seen | None]:
    composed = lay_lines(subject, lines, place.read) if lines else None
    ground = make_ground(composed.tree if composed else subject.tree, place.read)
    config = subject.config
    environ = dict(str(line).partition("=")[::2] for line in config.get("Env") or ())
    path = environ.get("PATH", DEFAULT_PATH)
    argv = request.argv
    stopped = find_unstartable(argv, path, str(config.get("User") or ""), ground)
    for program in request.programs:
        found = find_unstartable((program,), path, "", ground)
        if found and found[0].lines and program != argv[0]:
            stopped += found
    if stopped:
        return stopped, None
    spec_layers = subject.layers
    trial = None
    if composed:
        place.folder.mkdir(parents=True, exist_ok=True)
        layer = Tree(composed.own)
        trial = write_layer_file(place.folder / "trial.tar", layer, place.read)
        spec_layers = (*subject.layers, trial)
    with ProbeContainer(ContainerSpec(config, spec_layers), place.layers, place.cancel) as box:
        facts = box.probe(argv, seconds=request.seconds, whole=request.whole, knocks=request.knocks)
    if trial is not None:
        with ProbeContainer(ContainerSpec({}, ()), place.layers, place.cancel) as box:
            box.drop_layer(trial.diff_id)
    seen = parse_seen(facts)
    if seen.refused:
        raise ImageError(
            f"{subject.name}: expected a program that starts, got the runtime's refusal",
            log_tail=seen.refused,
        )
    return find_missing(seen, ground), seen


def make_ground(tree: Tree, read: Read) -> Ground:
    """What the rules ask of a root."""
    root = Root(tree.entries)

    def head(path: str) -> bytes:
        try:
            entry = root.file(root.resolve(path.strip("/"), follow_last=True))
        except ComposeError:
            return b""
        if entry is None or entry.content is None or entry.content.size > _HEAD_BYTES:
            return b""
        return read(entry.content)

    texts = (head(f"/etc/{name}").decode("utf-8", "replace") for name in ("passwd", "group"))
    return Ground(root, Accounts(*texts), head)


def lay_lines(subject: Subject, lines: RecipeLines, read: Read) -> Composed:
    """The root with what the lines would add: as the line itself composes, but for libraries."""
    recipe = Recipe(
        name=subject.name,
        file=Path(f"{subject.name}.toml"),
        folder=Path(subject.name),
        kind="image",
        source=Source(version=subject.version, url="", sha256=_NO_DIGEST),
        build=Build(),
        rootfs=Rootfs(
            base="scratch",
            users=lines.users,
            groups=lines.groups,
            directories=lines.directories,
            links=lines.links,
            files=lines.files,
            edits=lines.edits,
        ),
    )
    try:
        return compose_rootfs(
            recipe, base=subject.tree, payload=Tree(), files={}, read=read, mtime=0
        )
    except MinidError as error:
        raise ComposeError(f"probe: {error.message}", hint=error.hint) from error
