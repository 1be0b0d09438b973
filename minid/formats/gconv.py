"""glibc's character set modules: a `gconv-modules` file cut down to those an image has."""

from __future__ import annotations

from collections.abc import Iterable


def cut_gconv_modules(texts: Iterable[str], modules: Iterable[str]) -> str:
    """The lines of gconv-modules files that concern the named modules (`UTF-16.so` or `UTF-16`).

    Format: glibc, iconv/gconv_conf.c: `module FROM TO FILE COST` and `alias ALIAS NAME`.
    """
    kept = {name.removesuffix(".so") for name in modules}
    rows = [
        words
        for text in texts
        for raw in text.splitlines()
        if (words := raw.partition("#")[0].split())
    ]
    lines = [
        words
        for words in rows
        if words[0] == "module" and len(words) >= 4 and words[3].removesuffix(".so") in kept
    ]
    sets = {name for words in lines for name in words[1:3]}
    lines = [words for words in rows if words[0] == "alias" and set(words[2:3]) & sets] + lines
    return "".join("\t".join(words) + "\n" for words in lines)
