"""`minid shell`: work in the root of an image, see what that changed, take it back or keep it."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minid.cli.folder import add_json_option, load_folder_config
from minid.cli.shell_session import run_command
from minid.cli.shell_view import change_json, print_changes, say, short
from minid.cli.store_reader import find_image, open_blobs, open_records
from minid.cli.trailing_words import take_command
from minid.cli.words import print_json, printable
from minid.config import Config
from minid.errors import UsageError
from minid.line.workshop import refuse_foreign

if TYPE_CHECKING:
    from minid.formats.changes import Change
    from minid.host.bench_container import Command
    from minid.host.bench_tools import ToolRoot
    from minid.store.blobs import Blobs
    from minid.store.records import Records
    from minid.workbench.shell_bench import Bench
    from minid.workbench.shell_source import Source


def configure_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `minid shell`."""
    parser.usage = "minid shell [NAME] [--run ID] [options] [-- COMMAND...]"
    parser.add_argument("name", nargs="?", metavar="NAME", help="a tag, a recipe, or a digest")
    parser.add_argument("--run", type=int, metavar="ID", help="the root that this run had reached")
    parser.add_argument(
        "--tools",
        action="store_true",
        help="have strace, gdb and others of the recipe's environment at hand",
    )
    parser.add_argument(
        "--copy", action="store_true", help="work in a copy, also where an overlay can be had"
    )
    parser.add_argument(
        *("-u", "--user"), default="0", metavar="USER", help="who to be (default: root)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--status", action="store_true", help="list what was added, modified, deleted"
    )
    what.add_argument(
        "--restore", nargs="+", metavar="PATH", help="bring back what is at and below PATH"
    )
    what.add_argument("--discard", action="store_true", help="forget all that was done")
    what.add_argument(
        "--keep", action="store_true", help="write what was done into the recipe, and build"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="keep without asking")
    add_json_option(parser)
    take_command(parser)


def execute(arguments: argparse.Namespace) -> int:
    """The command's status; 0 for the other forms."""
    config = load_folder_config(arguments)
    if arguments.name is None and arguments.run is None:
        from minid.workbench.shell_bench import list_benches

        names = [bench.source.name for bench in list_benches(config.paths.state)]
        raise UsageError(
            "shell: expected NAME or --run ID, got neither",
            hint=f"there are workbenches of {', '.join(names)}" if names else "`minid list`",
        )
    records, blobs = open_records(config), open_blobs(config)
    refuse_foreign(config.paths.state)
    wanted = _Wanted(arguments, config, records, blobs)
    if arguments.status:
        return wanted.status()
    if arguments.restore:
        return wanted.restore()
    if arguments.discard:
        return wanted.discard()
    if arguments.keep:
        return wanted.keep()
    return wanted.work()


