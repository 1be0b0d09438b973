"""One command in a workbench, with the terminal or the streams of this process."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from minid.cli.shell_view import say

if TYPE_CHECKING:
    from minid.host.bench_container import BenchContainer, Command

_FORWARDED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def run_command(container: BenchContainer, command: Command) -> int:
    """Run a command with this process's terminal, or its streams; the status."""
    from minid.host.terminal import hand_through

    master = container.start_command(command)
    if master >= 0:
        hand_through(master, container.control)
        end = container.finished()
    else:
        before = {
            number: signal.signal(number, lambda got, _frame: container.signal(got))
            for number in _FORWARDED
        }
        try:
            end = container.finished()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if end.missing:
        what = "found" if end.exit_code == 127 else "a program"
        say(f"{end.missing}: not {what}")
    return end.exit_code
