"""Who does it: the name that the ledger of edits keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping


def acting_user(environ: Mapping[str, str]) -> str:
    """The name of the person who runs this command: for root through sudo or doas, theirs."""
    import pwd

    uid = os.getuid()
    if uid == 0:
        for key in ("SUDO_USER", "DOAS_USER"):
            name = environ.get(key, "")
            if name and name.isprintable() and len(name) <= 64:
                return name
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
