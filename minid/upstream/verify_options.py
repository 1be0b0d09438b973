"""The `[track.verify]` part of a recipe's track options as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minid.upstream.values import DigestList, Minisign, OpenPgp, Verify


def read_verify(options: Iterable[tuple[str, object]]) -> Verify:
    """The Verify of `Track.options` (validated, sorted pairs); empty where it says nothing."""
    table = _table(dict(options).get("verify", ()))
    stated = table.get("sha256", "")
    # A bare URL template is short for a table with nothing but `url`.
    sha256 = {"url": stated} if isinstance(stated, str) else _table(stated)
    openpgp = _table(table.get("openpgp", ()))
    minisign = _table(table.get("minisign", ()))
    return Verify(
        digest_list=DigestList(sha256["url"], sha256.get("match", ""))
        if sha256.get("url")
        else None,
        digest_field=sha256.get("field", ""),
        openpgp=_openpgp(openpgp) if openpgp else None,
        minisign=Minisign(minisign["key"], minisign.get("sig", "")) if minisign else None,
        unsigned=bool(table.get("unsigned", False)),
    )


def _table(pairs: Any) -> Mapping[str, Any]:  # noqa: ANN401
    return dict(pairs)


def _openpgp(table: Mapping[str, Any]) -> OpenPgp:
    return OpenPgp(
        keys=tuple(table["keys"]),
        sig=table.get("sig", ""),
        need=table.get("need", 1),
        allow=tuple(table.get("allow", ())),
    )
