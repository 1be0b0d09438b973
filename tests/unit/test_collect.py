"""What stays and what goes: retention, ways back, leases, and what nobody can read."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minid.config import Config, EnvironmentSpec, Keeping, Paths, Publishing
from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.host.environment import environment_token, request_key
from minid.line.planning import environment_packages
from minid.line.run import Run, open_run
from minid.line.workshop import Workshop, open_guest, open_workshop
from minid.recipe import Build, Keep, Recipe, Source
from minid.store.collect import sweep_blobs
from minid.store.edits import EditRow, Edits
from minid.store.lease import closed_gate
from minid.store.reach import Reached, Retention, blobs_of, find_reached
from minid.store.records import StageRow
from minid.workbench.collecting import Collected, collect, preview
from minid.workbench.scratch import Design, Made, make_image

DAY = 86400.0
NOW = 100 * DAY
RECIPE = Recipe(
    name="web",
    file=Path("web.toml"),
    folder=Path("web"),
    kind="image",
    source=Source("1", "https://upstream.test/web.tar.gz", Digest.of(b"wanted archive")),
    build=Build(),
)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def config_of(folder: Path, keep: Keeping) -> Config:
    paths = Paths(recipes=folder / "recipes", state=folder / "var")
    return Config(file=None, paths=paths, publish=Publishing(docker="off"), keep=keep)


@pytest.fixture
def shop(tmp_path: Path, clock: Clock) -> Iterator[Workshop]:
    """Nobody else is there: a guest's workshop."""
    config = config_of(tmp_path, Keeping(images=2, age_s=10 * DAY, logs_s=20 * DAY))
    with open_guest(config, {"web": RECIPE}, clock=clock) as opened:
        yield opened


def make(shop: Workshop, clock: Clock, age_days: float, comment: str, **more: object) -> Made:
    """An image of the recipe that is so old; the tag moves on with each."""
    clock.now = NOW - age_days * DAY
    tags = more.pop("tags", ("web:latest",))
    design = Design("web", comment=comment, tags=tags, **more)  # type: ignore[arg-type]
    made = make_image(shop, design)
    clock.now = NOW
    return made


def kept(shop: Workshop) -> set[str]:
    return {str(item["manifest"]) for item in shop.records.images()}


def collected(shop: Workshop) -> Collected:
    """A collection by another guest."""
    with open_guest(shop.config, shop.recipes, clock=shop.clock) as other:
        return collect(other, complete=True)


@pytest.fixture
def free(shop: Workshop) -> Workshop:
    """A workshop that holds nothing of what it makes."""
    return replace(shop, blobs=type(shop.blobs)(shop.blobs.root, shop.guest))


def test_the_newest_and_the_young_stay(free: Workshop, clock: Clock) -> None:
    old = [make(free, clock, age, f"{age}") for age in (50, 40, 30)]
    young = [make(free, clock, age, f"{age}") for age in (9, 8, 7)]
    assert kept(free) == {made.manifest for made in (*old, *young)}
    done = collected(free)
    assert {row.key for row in done.images} == {made.manifest for made in old}
    assert kept(free) == {made.manifest for made in young}
    assert collected(free).images == ()


def test_what_kept_images_stand_on_stays(free: Workshop, clock: Clock) -> None:
    lowest, lower, dead = (make(free, clock, age, f"{age}") for age in (70, 60, 50))
    over = {lowest.manifest: lower.manifest, lower.manifest: "sha256:" + "0" * 64}
    for image in [item for item in free.records.images() if item["manifest"] in over]:
        free.records.add_image({**image, "base": over[str(image["manifest"])]}, NOW)
    young = [make(free, clock, age, f"{age}") for age in (9, 8)]
    (top,) = [item for item in free.records.images() if item["manifest"] == young[0].manifest]
    free.records.add_image({**top, "base": lowest.manifest}, NOW)
    assert {row.key for row in collected(free).images} == {dead.manifest}
    assert kept(free) == {made.manifest for made in (lowest, lower, *young)}


