"""Which ids a container gets, and the kernel taking the map."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from minid.errors import HostError
from minid.host import idmap
from minid.host.idmap import ROOT_BASE, WANTED, IdMapping, IdRange

WHOLE = (IdRange(0, 0, 4294967295),)


def test_parse_id_map() -> None:
    text = "         0       1000          1\n         1     100000      65536\n"
    assert idmap.parse_id_map(text) == (IdRange(0, 1000, 1), IdRange(1, 100000, 65536))


def test_parse_subids_by_name_and_number_and_past_rubbish() -> None:
    text = "other:1:2\nme:100000:65536\n\n# x\nme:x:y\n1000:300000:10\nme:1\n"
    assert idmap.parse_subids(text, ("me", "1000")) == ((100000, 65536), (300000, 10))


def test_root_gives_a_high_range_nobody_has() -> None:
    assert idmap.root_ranges(WHOLE) == (IdRange(0, ROOT_BASE, WANTED),)


def test_root_of_a_smaller_map_gives_its_upper_end() -> None:
    own = (IdRange(0, 500000, 200000),)
    assert idmap.root_ranges(own) == (IdRange(0, 200000 - WANTED, WANTED),)


def test_root_of_a_single_range_shares_it() -> None:
    own = (IdRange(0, 1000, 1), IdRange(1, 100000, 65535))
    assert idmap.root_ranges(own) == (IdRange(0, 0, 1), IdRange(1, 1, 65535))


def test_user_is_root_inside_and_subordinates_follow() -> None:
    assert idmap.user_ranges(1000, [(100000, 65536)]) == (
        IdRange(0, 1000, 1),
        IdRange(1, 100000, 65536),
    )
    two = idmap.user_ranges(1000, [(100000, 100), (200000, 100)])
    assert two[2] == IdRange(101, 200000, 100)


def test_names_of_mappings_differ_with_the_owner_of_files() -> None:
    def mapping(base: int) -> IdMapping:
        ranges = (IdRange(0, base, WANTED),)
        return IdMapping(ranges, ranges, direct=True)

    assert mapping(1 << 20).name == mapping(1 << 20).name != mapping(1 << 21).name
    assert mapping(1 << 20).root == (1 << 20, 1 << 20)
    assert "/" not in mapping(1 << 20).name


def test_missing_subordinate_range_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(HostError, match="expected 65536 subordinate ids of '54321'") as caught:
        idmap.plan_mapping()
    assert caught.value.hint.startswith("usermod --add-subuids")


def test_kernel_takes_the_planned_map() -> None:
    try:
        mapping = idmap.plan_mapping()
    except HostError as error:
        pytest.skip(str(error))
    child = subprocess.Popen(["unshare", "-U", "cat"], stdin=subprocess.PIPE)
    try:
        here = Path("/proc/self/ns/user").readlink()
        while Path(f"/proc/{child.pid}/ns/user").readlink() == here:
            assert child.poll() is None
        idmap.write_mapping(child.pid, mapping)
        text = Path(f"/proc/{child.pid}/uid_map").read_text()
        assert idmap.parse_id_map(text) == mapping.uids
        with pytest.raises(HostError, match="expected"):
            idmap.write_mapping(child.pid, mapping)  # a map is written once
    finally:
        child.communicate()