class _Wanted:
    """The workbench that the command line is about."""

    def __init__(
        self, arguments: argparse.Namespace, config: Config, records: Records, blobs: Blobs
    ) -> None:
        from minid.workbench.shell_bench import find_bench
        from minid.workbench.shell_source import bench_name, check_run

        self.arguments, self.config, self.blobs = arguments, config, blobs
        self.records = records
        run = arguments.run
        self.name = f"run-{run}" if run is not None else bench_name(records, arguments.name)
        state = config.paths.state
        self.bench: Bench | None = find_bench(state, self.name) or find_bench(
            state,
            f"{self.name}:latest",  # whose tag is no more
        )
        if run is not None and self.bench is not None:
            check_run(run, arguments.name or "", self.bench.source.recipe)

    # what it stands on

    def source(self) -> Source:
        """What a new workbench would stand on."""
        from minid.workbench.shell_source import image_source, run_source

        given = self.arguments
        if given.run is not None:
            return run_source(given.run, given.name or "", self.records, self.blobs)
        try:
            image = find_image(self.records, given.name)
        except UsageError as error:
            known = given.name.isprintable()  # bytes that are no UTF-8 are nobody's name
            runs = self.records.runs(given.name, limit=1) if known else []
            if not runs:
                raise
            hint = f"`minid shell --run {runs[0].id}` opens what its last run had reached"
            raise UsageError(error.message, hint=hint) from error
        return image_source(self.name, image, self.blobs)

    def need_bench(self) -> Bench:
        """The workbench; UsageError where there is none."""
        if self.bench is None:
            from minid.workbench.shell_bench import list_benches

            if self.arguments.run is None:
                find_image(self.records, self.arguments.name)
            names = [bench.source.name for bench in list_benches(self.config.paths.state)]
            raise UsageError(
                f"{self.name}: expected a workbench, got none",
                hint=f"there is one of {', '.join(names)}"
                if names
                else f"`minid shell {self.arguments.name or f'--run {self.arguments.run}'}` "
                "makes one",
            )
        self.tell_moved(self.bench)
        return self.bench

    def moved(self, bench: Bench) -> str:
        """The image that the name means now, where that is another one; or empty."""
        from minid.errors import UsageError as Unknown

        if not bench.source.manifest:
            return ""
        try:
            now = str(find_image(self.records, self.name)["manifest"])
        except Unknown:
            return "no image any more"
        return now if now != bench.source.manifest else ""

    def tell_moved(self, bench: Bench) -> None:
        """Say on standard error that the name means another image by now."""
        now = self.moved(bench)
        if now:
            say(f"{self.name} is {short(now)} now; the workbench stands on "
                f"{short(bench.source.manifest)} still")  # fmt: skip

    def tell_others(self) -> None:
        """Say which other names of the same image have a workbench."""
        from minid.workbench.shell_bench import list_benches

        mine = self.source().manifest
        for bench in list_benches(self.config.paths.state):
            if mine and bench.source.manifest == mine:
                say(f"{bench.source.name} is the same image, and has a workbench of its own")

    # the forms of the command

    def work(self) -> int:
        """A shell, or a command."""
        from minid.host.terminal import has_terminal
        from minid.line.workshop import open_guest
        from minid.workbench.shell_bench import make_bench, open_bench

        given = self.arguments
        if self.bench is None:
            self.tell_others()
            with open_guest(self.config, {}) as shop:
                self.bench = make_bench(self.config.paths.state, self.source(), shop.blobs)
        else:
            self.tell_moved(self.bench)
        source = self.bench.source
        tools = self.tools(source)

        def waiting() -> None:
            say("others are in the workbench still: waiting for their end (Ctrl-C ends them)")

        opened = open_bench(self.bench, self.blobs, tools=tools, copied=given.copy, waiting=waiting)
        with opened as container:
            terminal = has_terminal()
            if given.copy and container.how != "copy":
                say("the workbench is an overlay already: --copy is for a new one")
            elif container.how == "copy" and not given.copy:
                say("no overlay can be had here: this is a copy")
            if (terminal and not given.words) or source.partial:
                self.greet(source)
            return run_command(container, self.command(source, terminal=terminal))

    def greet(self, source: Source) -> None:
        """Tell a person where they are."""
        what = f"run {source.run}, {source.what}" if source.run else short(source.manifest)
        say(f"{source.name}: {what}; what you do stays until --keep or --discard")

    def command(self, source: Source, *, terminal: bool) -> Command:
        """What to run, with the image's environment."""
        from minid.formats.runtime_spec import DEFAULT_PATH
        from minid.host.bench_container import Command
        from minid.host.bench_tools import TOOLS

        environ = dict(line.partition("=")[::2] for line in source.environ)
        path = environ.get("PATH", DEFAULT_PATH)
        environ["PATH"] = f"{path}:{TOOLS}/bin" if self.arguments.tools else path
        environ["HISTFILE"] = "/dev/null"  # else each look around would be a change
        if terminal:
            environ["TERM"] = os.environ.get("TERM", "xterm")
        lines = tuple(f"{name}={value}" for name, value in environ.items())
        words = tuple(self.arguments.words)
        columns, rows = shutil.get_terminal_size()
        size = (rows, columns)
        return Command(words, lines, source.cwd, self.arguments.user, terminal, size)

    def tools(self, source: Source) -> tuple[ToolRoot, ...]:
        """Where programs come from, where they were asked for: the recipe's environment first."""
        if not self.arguments.tools:
            return ()
        from minid.cli.folder import load_folder
        from minid.host.bench_tools import ToolRoot
        from minid.workbench.shell_source import find_environment_root

        machine = ToolRoot(Path("/"), whole=False)
        recipe = load_folder(self.arguments).recipes.get(source.recipe)
        found = find_environment_root(recipe, self.config) if recipe else None
        return (machine,) if found is None else (ToolRoot(found, whole=True), machine)

    def status(self) -> int:
        """What differs."""
        from minid.workbench.shell_bench import look, open_bench

        given = self.arguments
        if self.bench is None:
            source = self.source()
            if given.json:
                print_json(self.facts(source, "", ()))
            else:
                say(f"{self.name}: nothing was changed: no workbench yet")
                self.tell_others()
            return 0
        self.tell_moved(self.bench)
        with open_bench(self.bench, self.blobs) as container:
            changes = look(container, self.bench.tree())
            how = container.how
        if given.json:
            print_json(self.facts(self.bench.source, how, changes))
            return 0
        print_changes(changes)
        return 0

    def facts(self, source: Source, how: str, changes: Sequence[Change]) -> dict[str, object]:
        """A workbench as JSON."""
        moved = self.moved(self.bench) if self.bench else ""
        return {
            "name": source.name,
            "recipe": source.recipe,
            "version": source.version,
            "manifest": source.manifest,
            "run": source.run or None,
            "reached": source.what or None,
            "now": moved or source.manifest,
            "moved": bool(moved),
            "how": how or None,
            "changes": [change_json(change) for change in changes],
        }

    def restore(self) -> int:
        """Bring paths back."""
        from minid.workbench.shell_bench import open_bench, restore

        bench = self.need_bench()
        with open_bench(bench, self.blobs) as container:
            back = restore(container, bench.tree(), self.arguments.restore)
        if self.arguments.json:
            print_json({"restored": [change_json(change) for change in back]})
            return 0
        for change in back:
            word = "removed" if change.letter == "A" else "restored"
            print(printable(f"{word} /{change.image_path}"))
        if not back:
            print("nothing differed there")
        return 0

    def discard(self) -> int:
        """Forget everything."""
        from minid.workbench.shell_bench import discard

        bench = self.need_bench()
        discard(bench, self.blobs)
        if self.arguments.json:
            print_json({"discarded": bench.source.name})
        else:
            print(printable(f"{bench.source.name}: discarded"))
        return 0

    def keep(self) -> int:
        """Turn the difference into recipe lines, and build."""
        from minid.cli.shell_keep import keep_bench

        return keep_bench(self.arguments, self.need_bench(), self.records, self.blobs)
