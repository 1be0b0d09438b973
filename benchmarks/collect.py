"""Collections beside builds with kills, a thousand rounds; and what each of them costs.

    python benchmarks/collect.py [ROUNDS] [SEED]

Prints what was killed, lost and freed, and for how long others had to wait at most. Beside it: how
long `minid gc` takes with nothing to do, and `git gc --auto` and `git fsck` of a repository with as
many objects, as a yardstick for a store that is collected and proved.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common import minid, timed  # noqa: E402
from tests.support.collecting import Rounds, prepare  # noqa: E402
from tests.support.line import Line, line_folder  # noqa: E402


def main() -> int:
    """0 when nothing live was lost and nothing dead was left."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    with line_folder() as folder:
        line = Line(folder)
        prepare(line)
        line.build()
        rounds = Rounds(line, random.Random(seed))
        begin = time.monotonic()
        for number in range(count):
            rounds.run(number)
        print(
            f"{count} rounds in {time.monotonic() - begin:.0f} s (seed {seed}): {rounds.builds} "
            f"builds, {rounds.collections} collections beside them, {rounds.kills} killed"
        )
        print(f"lost {len(rounds.lost)}, left {len(rounds.left)}, freed {rounds.freed} blobs")
        print(f"the longest wait of others for a collection: {rounds.longest_hold_s * 1000:.1f} ms")
        for item in (*rounds.lost, *rounds.left):
            print(f"  {item}")
        line.build()
        minid(line.folder, "gc")
        figures = [minid(line.folder, "gc")[0] for _ in range(5)]
        proofs = [minid(line.folder, "verify", "--contents")[0] for _ in range(5)]
        objects = len(list((line.store / "blobs" / "sha256").iterdir()))
        print(f"minid gc with nothing to do: {min(figures):.2f} s")
        print(f"minid verify --contents of {objects} blobs: {min(proofs):.2f} s")
        compare_git(objects)
    return 1 if rounds.lost or rounds.left else 0


def compare_git(objects: int) -> None:
    """The same two questions to git."""
    if shutil.which("git") is None:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        for number in range(objects):
            (folder / str(number)).write_text(f"{number}\n" * 200)
        subprocess.run(["git", "add", "."], cwd=folder, check=True)
        gc = min(timed(["git", "gc", "--auto", "-q"], cwd=folder)[0] for _ in range(5))
        fsck = min(timed(["git", "fsck", "--full"], cwd=folder)[0] for _ in range(5))
    print(f"git gc --auto with nothing to do: {gc:.2f} s; git fsck of as many: {fsck:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