def test_the_newest_stay_however_old(free: Workshop, clock: Clock) -> None:
    made = [make(free, clock, age, f"{age}") for age in (50, 40, 30)]
    collected(free)
    assert kept(free) == {item.manifest for item in made[1:]}
    for item in made[1:]:  # with all that a rebuild wants
        assert free.blobs.has(item.archive)
        assert free.blobs.has(item.install_tar)
    assert not free.blobs.has(made[0].archive)
    assert not free.blobs.has(made[0].install_tar)


def test_a_tag_keeps_its_image(free: Workshop, clock: Clock) -> None:
    first = make(free, clock, 50, "first", tags=("web:1", "web:latest"))
    for age in (40, 30, 20):
        make(free, clock, age, f"{age}")
    collected(free)
    assert first.manifest in kept(free)
    assert all(free.blobs.has(digest) for digest in blobs_of(first.detail))


def test_a_recipe_may_keep_more(free: Workshop, clock: Clock) -> None:
    made = [make(free, clock, age, f"{age}") for age in (50, 40, 30)]
    greedy = replace(free, recipes={"web": replace(RECIPE, keep=Keep(images=3))})
    assert preview(greedy, complete=True).images == ()
    old = replace(free, recipes={"web": replace(RECIPE, keep=Keep(age_s=45 * DAY))})
    assert [row.key for row in preview(old, complete=True).images] == [made[0].manifest]
    own = Retention(usual=free.config.keep, now=NOW, own={"web": Keeping(images=9, age_s=0)})
    assert find_reached(free.records.database, own).images == {item.manifest for item in made}


def test_what_an_edit_stood_on_stays(free: Workshop, clock: Clock) -> None:
    origin = make(free, clock, 50, "origin")
    edited = make(free, clock, 49, "edited", tags=("web:by-hand",))
    for age in (40, 30):
        make(free, clock, age, f"{age}")
    edits = Edits(free.records.database)
    edits.add(EditRow("set", "web", origin.manifest, edited.manifest, "ann", NOW - 49 * DAY))
    collected(free)
    assert {origin.manifest, edited.manifest} <= kept(free)


def test_an_image_from_elsewhere_stays_by_tag_and_age_alone(free: Workshop, clock: Clock) -> None:
    old, young = (make_image(free, Design("", comment=text, tags=())) for text in ("old", "young"))
    database = free.records.database
    with database.transaction() as connection:
        connection.execute("UPDATE images SET created = 0 WHERE manifest = ?", (old.manifest,))
    collected(free)
    assert kept(free) == {young.manifest}
    assert clock.now == NOW


def test_the_archives_of_recipes_stay(free: Workshop) -> None:
    wanted = free.blobs.add(b"wanted archive")
    other = free.blobs.add(b"nobody's archive")
    done = collected(free)
    assert free.blobs.has(wanted)
    assert not free.blobs.has(other)
    assert done.blobs == 1


def test_a_dry_run_tells_the_same_and_removes_nothing(free: Workshop, clock: Clock) -> None:
    for age in (50, 40, 30):
        make(free, clock, age, f"{age}")
    before = sorted(free.blobs.folder.iterdir())
    planned = preview(free, complete=True)
    assert sorted(free.blobs.folder.iterdir()) == before
    done = collected(free)
    told = ("images", "results", "blobs", "blob_bytes", "logs")
    assert [getattr(planned, key) for key in told] == [getattr(done, key) for key in told]


def test_what_a_living_process_holds_stays(free: Workshop) -> None:
    with open_guest(free.config, {}) as other:
        held = other.blobs.add(b"of another")
        done = collected(free)
        assert free.blobs.has(held)
        assert done.in_use == 1
    assert collected(free).blobs == 1
    assert not free.blobs.has(held)


HOLDER = """
import os, sys, time
from pathlib import Path
from minid.config import Config, Paths
from minid.line.workshop import open_guest
folder = Path(sys.argv[1])
config = Config(file=None, paths=Paths(recipes=folder / "recipes", state=folder / "var"))
with open_guest(config, {}) as shop:
    shop.blobs.add(b"of one that is killed")
    with shop.blobs.receive() as sink:
        sink.write(b"half")
        print("ready", flush=True)
        time.sleep(100)
"""


