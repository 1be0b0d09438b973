"""Images: what a base hands down, history, labels, the budget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minid.errors import ImageError
from minid.formats.digest import Digest
from minid.formats.image_record import dump_image, parse_image
from minid.formats.oci import RunConfig
from minid.model import Content, Entry, Image, Layer, Sizes, Tree
from minid.recipe import Build, ImageTable, Recipe, Source
from minid.steps.image import Base, build_image, check_budget, derive_run_config, image_labels
from minid.store.blobs import Blobs

RECIPE = Recipe(
    name="web",
    file=Path("web.toml"),
    folder=Path("web"),
    kind="image",
    source=Source("1.2.3", "https://upstream.test/web.tar.gz", Digest.of(b"")),
    build=Build(),
)
BELOW = RunConfig(
    env=("PATH=/bin", "LANG=C"),
    entrypoint=("/bin/init",),
    cmd=("sh",),
    user="nobody",
    workdir="/srv",
    expose=("80/tcp",),
    volumes=("/data",),
    stop_signal="SIGTERM",
)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "store")
    made.prepare()
    return made


def layer(name: str) -> Layer:
    return Layer(Digest.of(name.encode()), Digest.of(b"gz" + name.encode()), 10, 100, name)


def build(
    blobs: Blobs, *names: str, base: Base | None = None, **table: Any
) -> tuple[Image, dict[str, Any]]:
    """The image of these layers, and its configuration as stored."""
    made = build_image(
        replace(RECIPE, image=ImageTable(**table)),
        layers=tuple(layer(name) for name in names),
        base=base,
        created=1700000000,
        architecture="amd64",
        blobs=blobs,
    )
    return made, json.loads(blobs.read(made.config))


def test_nothing_said_is_as_the_base_has_it() -> None:
    assert derive_run_config(ImageTable(), BELOW) == BELOW


def test_an_entrypoint_clears_the_inherited_cmd() -> None:
    made = derive_run_config(ImageTable(entrypoint=("/bin/web",)), BELOW)
    assert (made.entrypoint, made.cmd) == (("/bin/web",), ())
    made = derive_run_config(ImageTable(entrypoint=("/bin/web",), cmd=("-f",)), BELOW)
    assert (made.entrypoint, made.cmd) == (("/bin/web",), ("-f",))
    made = derive_run_config(ImageTable(cmd=("-f",)), BELOW)
    assert (made.entrypoint, made.cmd) == (("/bin/init",), ("-f",))


def test_empty_lists_take_away() -> None:
    made = derive_run_config(ImageTable(entrypoint=(), cmd=()), BELOW)
    assert (made.entrypoint, made.cmd) == ((), ())


def test_lists_grow_and_variables_are_replaced_in_place() -> None:
    table = ImageTable(
        env=(("PATH", "/web"), ("NEW", "a=b")),
        expose=("443/tcp", "80/tcp"),
        volumes=("/logs",),
        user="web",
        workdir="/web",
        stop_signal="SIGQUIT",
    )
    made = derive_run_config(table, BELOW)
    assert made.env == ("PATH=/web", "LANG=C", "NEW=a=b")
    assert made.expose == ("80/tcp", "443/tcp")
    assert made.volumes == ("/data", "/logs")
    assert (made.user, made.workdir, made.stop_signal) == ("web", "/web", "SIGQUIT")


def test_there_is_always_a_path() -> None:
    made = derive_run_config(ImageTable(env=(("A", "b"),)), RunConfig())
    assert [item.partition("=")[0] for item in made.env] == ["PATH", "A"]


def test_history_has_one_entry_with_a_layer_per_layer(blobs: Blobs) -> None:
    below, config = build(blobs, "busybox", cmd=("sh",))
    made, config = build(
        blobs,
        "payload",
        "own",
        base=Base(below.layers, config),
        entrypoint=("/bin/web",),
        expose=("80/tcp",),
        author="somebody",
    )
    lines = [(line["created_by"], line.get("empty_layer", False)) for line in config["history"]]
    assert lines == [
        ("busybox", False),
        ('CMD ["sh"]', True),
        ("payload", False),
        ("own", False),
        ("EXPOSE 80/tcp", True),
        ('ENTRYPOINT ["/bin/web"]', True),
    ]
    assert config["rootfs"]["diff_ids"] == [
        str(Digest.of(name)) for name in (b"busybox", b"payload", b"own")
    ]
    assert [item.created_by for item in made.layers] == ["busybox", "payload", "own"]
    assert "Cmd" not in config["config"]
    manifest = json.loads(blobs.read(made.manifest))
    assert [item["digest"] for item in manifest["layers"]] == [
        str(item.digest) for item in made.layers
    ]


def test_a_flat_image_keeps_what_the_base_says_and_not_its_history(blobs: Blobs) -> None:
    _, config = build(blobs, "busybox", cmd=("sh",), env=(("A", "b"),))
    _, flat = build(blobs, "all", base=Base((), {**config, "history": []}))
    assert flat["config"]["Cmd"] == ["sh"]
    assert "A=b" in flat["config"]["Env"]
    assert [line["created_by"] for line in flat["history"]] == ["all"]


def test_equal_recipes_give_equal_images(blobs: Blobs) -> None:
    words: dict[str, Any] = {"env": (("A", "b"),), "labels": (("x", "y"),), "comment": "{version}"}
    assert build(blobs, "payload", **words) == build(blobs, "payload", **words)
    assert build(blobs, "payload", **words)[0].manifest != build(blobs, "payload")[0].manifest


def test_sizes_and_tags(blobs: Blobs) -> None:
    made, _ = build(blobs, "payload", "own", tags=("{version}", "{major}", "old:1"))
    assert (made.sizes.unpacked, made.sizes.layers) == (200, 20)
    assert made.tags == ("web:1.2.3", "web:1", "old:1")
    assert parse_image(json.loads(json.dumps(dump_image(made)))) == made


def test_labels_of_the_recipe_win() -> None:
    title = "org.opencontainers.image.title"
    made = replace(
        RECIPE, license="MIT", image=ImageTable(labels=((title, "Web {major}"), ("own", "x")))
    )
    assert image_labels(made) == {
        "org.minid.recipe": "web",
        title: "Web 1",
        "org.opencontainers.image.version": "1.2.3",
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.source": RECIPE.source.url.replace("{version}", "1.2.3"),
        "org.opencontainers.image.revision": str(RECIPE.source.sha256),
        "own": "x",
    }


def test_over_budget_the_largest_files_are_named() -> None:
    tree = Tree(
        (
            *(
                Entry(f"f{size}", "file", 0o644, 0, content=Content(Digest.of(b""), size << 20))
                for size in (3, 9, 1, 7, 2, 5)
            ),
            Entry("folder", "directory", 0o755, 0),
            Entry("link", "hardlink", 0, 0, target="f9"),
        )
    )
    made = replace(RECIPE, image=ImageTable(budget_bytes=20 << 20))
    check_budget(made, Sizes(20 << 20, 0, 0), lambda: tree)
    check_budget(RECIPE, Sizes(1 << 40, 0, 0), lambda: tree)
    with pytest.raises(ImageError, match=r"web\.toml: image\.budget: expected at most") as caught:
        check_budget(made, Sizes((20 << 20) + 1, 0, 0), lambda: tree)
    named = caught.value.hint.removeprefix("the largest files: ").split(", ")
    assert [item.split()[0] for item in named] == ["/f9", "/f7", "/f5", "/f3", "/f2"]
