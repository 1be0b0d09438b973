"""The ten invariants: each kind of damage is told as what it is, none is missed, and what can be
mended is."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minid.config import Config
from minid.errors import StoreError
from minid.formats.digest import Digest
from minid.line.workshop import Workshop, open_guest, open_workshop
from minid.recipe import Build, File, Recipe, Rootfs, Source
from minid.store.blobs import Blobs
from minid.store.edits import EditRow, Edits
from minid.store.records import Records
from minid.workbench.proof import INVARIANTS, Finding
from minid.workbench.proof_blobs import prove_content
from minid.workbench.proof_images import prove_layers
from minid.workbench.repairing import repair
from minid.workbench.scratch import Design, Made, elf_file, file, folder, make_image
from minid.workbench.selftest import Trial, prove, run_selftest, scratch_config
from minid.workbench.verifying import open_case, verify


@dataclass
class Store:
    """A scratch store with two images."""

    config: Config
    base: Made
    web: Made

    @property
    def blobs(self) -> Blobs:
        return Blobs(self.config.paths.store)

    def digests(self) -> list[Digest]:
        return sorted(Digest(path.name) for path in self.blobs.folder.iterdir())

    def layer(self, key: str) -> Digest:
        layers = self.web.detail["layers"]
        assert isinstance(layers, list)
        return Digest.parse(layers[0][key])

    def write(self, digest: Digest, data: bytes) -> None:
        path = self.blobs.path(digest)
        path.chmod(0o644)
        path.write_bytes(data)
        path.chmod(0o444)

    def kinds(self) -> list[str]:
        return [item.invariant for item in prove(self.config)]

    def repair(self) -> list[str]:
        found = prove(self.config)
        assert found
        with open_guest(self.config, {}) as shop:
            return repair(shop, found)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    config = scratch_config(tmp_path)
    with open_workshop(config, {}, clock=lambda: 1000.0) as shop:
        big = random.Random(1).randbytes(300_000)
        entries = (folder(""), file("data", big), file("text", b"small"))
        web = Design("web", tags=("web:1.0", "web:latest"), entries=entries)
        return Store(config, make_image(shop, Design()), make_image(shop, web))


def test_each_kind_of_damage_is_told_as_that(tmp_path: Path) -> None:
    trials = run_selftest(tmp_path)
    assert [trial.invariant for trial in trials] == ["", *INVARIANTS]
    assert [trial for trial in trials if not trial.passed] == []
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_finds_something_else_fails() -> None:
    other = Finding("rows", "x", "y")
    assert not Trial("content", "x", (other,), 0.1).passed
    assert not Trial("content", "x", (), 0.1).passed
    assert not Trial("", "x", (other,), 0.1).passed


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def test_a_thousand_flips_and_truncations_are_all_found(store: Store) -> None:
    chance = random.Random(20260101)
    digests = store.digests()
    records = Records(store.config.paths.records, writable=False)
    case = open_case(store.config, records, {}, contents=True)
    assert list(prove_content(case)) == []
    missed = []
    for number in range(1000):
        digest = chance.choice(digests)
        sound = store.blobs.path(digest).read_bytes()
        damage = (_flip, _truncate)[number % 2]
        store.write(digest, damage(sound, chance))
        found = [item.blob for item in prove_content(replace(case, bad=set()))]
        if found != [digest]:
            missed.append((number, digest, found))
        store.write(digest, sound)
    records.close()
    assert missed == []


@pytest.mark.parametrize("keys", [("manifest", "config", "report", "tree"), ("diff_id",)])
def test_what_is_read_anyway_is_told_by_its_blob(store: Store, keys: Sequence[str]) -> None:
    """Without hashing all: each blob that a proof reads, and the rest is proved all the same."""
    facts = dict(store.web.detail) | {"diff_id": store.layer("diff_id")}
    read = {Digest.parse(str(facts[key])) for key in keys}
    for digest in read:
        data = store.blobs.path(digest).read_bytes()
        store.write(digest, data[: len(data) // 2])
    (store.config.paths.store / "strange").touch()
    records = Records(store.config.paths.records, writable=False)
    found = verify(lambda: open_case(store.config, records, {}))
    records.close()
    assert {item.blob for item in found if item.invariant == "content"} == read
    assert [item.invariant for item in found if item.blob not in read] == ["files"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.chmod(0o644),
        lambda path: (path.parent.parent.parent / "tmp" / "other").hardlink_to(path),
    ],
)
def test_looks_are_told_without_hashing_and_set_right(
    store: Store, spoil: Callable[[Path], None]
) -> None:
    path = store.blobs.path(store.layer("digest"))
    spoil(path)
    records = Records(store.config.paths.records, writable=False)
    found = list(prove_content(open_case(store.config, records, {})))
    records.close()
    assert [item.blob for item in found] == [store.layer("digest")]
    (line,) = (line for line in store.repair() if line.startswith("blob"))
    assert line.endswith("mode and links set right")
    assert store.kinds() == []


def test_a_symlink_is_no_blob(store: Store, tmp_path: Path) -> None:
    digest = store.layer("digest")
    path = store.blobs.path(digest)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert store.kinds() == ["content"]
    store.repair()
    assert store.kinds() == []
    assert not path.is_symlink()


@pytest.mark.parametrize("key", ["digest", "diff_id"])
def test_a_layer_is_made_again_of_its_twin(store: Store, key: str) -> None:
    """The tar is 300 kB with a large file: its gzip comes in pieces."""
    digest = store.layer(key)
    sound = store.blobs.path(digest).read_bytes()
    store.write(digest, sound[:-1])
    done = store.repair()
    assert any(f"blob {digest}: made again from its" in line for line in done)
    assert store.blobs.path(digest).read_bytes() == sound
    assert (store.config.paths.store / "quarantine" / digest.hex).read_bytes() == sound[:-1]
    assert store.kinds() == []


def test_what_cannot_be_had_again_loses_its_results(store: Store) -> None:
    store.blobs.path(store.web.install_tar).unlink()
    assert store.kinds() == ["rows"]
    assert any("results that lost their blobs" in line for line in store.repair())
    assert store.kinds() == []
    records = Records(store.config.paths.records, writable=False)
    left = {str(stage) for (stage,) in records.database.query("SELECT stage FROM results")}
    records.close()
    assert "image" in left


def test_an_image_that_is_lost_is_told_until_it_is_built(store: Store) -> None:
    for key in ("digest", "diff_id"):
        store.blobs.path(store.layer(key)).unlink()
    assert set(store.kinds()) == {"rows"}
    store.repair()
    assert set(store.kinds()) == {"rows"}
    with open_workshop(store.config, {}, clock=lambda: 2000.0) as shop:
        assert shop.records.tagged("web:1.0") == store.web.manifest
        query = shop.records.database.query
        assert query("SELECT 1 FROM results WHERE recipe = 'web' AND stage = 'image'") == []


def test_the_index_is_written_again_and_strangers_go(store: Store) -> None:
    root = store.config.paths.store
    (root / "index.json").write_text("{}")
    (root / "blobs" / "notes").write_text("mine")
    assert store.kinds() == ["files", "tags"]
    store.repair()
    assert store.kinds() == []
    assert (root / "quarantine" / "notes").read_text() == "mine"


def test_a_run_without_a_process_is_ended(store: Store) -> None:
    with open_workshop(store.config, {}) as shop:
        shop.records.start_run("web", "2", "x", (), 1.0)
    assert store.kinds() == ["database"]
    store.repair()
    assert store.kinds() == []


def test_a_gap_in_a_tags_history_is_told(store: Store) -> None:
    with open_guest(store.config, {}) as shop, shop.records.database.transaction() as connection:
        connection.execute(
            "UPDATE publications SET from_manifest = ? WHERE name = 'web:1.0'",
            (store.base.manifest,),
        )
    assert store.kinds() == ["tags"]


def test_a_run_that_never_passed_its_check_is_told(store: Store) -> None:
    with open_guest(store.config, {}) as shop, shop.records.database.transaction() as connection:
        connection.execute("UPDATE runs SET status = 'failed' WHERE id = ?", (store.web.run,))
        connection.execute("DELETE FROM stages WHERE name = 'check'")
    assert set(store.kinds()) == {"tags"}


def _corrupt(path: Path, _chance: random.Random) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(4096))


def _scramble(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = chance.randbytes(64)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_corrupt, _scramble])
def test_a_damaged_database_is_told_as_that(
    store: Store, damage: Callable[[Path, random.Random], None]
) -> None:
    damage(store.config.paths.records, random.Random(5))
    try:
        assert set(store.kinds()) == {"database"}
    except StoreError as error:
        assert "records.sqlite" in error.message  # the command tells this as a finding


ROWS: Sequence[str] = ("{", "[]", '{"blobs": ["x"]}', '{"layers": [3]}', "null", '{"tree": "sha"}')


@pytest.mark.parametrize("text", ROWS)
def test_rows_that_cannot_be_read_are_told_and_dropped(store: Store, text: str) -> None:
    with open_guest(store.config, {}) as shop, shop.records.database.transaction() as connection:
        connection.execute("UPDATE results SET output = ? WHERE stage = 'compile'", (text,))
    assert set(store.kinds()) == {"rows"}
    store.repair()
    assert store.kinds() == []


def test_layers_of_strangers_are_not_judged_by_our_rules(store: Store) -> None:
    entries = (folder(""), file(".wh.gone", b""))
    with open_workshop(store.config, {}, clock=lambda: 3000.0) as shop:
        made = make_image(shop, Design("dirty", tags=("dirty:1",), entries=entries))
        _as_loaded(shop, made)
    assert "layers" not in store.kinds()


def test_rights_are_judged_by_the_recipe_that_there_is(store: Store) -> None:
    entries = (folder(""), file("su", b"x", 0o4755))
    with open_workshop(store.config, {}, clock=lambda: 3000.0) as shop:
        make_image(shop, Design("rights", tags=("rights:1",), entries=entries))
    path = store.config.paths.recipes / "rights.toml"
    source = Source(version="1.0", url="", sha256=Digest.of(b""))
    silent = Recipe("rights", path, path.parent, "image", source, Build())
    asking = replace(silent, rootfs=Rootfs(files=(File("/su", content="x", mode=0o4755),)))
    told = []
    records = Records(store.config.paths.records, writable=False)
    for recipes in ({"rights": silent}, {"rights": asking}, {}):
        case = open_case(store.config, records, recipes)
        told.append([item.text for item in prove_layers(case)])
    records.close()
    assert [len(texts) for texts in told] == [1, 0, 0]


def _as_loaded(shop: Workshop, made: Made) -> None:
    detail = {**made.detail, "recipe": ""}
    shop.records.publish(made.run, detail, ["dirty:1"], 3000.0)


@pytest.mark.parametrize("again", [False, True])
def test_an_edited_image_is_of_the_run_below(store: Store, *, again: bool) -> None:
    """By hand, or made again by the run itself, which never tagged what was below."""
    with open_workshop(store.config, {}, clock=lambda: 3000.0) as shop:
        plain = make_image(shop, Design("edited", tags=() if again else ("edited:1",)))
        edited = make_image(shop, Design("edited", tags=("edited:1",), comment="by hand"))
        edit = EditRow("set", "edited", plain.manifest, edited.manifest, "ann", 3.0)
        edit = replace(edit, detail={"root": plain.manifest, "chain": []})
        Edits(shop.records.database).add(edit)
        other = edited.run if not again else plain.run
        with shop.records.database.transaction() as connection:
            connection.execute("UPDATE runs SET manifest = '' WHERE id = ?", (other,))
            if not again:
                connection.execute(
                    "UPDATE publications SET run = ? WHERE run = ?", (plain.run, edited.run)
                )
    assert "provenance" not in store.kinds()
    with open_workshop(store.config, {}, clock=lambda: 4000.0) as shop:  # undone
        edit = EditRow("undo", "edited", edited.manifest, plain.manifest, "ann", 4.0)
        number = Edits(shop.records.database).add(edit)
        shop.records.publish(0, plain.detail, ["edited:1"], 4.0, edit=number)
    assert "provenance" not in store.kinds()


def test_an_elf_file_of_the_selftest_is_one() -> None:
    from minid.formats.elf import parse_elf

    elf = parse_elf(elf_file(needed="liba.so", soname="libb.so"))
    assert elf is not None
    assert (elf.needed, elf.soname) == (("liba.so",), "libb.so")
