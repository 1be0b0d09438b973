"""Programs of elsewhere at hand in a workbench."""

from __future__ import annotations

TOOLS = "/dev/minid/tools"  # in the container: /dev is its own, so that nothing of it is a change
