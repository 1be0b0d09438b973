"""Licence expressions: what is valid, what is made valid, and Debian's names."""

from __future__ import annotations

import pytest

from minid.formats.debian_copyright import read_copyright
from minid.formats.spdx_license import debian_license, need_expression, read_expression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mit", "MIT"),
        ("GPL-2.0-only", "GPL-2.0-only"),
        ("Apache-1.1+", "Apache-1.1+"),
        ("MIT and (bsd-2-clause OR ISC)", "MIT AND (BSD-2-Clause OR ISC)"),
        ("GPL-2.0-or-later WITH Classpath-exception-2.0",) * 2,
        ("LicenseRef-mine OR MIT", "LicenseRef-mine OR MIT"),
        ("MIT AND", None),
        ("MIT ISC", None),
        ("(MIT", None),
        ("MIT)", None),
        ("Nonsense-1.0", None),
        ("MIT WITH nothing", None),
        ("(" * 5000 + "MIT" + ")" * 5000, None),
        ("(" * 500 + "MIT" + ")" * 500, None),
        ("", None),
    ],
)
def test_expressions(text: str, expected: str | None) -> None:
    assert read_expression(text) == expected


def test_any_text_becomes_a_valid_expression() -> None:
    assert need_expression("  ") == ("", ())
    assert need_expression("my own (c)") == ("LicenseRef-my-own-c", ("my own (c)",))
    for text in ("///", "©", "a" * 5000, "x\ny"):
        made, unknown = need_expression(text)
        assert read_expression(made) == made
        assert unknown == (text,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Expat", "MIT"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("GPL-2+ or Artistic", "GPL-2.0-or-later OR Artistic-1.0"),
        ("GPL-2 or Expat, and BSD-3-clause", "(GPL-2.0-only OR MIT) AND BSD-3-Clause"),
        ("public-domain", "LicenseRef-public-domain"),
    ],
)
def test_the_names_of_debian(text: str, expected: str) -> None:
    found, _ = debian_license(text)
    assert found == expected
    assert read_expression(found) == found


COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: x

Files: *
License: Zlib

Files: a.c
License: public-domain
 Nobody owns
 .
 this.

Files: debian/*
License: GPL-3
"""


def test_a_copyright_file_names_what_the_program_has() -> None:
    expression, texts = read_copyright(COPYRIGHT.encode())
    assert expression == "LicenseRef-public-domain AND Zlib"
    assert texts == (("LicenseRef-public-domain", "Nobody owns\n\nthis."),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"This package was debianized by hand.\nLicense: GPL\n",
        b"\xff\xfe\x00" * 1000,
        COPYRIGHT.split("\n\n", maxsplit=1)[0].encode(),
        (COPYRIGHT + "".join(f"\nFiles: f{n}\nLicense: own-{n}\n" for n in range(60))).encode(),
    ],
)
def test_what_tells_no_licence(data: bytes) -> None:
    assert read_copyright(data) == ("", ())
