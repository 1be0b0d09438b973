"""The `[rootfs]` table: users, directories, links, files and edits, declared key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minid import recipe
from minid.formats.table import Key, Pairs, Table, array_of, one_of
from minid.formats.values import (
    BASE,
    FILE_NAME,
    FILLED_STRING,
    FOLDER_PATH,
    GLOB,
    ID,
    IMAGE_PATH,
    LINK_TARGET,
    MODE,
    STRING,
    USER_NAME,
    integer,
)
from minid.recipe_values import OWNER, PASSWD_FIELD


def _edit_says_what(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if not any(table.get(name) for name in ("prepend", "append", "replace")):
        yield "", "prepend, append or replace", "none of them"
    for name in ("with", "expect"):
        if name in table and "replace" not in table:
            yield name, 'no such key without "replace"', "one"


def _names_once(table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for key in ("users", "groups"):
        names = [item["name"] for item in table.get(key, ())]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield key, "each name once", f'"{name}" again'


USER = Table(
    (
        Key("name", USER_NAME, "The login name; the group has the same.", required=True),
        Key("uid", ID, "The user's number.", "the next free one from 100"),
        Key("gid", ID, "The group's number.", "the user's number, or the next free one"),
        Key("home", FOLDER_PATH, "The home directory.", '"/"'),
        Key("shell", IMAGE_PATH, "The login shell.", '"/bin/false"'),
        Key("comment", PASSWD_FIELD, "The full name.", '""'),
    ),
    recipe.User,
)
GROUP = Table(
    (
        Key("name", USER_NAME, "The group's name.", required=True),
        Key("gid", ID, "The group's number.", "the next free one from 100"),
        Key("members", array_of(USER_NAME, "user names"), "Users in it.", "[]"),
    ),
    recipe.Group,
)
OWNERSHIP = (
    Key("owner", OWNER, "The owning user.", '"root"'),
    Key("group", OWNER, "The owning group.", "the owner's own group"),
)
DIRECTORY = Table(
    (
        Key("path", IMAGE_PATH, "Where it is; parents are made as well.", required=True),
        *OWNERSHIP,
        Key("mode", MODE, "Its mode in octal.", '"0755"'),
    ),
    recipe.Directory,
)
FILE = Table(
    (
        Key("path", IMAGE_PATH, "Where it is; parents are made as well.", required=True),
        Key("content", STRING, "Its text (this or `source`); placeholders are filled in."),
        Key("source", FILE_NAME, "A file in the recipe's folder (this or `content`)."),
        *OWNERSHIP,
        Key("mode", MODE, "Its mode in octal.", '"0644"'),
    ),
    recipe.File,
    (one_of("content", "source"),),
)
EDIT = Table(
    (
        Key("path", IMAGE_PATH, "The text file to change.", required=True),
        Key("prepend", STRING, "Text to put before its first line; placeholders work.", '""'),
        Key("append", STRING, "Text to put after its last line; placeholders work.", '""'),
        Key("replace", FILLED_STRING, "Text to look for, literally."),
        Key("with", STRING, "What to put in its place; placeholders work.", '""', field="with_"),
        Key(
            "expect",
            integer(1, 10**6),
            "How often `replace` must occur; any other number is an error.",
            "1",
        ),
    ),
    recipe.Edit,
    (_edit_says_what,),
)
ROOTFS = Table(
    (
        Key(
            "base",
            BASE,
            'The image recipe below it, a tag of the store, or `"scratch"`.',
            '"busybox"',
        ),
        Key("users", array_of(USER, "tables"), "Users to add.", "[]"),
        Key("groups", array_of(GROUP, "tables"), "Groups to add besides the users' own.", "[]"),
        Key("directories", array_of(DIRECTORY, "tables"), "Directories to make.", "[]"),
        Key(
            "links",
            Pairs(IMAGE_PATH, LINK_TARGET, "a table of paths"),
            "Symbolic links: path = where it points.",
            "{}",
        ),
        Key("files", array_of(FILE, "tables"), "Files to write.", "[]"),
        Key("edits", array_of(EDIT, "tables"), "Changes of text files, in this order.", "[]"),
        Key(
            "remove",
            array_of(GLOB, "paths or globs"),
            "What to take away of base and program, before anything is added.",
            "[]",
        ),
        Key(
            "commands",
            array_of(FILLED_STRING, "strings with a command each"),
            "Last resort: run inside the rootfs, sandboxed; what they change is kept.",
            "[]",
        ),
    ),
    recipe.Rootfs,
    (_names_once,),
)