def test_a_killed_holder_holds_nothing_and_its_places_go(free: Workshop, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    assert collected(free).in_use == 1
    child.kill()
    child.wait()
    child.stdout.close()
    done = collected(free)
    assert (done.blobs, done.places) == (1, 1)
    assert [path.name for path in (free.config.paths.store / "tmp").iterdir()] == [free.guest]
    assert [path.name for path in free.config.paths.leases.iterdir()] == [free.guest]


HEIR = """
import os, sys
from pathlib import Path
from minid.config import Config, Paths
from minid.line.workshop import open_guest, open_workshop
folder = Path(sys.argv[1])
config = Config(file=None, paths=Paths(recipes=folder / "recipes", state=folder / "var"))
with (open_guest if sys.argv[2] == "guest" else open_workshop)(config, {}) as shop:
    if sys.argv[2] == "build":
        shop.records.set_log(shop.records.start_run("web", "1", "test", (), 1.0), "")
    shop.blobs.add(b"of one that is killed")
    with shop.blobs.receive() as sink:
        if not os.fork():
            # What a child is between fork and exec: it has every descriptor.
            print("ready", flush=True)
            sys.stdin.read()
            os._exit(0)
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("role", ["build", "guest"])
def test_a_child_that_a_killed_one_had_just_forked_keeps_nothing(
    free: Workshop, tmp_path: Path, role: str
) -> None:
    done: list[Collected] = []
    argv = [sys.executable, "-c", HEIR, str(tmp_path), role]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.wait()
        thread = threading.Thread(target=lambda: done.append(collected(free)))
        thread.start()
        thread.join(0.2)
        child.stdin.close()
        thread.join(30)
    assert [(item.blobs, item.in_use, item.places) for item in done] == [(1, 0, 1)]
    assert not free.records.has_running()
    assert [path.name for path in (free.config.paths.store / "tmp").iterdir()] == [free.guest]
    assert [path.name for path in free.config.paths.leases.iterdir()] == [free.guest]


def test_beside_a_builder_the_layout_catches_up_too(free: Workshop, clock: Clock) -> None:
    made = make(free, clock, 1, "whole")
    index = free.blobs.root / "index.json"
    with open_workshop(free.config, {}, clock=clock):
        index.write_text("{}")
        (free.config.paths.leases / "guest-1-0").touch()
        (free.config.paths.store / "tmp" / "guest-1-0").mkdir()
        assert collected(free).places == 1
        assert made.manifest in index.read_text()
        assert not (free.config.paths.leases / "guest-1-0").exists()


def test_a_result_is_found_or_gone_but_never_half(free: Workshop, clock: Clock) -> None:
    """Somebody claims a dead result while it is collected."""
    clock.now = NOW
    blob = free.blobs.add(b"of a dead result")
    free.records.add_result("key", "compile", "web", {"blobs": [str(blob)]}, NOW)
    with open_workshop(free.config, {}, clock=clock) as builder:
        with open_run(builder, RECIPE, "test", ()) as run:
            assert isinstance(run, Run)
            assert run.find("key") == {"blobs": [str(blob)]}
        builder.records.settle()
        assert collected(free).results == 0
        assert builder.blobs.has(blob)
    assert collected(free).results == 1
    assert not free.blobs.has(blob)


def test_a_writer_between_the_look_and_the_sweep_is_seen(free: Workshop) -> None:
    """The records change after they were looked at: they are looked at again."""
    blob = free.blobs.add(b"named just now")
    looks = []

    def look() -> Reached:
        looks.append(1)
        found = find_reached(free.records.database, Retention(free.config.keep, NOW))
        if len(looks) == 1:
            with open_guest(free.config, {}) as other:
                row = {"blobs": [str(blob)]}
                other.records.add_result("key", "compile", "web", row, NOW)
        return found

    leases = free.config.paths.leases
    swept = sweep_blobs(free.records.database, free.blobs, leases, look)
    assert swept.blobs == ()
    assert free.blobs.has(blob)
    assert len(looks) == 2


def test_a_closed_gate_holds_up_who_claims(free: Workshop) -> None:
    with open_guest(free.config, {}) as other:
        blob = other.blobs.add(b"x")
        done = threading.Event()

        def claim() -> None:
            other.blobs.claim(Digest.of(b"something new"))
            done.set()

        with closed_gate(free.config.paths.leases):
            thread = threading.Thread(target=claim)
            thread.start()
            assert not done.wait(0.1)
        thread.join(10)
        assert done.is_set()
        assert free.blobs.has(blob)


def test_rows_that_nobody_can_read_stop_a_collection(free: Workshop, clock: Clock) -> None:
    made = make(free, clock, 1, "whole")
    with free.records.database.transaction() as connection:
        connection.execute("UPDATE results SET output = '{\"layers\": 3' WHERE stage = 'image'")
    with pytest.raises(StoreError, match="expected rows of minid"):
        collected(free)
    assert all(free.blobs.has(digest) for digest in blobs_of(made.detail))


def test_logs_go_by_age_unless_their_run_stays(free: Workshop, clock: Clock) -> None:
    made = make(free, clock, 1, "whole")
    folder = free.config.paths.logs
    folder.mkdir()
    old, kept_log, young, stranger = (
        folder / name
        for name in ("000099-web.log", f"{made.run:06d}-web.log", "000098-web.log", "notes")
    )
    for path in (old, kept_log, young, stranger):
        path.write_text("text")
        os.utime(path, (NOW - 30 * DAY, NOW - 30 * DAY))
    os.utime(young, (NOW - DAY, NOW - DAY))
    assert collected(free).logs == 1
    assert sorted(folder.iterdir()) == sorted((kept_log, young, stranger))


def test_stages_of_old_runs_go(free: Workshop, clock: Clock) -> None:
    run = free.records.start_run("web", "0", "test", (), NOW - 30 * DAY)
    free.records.add_stage(run, StageRow("compile", "k", False, 1.0, {}))
    free.records.fail_run(run, "no", 20, NOW - 30 * DAY)
    made = make(free, clock, 1, "whole")
    assert collected(free).stages == 1
    assert free.records.stages(run) == []
    assert free.records.stages(made.run)
    assert free.records.run(run) is not None


DEBIAN = EnvironmentSpec(name="debian", kind="debian", suite="bookworm")


def environments(shop: Workshop) -> tuple[Workshop, Path, Path]:
    """A workshop with an environment that its recipe asks for, and another."""
    recipe = replace(RECIPE, build=Build(environment="debian"))
    config = replace(shop.config, environments=(DEBIAN,))
    folder = config.paths.environments
    wanted = folder / request_key(DEBIAN, environment_packages(recipe))
    other = folder / ("0" * 32)
    for place in (wanted, other):
        (place / "root").mkdir(parents=True)
        place.with_name(f"{place.name}.lock").touch()
    return replace(shop, config=config, recipes={"web": recipe}), wanted, other


def test_environments_that_no_recipe_asks_for_go(free: Workshop) -> None:
    shop, wanted, other = environments(free)
    with open_guest(shop.config, shop.recipes) as incomplete:
        assert collect(incomplete, complete=False).environments == ()
    assert collected(shop).environments == (other.name,)
    names = sorted(path.name for path in shop.config.paths.environments.iterdir())
    assert names == [wanted.name, f"{wanted.name}.lock"]


def test_an_environment_in_use_stays(free: Workshop) -> None:
    shop, _, other = environments(free)
    with open_guest(shop.config, {}) as user:
        user.blobs.claim(environment_token(other.name))
        assert collected(shop).environments == ()
    lock = os.open(other.with_name(f"{other.name}.lock"), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)  # somebody makes it
    assert collected(shop).environments == ()
    os.close(lock)
    assert collected(shop).environments == (other.name,)


def test_a_collection_does_not_wait_for_a_builder(free: Workshop) -> None:
    """A builder has its lock for hours; what it works on stays."""
    with open_workshop(free.config, {}) as builder:
        held = builder.blobs.add(b"being built")
        with builder.blobs.receive() as sink:
            sink.write(b"more")
            collected(free)
            assert builder.blobs.read(sink.commit()) == b"more"
        assert builder.blobs.has(held)
