"""How long busybox and nginx take from source: minid beside a Dockerfile in BuildKit.

    python benchmarks/cold.py FOLDER [--runs 1] [--json]

Both start with their toolchain ready and the archives local, and compile everything. The
Dockerfile is written from the recipes, so that the steps are the same, and its stages begin with
images of the very trees that minid compiles in. The usual two-stage file builds one program after
the other; a file with a build stage for each, which BuildKit runs side by side, is measured too. It
makes an image that serves the same page, by
hand: no test, no record, no closure besides what `ldd` says. FOLDER is kept; minid fills it first.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from common import (
    PREFIX,
    describe_machine,
    docker_build,
    find_buildkit,
    minid,
    prepare_folder,
    remove_images,
    show,
    timed,
)

from minid.config import Config
from minid.config_reader import load_config
from minid.formats.digest import Digest
from minid.line.planning import archive_digests, existing_environment
from minid.recipe import Recipe
from minid.recipe_reader import load_recipes
from minid.store.blobs import Blobs

NAMES = ("busybox", "nginx")
TAG = f"{PREFIX}-dockerfile:latest"
IN_TURN = "BuildKit, two-stage file"
SIDE_BY_SIDE = "BuildKit, a stage for each"

STAGE = """\
FROM {image} AS {name}
ENV {environ}
ARG STAMP
RUN mkdir -p /build && echo "$STAMP" >/build/stamp
ADD {name}.archive /build/unpacked/
RUN mv /build/unpacked/* /build/src
WORKDIR /build/src
{steps}
"""
# What a careful person writes below the compile step of nginx.
TRIM = """\
RUN set -e; cd /build/out; \\
    rm -rf usr/local/nginx/html usr/local/nginx/conf/*.default; \\
    strip usr/local/nginx/sbin/nginx; \\
    for file in $(ldd usr/local/nginx/sbin/nginx | grep -o '/[^ ]*'); do \\
      mkdir -p .$(dirname $file); cp -L $file .$file; strip --strip-unneeded .$file; \\
    done; \\
    sed -i -e '1i daemon off;' -e 's|^            root   html;|            root /var/www/html;|' \\
      usr/local/nginx/conf/nginx.conf; \\
    mkdir -p etc run var/tmp/nginx usr/sbin var/www/html; \\
    echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd; echo 'root:x:0:' >etc/group; \\
    echo 'nginx:x:100:100::/var/lib/nginx:/bin/false' >>etc/passwd; \\
    echo 'nginx:x:100:' >>etc/group; \\
    ln -s /usr/local/nginx/sbin/nginx usr/sbin/nginx; \\
    echo '<h1>hello nginx</h1>' >var/www/html/index.html
"""
FINAL = """\
FROM scratch
COPY --from=busybox /build/out /
COPY --from=nginx /build/out /
CMD ["nginx"]
"""


def write_context(context: Path, config: Config, recipes: dict[str, Recipe], jobs: int) -> None:
    """The archives and two Dockerfiles: `Dockerfile`, whose stages are independent, and `in-turn`,
    whose second stage begins with a file of the first, as one build stage for both would."""
    parts = []
    for name in NAMES:
        recipe = recipes[name]
        archive = find_archive(recipe, config)
        shutil.copyfile(Blobs(config.paths.store).path(archive), context / f"{name}.archive")
        environ = {"JOBS": str(jobs), "DESTDIR": "/build/out", "VERSION": recipe.source.version}
        words = " ".join(f"{key}={value}" for key, value in environ.items())
        for position, step in enumerate(recipe.build.steps):
            (context / f"{name}-{position}.sh").write_text(step + "\n")
        steps = [f"COPY {name}-*.sh /build/steps/"]
        steps += [
            f"RUN sh -eu /build/steps/{name}-{position}.sh"
            for position in range(len(recipe.build.steps))
        ]
        parts.append(
            STAGE.format(
                image=f"{PREFIX}-toolchain-{name}",
                name=name,
                environ=words,
                steps="\n".join(steps),
            )
        )
    text = "\n".join([*parts, TRIM, FINAL])
    (context / "Dockerfile").write_text(text)
    after = " AS nginx\n"
    waits = f"{after}COPY --from=busybox /build/out/bin/busybox /build/base/\n"
    (context / "in-turn").write_text(text.replace(after, waits))


def find_archive(recipe: Recipe, config: Config) -> Digest:
    """The archive that minid compiled."""
    blobs = Blobs(config.paths.store)
    found = next((each for each in archive_digests(recipe) if blobs.has(each)), None)
    if found is None:
        sys.exit(f"{recipe.name}: expected its archive in the store, got nothing")
    return found


def import_toolchains(docker: str, config: Config, recipes: dict[str, Recipe]) -> None:
    """The environments as images. Their files belong to root there, as they do in the sandbox."""
    for name in NAMES:
        environment = existing_environment(recipes[name], config)
        if environment is None or environment.kind == "host":
            sys.exit(f"{name}: expected an environment with a tree of its own")
        argv = [
            "tar",
            "-C",
            environment.root,
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "-c",
            ".",
        ]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as tar:
            subprocess.run(
                [docker, "import", "-", f"{PREFIX}-toolchain-{name}:latest"],
                stdin=tar.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
            )


def forget_all(config: Config, keep: list[Digest]) -> None:
    """Leave the environments and the archives; everything else is to be made again."""
    blobs = Blobs(config.paths.store)
    kept = config.paths.state / "kept"
    kept.mkdir()
    for digest in keep:
        blobs.path(digest).rename(kept / digest.hex)
    for entry in config.paths.state.iterdir():
        if entry.name in {"environments", "kept"}:
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    blobs.prepare()
    for path in kept.iterdir():
        path.rename(blobs.folder / path.name)
    kept.rmdir()


def image_sizes(docker: str, tag: str) -> dict[str, int]:
    """Bytes of an image in the engine: unpacked, and of its archive under `gzip -9`."""
    size = int(timed([docker, "image", "inspect", "--format", "{{.Size}}", tag])[1])
    saved = subprocess.run([docker, "save", tag], capture_output=True, check=True).stdout
    return {"unpacked": size, "archive": len(gzip.compress(saved, 9))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    docker = find_buildkit()
    if docker is None:
        sys.exit("docker: expected an engine and a client that builds with BuildKit")
    folder = options.folder.resolve()
    machine = describe_machine()
    prepare_folder(folder, docker=True)
    minid(folder, "build", "nginx")
    config = load_config(folder / "config.toml", os.environ)
    recipes, _ = load_recipes(config.paths.recipes)
    context = folder / "context-cold"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    write_context(context, config, recipes, len(os.sched_getaffinity(0)))
    import_toolchains(docker, config, recipes)
    archives = [find_archive(recipes[name], config) for name in NAMES]
    rows: dict[str, list[float]] = {"minid": [], IN_TURN: [], SIDE_BY_SIDE: []}
    printed = "[]"
    for turn in range(options.runs):
        for name in list(rows) if turn % 2 == 0 else list(reversed(rows)):
            if name == "minid":
                forget_all(config, archives)
                seconds, printed = minid(folder, "build", "nginx", "--json")
            else:
                file = context / ("in-turn" if name == IN_TURN else "Dockerfile")
                # BuildKit takes over what an equal step of another build made just now, even so.
                stamp = f"STAMP={time.time_ns()}"
                seconds = docker_build(
                    docker, context, TAG, "--no-cache", "--build-arg", stamp, "-f", str(file)
                )
            rows[name].append(seconds)
    ratios = {
        name: [round(own / peer, 3) for own, peer in zip(rows["minid"], rows[name], strict=True)]
        for name in (IN_TURN, SIDE_BY_SIDE)
    }
    sizes = {
        "minid, as it says": json.loads(printed)[-1]["sizes"],
        "minid, as docker says": image_sizes(docker, f"{PREFIX}-nginx:latest"),
        "Dockerfile, as docker says": image_sizes(docker, TAG),
    }
    remove_images(docker)
    show(
        machine,
        rows,
        as_json=options.json,
        ratios=ratios,
        sizes=sizes,
    )


if __name__ == "__main__":
    main()
