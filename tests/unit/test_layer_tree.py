"""What layers of others show together: whiteouts, links, folders in the way, what is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

import pytest

from minid.errors import UnpackError
from minid.formats.digest import Digest
from minid.formats.layer_tree import LayerTree

Row = tuple[str, str, bytes | str]


def layer(rows: Iterable[Row]) -> bytes:
    """A tar of (path, kind, content or target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, kind, value in rows:
            info = tarfile.TarInfo(path)
            info.mtime, info.mode = 5, 0o755 if kind == "d" else 0o644
            kinds = {"d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}
            info.type = kinds.get(
                kind, {"c": tarfile.CHRTYPE, "p": tarfile.FIFOTYPE}.get(kind, b"0")
            )
            if isinstance(value, str):
                info.linkname = value
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return out.getvalue()


def shown(*layers: list[Row]) -> dict[str, str]:
    """The tree of these layers: path → kind and target, or the file's bytes."""
    tree = LayerTree()
    blobs = {}
    for rows in layers:
        data = layer(rows)
        blobs[Digest.of(data)] = data
        tree.lay(Digest.of(data), [data[:700], data[700:]])
    found = {}
    for entry in tree.tree().entries:
        if entry.content is not None:
            assert entry.content.blob is not None
            data = blobs[entry.content.blob][entry.content.offset :][: entry.content.size]
            assert Digest.of(data) == entry.content.digest
            found[entry.image_path] = "=" + data.decode()
        else:
            found[entry.image_path] = entry.kind[0] + entry.target
    return found


def test_a_later_layer_lies_in_front() -> None:
    lower: list[Row] = [("etc", "d", ""), ("etc/a", "f", b"1"), ("etc/b", "f", b"2")]
    upper: list[Row] = [("etc", "d", ""), ("etc/a", "f", b"new"), ("./etc/.wh.b", "f", b"")]
    assert shown(lower, upper) == {"etc": "d", "etc/a": "=new"}


def test_an_opaque_folder_hides_what_is_below_and_not_its_own() -> None:
    lower: list[Row] = [("d", "d", ""), ("d/old", "f", b"1"), ("e", "f", b"2")]
    upper: list[Row] = [("d", "d", ""), ("d/new", "f", b"3"), ("d/.wh..wh..opq", "f", b"")]
    assert shown(lower, upper) == {"d": "d", "d/new": "=3", "e": "=2"}


def test_a_whiteout_is_of_the_layers_below_alone() -> None:
    rows: list[Row] = [(".wh.a", "f", b""), ("a", "f", b"own")]
    assert shown([("a", "f", b"low")], rows) == {"a": "=own"}
    assert shown([("a", "d", ""), ("a/b", "f", b"1")], [(".wh.a", "f", b"")]) == {}


def test_a_file_in_place_of_a_folder_and_the_other_way_round() -> None:
    assert shown([("a", "d", ""), ("a/b", "f", b"1")], [("a", "l", "x")]) == {"a": "sx"}
    assert shown([("a", "l", "x")], [("a/b", "f", b"1")]) == {"a": "d", "a/b": "=1"}


def test_the_names_of_one_file() -> None:
    lower: list[Row] = [("z", "f", b"1"), ("b", "h", "z"), ("c", "h", "z")]
    assert shown(lower) == {"b": "=1", "c": "hb", "z": "hb"}
    assert shown(lower, [(".wh.b", "f", b"")]) == {"c": "=1", "z": "hc"}
    assert shown(lower, [("z", "f", b"2")]) == {"b": "=1", "c": "hb", "z": "=2"}


def test_devices_are_counted_and_left_out() -> None:
    tree = LayerTree()
    data = layer([("dev", "d", ""), ("dev/null", "c", ""), ("p", "p", "")])
    tree.lay(Digest.of(data), [data])
    assert tree.left_out == 2
    assert [entry.image_path for entry in tree.tree().entries] == ["dev"]
    assert tree.unpacked == [0]


@pytest.mark.parametrize(
    "rows",
    [
        [("../a", "f", b"1")],
        [("/a", "f", b"1")],
        [("a", "h", "missing")],
        [("a", "h", "../../etc/passwd")],
        [("d", "d", ""), ("a", "h", "d")],
        [(".wh.", "f", b"")],
        [("d/.wh...", "f", b"")],
        [("a", "f", b"1"), ("a/b", "f", b"2")],
    ],
)
def test_what_is_no_layer_is_refused(rows: list[Row]) -> None:
    with pytest.raises(UnpackError):
        shown(rows)


def test_a_cut_layer_is_refused() -> None:
    data = layer([("a", "f", b"1" * 5000)])
    for end in (0, 100, 512, 3000, len(data) - 9700):
        with pytest.raises(UnpackError):
            LayerTree().lay(Digest.of(data), [data[:end]])


def test_many_whiteouts_take_no_time() -> None:
    lower: list[Row] = [(f"f{number}", "f", b"") for number in range(3000)]
    upper: list[Row] = [(f".wh.f{number}", "f", b"") for number in range(3000)]
    assert shown(lower, upper) == {}


def test_a_device_hides_what_was_there() -> None:
    assert shown([("a", "f", b"1"), ("b", "f", b"2")], [("a", "c", "")]) == {"b": "=2"}


def test_an_opaque_root() -> None:
    assert shown([("a", "d", ""), ("a/b", "f", b"1")], [(".wh..wh..opq", "f", b"")]) == {}


@pytest.mark.parametrize(("limit", "most"), [("ENTRIES", 8), ("MEMBERS", 15), ("NAME_BYTES", 150)])
def test_more_than_allowed_in_all_layers_together(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(f"minid.formats.layer_tree.MAX_{limit}", most)
    many: list[Row] = [(f"file-{number}", "f", b"") for number in range(8)]
    assert len(shown(many)) == 8
    with pytest.raises(UnpackError, match="at most"):
        shown(many, [("x" * 90, "d", ""), *many])


def test_folders_that_nobody_names_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minid.formats.layer_tree.MAX_ENTRIES", 50)
    with pytest.raises(UnpackError, match="at most 50"):
        shown([("/".join("abcdefgh"[number] * 50), "f", b"") for number in range(8)])
