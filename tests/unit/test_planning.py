"""Where a recipe stands: what is current, what changed, which archive is built from."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from minid.config import Config, EnvironmentSpec, Paths, Publishing
from minid.errors import ConfigError, RecipeError
from minid.formats.digest import Digest
from minid.formats.image_record import dump_image
from minid.line.planning import (
    Standing,
    archive_digests,
    assess,
    check_recipe,
    environment_packages,
    iterate_standings,
    recipe_order,
)
from minid.model import Image
from minid.recipe import (
    Alternative,
    Build,
    Check,
    Distro,
    ImageTable,
    Recipe,
    Rootfs,
    Source,
    tag_names,
)
from minid.steps.image import build_image
from minid.steps.layers import write_layer
from minid.store.blobs import Blobs
from minid.store.contents import read_content
from minid.store.records import Records
from tests.support.tiny_image import file

ARCHIVE, OTHER = Digest.of(b"archive"), Digest.of(b"other")


def recipe(name: str, kind: str = "image", base: str = "scratch", *needs: str) -> Recipe:
    return Recipe(
        name=name,
        file=Path(f"{name}.toml"),
        folder=Path(name),
        kind=kind,  # type: ignore[arg-type]
        source=Source("1.2", "https://upstream.test/x.tar.gz", ARCHIVE),
        build=Build(environment="host", needs=needs),
        rootfs=Rootfs(base=base),
    )


@dataclass
class Desk:
    """A store, recipes, and runs that end well without anything being built."""

    config: Config
    blobs: Blobs
    records: Records
    recipes: dict[str, Recipe] = field(default_factory=dict)

    def put(self, *recipes: Recipe) -> None:
        self.recipes |= {item.name: item for item in recipes}

    def stand(self, name: str, **changes: Any) -> Standing:
        config = replace(self.config, **changes)
        return assess(
            recipe_order(self.recipes, [name]),
            self.recipes,
            config=config,
            blobs=self.blobs,
            records=self.records,
            machine="x86_64",
        )[name]

    def image(self, made: Recipe) -> Image:
        read = read_content(self.blobs)
        layer, _ = write_layer((file("f", b"x"),), read, self.blobs, created_by="test")
        return build_image(
            made, layers=(layer,), base=None, created=0, architecture="amd64", blobs=self.blobs
        )

    def finish(self, name: str) -> Image | None:
        """Record what a good run of the recipe records."""
        made = self.recipes[name]
        plan = self.stand(name).plan
        assert plan is not None
        run = self.records.start_run(name, made.source.version, "asked", (), 1.0)
        tree = {"tree": str(self.blobs.add(b"[]")), "blobs": []}
        self.records.add_result(plan.compile, "compile", name, tree, 1.0)
        image = None
        if made.kind == "image":
            image = self.image(made)
            detail = {**dump_image(image), **tree}
            self.records.add_result(plan.image, "image", name, detail, 1.0)
            self.records.publish(run, detail, tag_names(made), 1.0)
        self.records.finish_run(run, name, str(image.manifest) if image else "", plan.inputs, 1.0)
        return image


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    blobs = Blobs(tmp_path / "store")
    blobs.prepare()
    records = Records(tmp_path / "records.sqlite", writable=True)
    config = Config(
        file=None,
        paths=Paths(recipes=tmp_path / "recipes", state=tmp_path),
        environments=(EnvironmentSpec("host", "host", packages=()),),
        publish=Publishing(docker="off"),
    )
    yield Desk(config, blobs, records)
    records.close()


def test_order_has_each_recipe_after_what_it_stands_on() -> None:
    recipes = {
        item.name: item
        for item in (
            recipe("top", "image", "mid", "lib"),
            recipe("mid", "image", "low"),
            recipe("low"),
            recipe("lib", "library", "scratch", "deep"),
            recipe("deep", "library"),
            recipe("unasked"),
        )
    }
    order = recipe_order(recipes, ["top", "low"])
    assert set(order) == {"top", "mid", "low", "lib", "deep"}
    assert len(order) == 5
    for above, below in (("top", "mid"), ("mid", "low"), ("top", "lib"), ("lib", "deep")):
        assert order.index(below) < order.index(above)


def test_unknown_recipes_are_told_with_who_asked() -> None:
    with pytest.raises(RecipeError, match=r"recipes: expected a recipe .* got 'none'"):
        recipe_order({}, ["none"])
    with pytest.raises(RecipeError, match=r"top\.toml: expected a recipe .* got 'none'"):
        recipe_order({"top": recipe("top", "image", "none")}, ["top"])


def test_accepted_archives_the_preferred_one_first() -> None:
    third = Digest.of(b"third")
    source = replace(
        recipe("a").source,
        alternatives=(Alternative("https://upstream.test/y", OTHER),),
        distro=Distro("a", "1.2", third),
    )
    assert archive_digests(replace(recipe("a"), source=source)) == (ARCHIVE, OTHER, third)
    same = replace(source, alternatives=(), distro=Distro("a", "1.2", ARCHIVE))
    assert archive_digests(replace(recipe("a"), source=same)) == (ARCHIVE,)


def test_equal_wishes_for_packages_are_one() -> None:
    one = replace(recipe("a"), build=Build(packages=("b", "a", "b")))
    assert environment_packages(one) == ("a", "b")


def test_an_environment_that_config_has_not(desk: Desk) -> None:
    made = replace(recipe("a"), build=Build(environment="centos"))
    wanted = r"a\.toml: build\.environment: .*host.*'centos'"
    with pytest.raises(ConfigError, match=wanted) as caught:
        check_recipe(made, desk.config)
    assert "[environments.centos]" in caught.value.hint


def test_before_the_first_run(desk: Desk) -> None:
    desk.put(recipe("web"))
    standing = desk.stand("web")
    assert not standing.current
    assert standing.image is None
    assert standing.plan is not None
    assert standing.changes == tuple(sorted(standing.plan.inputs))


def test_after_a_good_run(desk: Desk) -> None:
    desk.put(recipe("low"), recipe("web", "image", "low", "lib"), recipe("lib", "library"))
    images = {name: desk.finish(name) for name in ("low", "lib", "web")}
    for name, image in images.items():
        standing = desk.stand(name)
        assert standing.current, name
        assert (standing.image, standing.changes, standing.pending) == (image, (), ())


def test_any_changed_input_wants_a_run(desk: Desk) -> None:
    desk.put(recipe("web"))
    desk.finish("web")
    desk.put(replace(recipe("web"), image=ImageTable(cmd=("web",))))
    standing = desk.stand("web")
    assert (standing.current, standing.changes, standing.image) == (False, ("image.cmd",), None)


def test_a_failed_check_is_not_forgotten(desk: Desk) -> None:
    desk.put(recipe("web"))
    image = desk.finish("web")
    assert image is not None
    # The same image with another check: its run made the image and failed then.
    desk.put(replace(recipe("web"), checks=(Check("tcp", port=80),)))
    plan = desk.stand("web").plan
    assert plan is not None
    detail = {**dump_image(image), "tree": "", "blobs": []}
    desk.records.add_result(plan.image, "image", "web", detail, 2.0)
    run = desk.records.start_run("web", "1.2", "asked", (), 2.0)
    desk.records.fail_run(run, "no answer", 24, 2.0)
    standing = desk.stand("web")
    assert standing.image == image
    assert (standing.current, standing.changes) == (False, ("check",))


def test_whoever_stands_on_it_is_not_current_either(desk: Desk) -> None:
    desk.put(recipe("low"), recipe("web", "image", "low"))
    desk.finish("low")
    desk.finish("web")
    desk.put(replace(recipe("low"), image=ImageTable(user="nobody")))
    assert not desk.stand("web").current
    assert desk.stand("web").changes == ("base",)


def test_a_tag_that_points_elsewhere(desk: Desk) -> None:
    desk.put(recipe("web"), recipe("other"))
    desk.finish("web")
    desk.finish("other")
    assert desk.stand("web").current
    other = desk.stand("other").image
    assert other is not None
    desk.records.publish(1, {**dump_image(other)}, ["web:latest"], 2.0)
    assert not desk.stand("web").current


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_an_image_that_lost_a_part(desk: Desk, part: str) -> None:
    desk.put(recipe("web"))
    image = desk.finish("web")
    assert image is not None
    digests = {
        "manifest": image.manifest,
        "config": image.config,
        "layer": image.layers[0].digest,
    }
    desk.blobs.path(digests[part]).unlink()
    standing = desk.stand("web")
    assert (standing.current, standing.image, standing.changes) == (False, None, ())


def test_a_library_that_lost_its_tree(desk: Desk) -> None:
    desk.put(recipe("lib", "library"))
    desk.finish("lib")
    desk.blobs.path(Digest.of(b"[]")).unlink()
    assert not desk.stand("lib").current


def test_a_target_that_lacks_the_image(desk: Desk, tmp_path: Path) -> None:
    desk.put(recipe("web"))
    desk.finish("web")
    standing = desk.stand("web", publish=Publishing("off", tmp_path / "export"))
    assert (standing.current, standing.pending, standing.changes) == (False, ("export",), ())


def test_the_archive_that_was_built_then_the_one_that_is_here(desk: Desk) -> None:
    source = recipe("web").source
    both = replace(source, alternatives=(Alternative("https://upstream.test/y", OTHER),))
    desk.put(replace(recipe("web"), source=both))
    assert desk.stand("web").archive == ARCHIVE
    desk.blobs.add(b"other")
    assert desk.stand("web").archive == OTHER
    desk.blobs.add(b"archive")
    assert desk.stand("web").archive == ARCHIVE
    # It was built from the other one: that result counts.
    desk.put(replace(recipe("web"), source=replace(source, sha256=OTHER)))
    desk.finish("web")
    desk.put(replace(recipe("web"), source=both))
    assert desk.stand("web").archive == OTHER
    assert desk.stand("web").current


def test_an_environment_that_is_not_made_yet(desk: Desk) -> None:
    spec = EnvironmentSpec("debian", "debian", suite="bookworm")
    config = {"environments": (*desk.config.environments, spec)}
    desk.put(
        replace(recipe("low"), build=Build(environment="debian")), recipe("web", "image", "low")
    )
    for name in ("low", "web"):
        standing = desk.stand(name, **config)
        assert (standing.plan, standing.current, standing.changes) == (None, False, ())


def test_standings_one_after_the_other_are_those_of_all(desk: Desk) -> None:
    desk.put(recipe("low"), recipe("lib", "library"), recipe("web", "image", "low", "lib"))
    desk.finish("low")
    order = recipe_order(desk.recipes, ["web"])
    words: dict[str, Any] = {
        "config": desk.config,
        "blobs": desk.blobs,
        "records": desk.records,
        "machine": "x86_64",
    }
    found = list(iterate_standings(order, desk.recipes, **words))
    assert [standing.recipe.name for standing in found] == list(order)
    assert {item.recipe.name: item for item in found} == assess(order, desk.recipes, **words)
    assert [standing.current for standing in found] == [False, True, False]


def test_an_order_of_many_that_stand_on_each_other() -> None:
    names = [f"r{number:04}" for number in range(1500)]
    recipes = {
        name: recipe(name, "library", "", *below)
        for name, below in zip(names, [[], *([name] for name in names)], strict=False)
    }
    assert recipe_order(recipes, [names[-1]]) == tuple(names)


def test_an_engine_that_hangs_is_waited_for_once(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("low", "web", "app")
    desk.put(recipe("low"), recipe("web", "image", "low"), recipe("app", "image", "web"))
    for name in names:
        desk.finish(name)
    address = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(address))
        engine.listen()
        engine.setblocking(False)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")
        assert desk.stand("app", publish=Publishing("auto")).current
        engine.accept()[0].close()
        with pytest.raises(BlockingIOError):
            engine.accept()
