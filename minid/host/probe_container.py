"""A probe from the side that lives in minid: run an image's program and get what the kernel saw."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from minid.errors import HostError
from minid.formats.digest import Digest
from minid.host.container import Container
from minid.host.idmap import IdMapping

_START_S = 30.0
_MAX_FACTS = 256 << 20


class ProbeContainer(Container):
    """An image, whose program is run and traced by `probe`, each time in a fresh root."""

    def _job(self, mapping: IdMapping) -> dict[str, Any]:
        return super()._job(mapping) | {"probe": True}

    def probe(
        self,
        argv: Sequence[str] = (),
        *,
        seconds: float,
        whole: bool = False,
        knocks: Sequence[tuple[int, bytes]] = (),
    ) -> dict[str, Any]:
        """Run the program, or `argv`, for up to `seconds`; unless `whole`, until nothing new comes.

        `knocks` are sent to (port, bytes) once the program has settled. The facts are those of
        `ProbeServer._trace`; where the runtime did not start it, `refused` has its words alone.
        """
        self._send(
            {
                "do": "probe",
                "argv": list(argv),
                "seconds": seconds,
                "whole": whole,
                "knocks": [[port, data.hex()] for port, data in knocks],
            }
        )
        _, descriptors = self._receive_fds(seconds + _START_S)
        with os.fdopen(descriptors[0], "rb") as file:
            data = file.read(_MAX_FACTS)
        try:
            facts: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise HostError("probe: expected what was seen, got something cut off") from error
        return facts

    def drop_layer(self, diff_id: Digest) -> None:
        """Take a layer out of the cache that was unpacked for one try, unless others use it."""
        self._ask("remove", layer=diff_id.hex)
