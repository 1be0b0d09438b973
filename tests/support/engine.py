"""Docker Engine by its own client, and the containers of checks in it."""

from __future__ import annotations

import os
import subprocess

from minid.host.docker_container import OWNER_LABEL, owner_of


def docker(*arguments: str) -> str:
    """What a command of the client prints; it must end well."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def check_containers() -> list[str]:
    """Containers of checks of this process; others may have theirs."""
    mine = f"label={OWNER_LABEL}={owner_of(os.getpid())}"
    return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", mine).split()
