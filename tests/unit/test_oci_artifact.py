"""Artifacts that refer to an image, and the index of them."""

from __future__ import annotations

import json
import random

import pytest

from minid.formats.digest import Digest
from minid.formats.oci import MANIFEST_TYPE, Descriptor
from minid.formats.oci_artifact import (
    EMPTY_TYPE,
    SIGNATURE_TYPE,
    Attachment,
    dump_artifact,
    dump_referrers,
    fallback_tag,
    find_referrers,
    merge_referrers,
    parse_artifact,
    parse_referrers,
    refer,
)

SUBJECT = Descriptor(MANIFEST_TYPE, Digest.of(b"image"), 5)
BILL = Attachment("application/spdx+json", "application/spdx+json", b'{"spdx": 1}')
OTHERS = {
    "mediaType": MANIFEST_TYPE,
    "digest": "sha512:" + "0" * 128,
    "size": 7,
    "artifactType": "application/spdx+json",
    "annotations": {"org.example.tool": "another"},
    "urls": ["https://x.example"],
}


def test_an_artifact_is_as_the_specification_writes_it() -> None:
    data = dump_artifact(BILL, SUBJECT)
    value = json.loads(data)
    assert value["subject"] == SUBJECT.as_json()
    assert value["artifactType"] == "application/spdx+json"
    assert value["config"] == {
        "mediaType": EMPTY_TYPE,
        # as in the specification's guidance for an empty descriptor
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
        "data": "e30=",
    }
    layer = parse_artifact(data, SUBJECT.digest)
    assert (layer.digest, layer.size) == (Digest.of(BILL.data), len(BILL.data))
    assert dump_artifact(BILL, SUBJECT) == data


def test_an_artifact_of_another_image_is_refused() -> None:
    with pytest.raises(ValueError, match="refers to the image"):
        parse_artifact(dump_artifact(BILL, SUBJECT), Digest.of(b"other"))


def test_a_push_replaces_its_own_and_leaves_the_others() -> None:
    old = refer(BILL, dump_artifact(BILL, SUBJECT))
    new_bill = Attachment(BILL.artifact_type, BILL.media_type, b'{"spdx": 2}')
    new = refer(new_bill, dump_artifact(new_bill, SUBJECT))
    signature = refer(Attachment(SIGNATURE_TYPE, "x", b"s", "A"), b"a")
    by_another_key = refer(Attachment(SIGNATURE_TYPE, "x", b"t", "B"), b"b")
    assert merge_referrers((OTHERS, old, signature), (new, by_another_key)) == (
        OTHERS,
        signature,
        new,
        by_another_key,
    )
    assert merge_referrers((OTHERS, new), (new,)) == (OTHERS, new)


@pytest.mark.parametrize("digest", [None, [], {}, 3])
def test_an_entry_with_anything_for_a_digest_stays(digest: object) -> None:
    entry = refer(BILL, dump_artifact(BILL, SUBJECT))
    assert merge_referrers(({"digest": digest},), (entry,)) == ({"digest": digest}, entry)


def test_what_others_wrote_comes_back_as_it_was() -> None:
    again = parse_referrers(dump_referrers((OTHERS,)))
    assert again == (OTHERS,)
    assert find_referrers(again, "application/spdx+json") == ()  # no digest of ours


def test_entries_are_found_by_type() -> None:
    entry = refer(BILL, dump_artifact(BILL, SUBJECT))
    (found,) = find_referrers((OTHERS, entry), BILL.artifact_type)
    assert found.digest == Digest.of(dump_artifact(BILL, SUBJECT))
    assert find_referrers((entry,), SIGNATURE_TYPE) == ()


def test_fallback_tag() -> None:
    assert fallback_tag(Digest.of(b"")) == "sha256-" + Digest.of(b"").hex


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"manifests": [1]}',
        b'{"manifests": {}}',
        b'{"manifests": [], "subject": 3}',
        b"[" * 100_000,
        b'{"manifests": [' + b"{}," * 1001 + b"{}]}",
        b"\xff",
    ],
)
def test_what_is_no_index(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_referrers(data)


def test_an_index_that_json_cannot_hold_again() -> None:
    entries = parse_referrers(b'{"manifests": [{"x": NaN, "y": "\\ud800"}]}')
    with pytest.raises(ValueError):
        dump_referrers(entries)


def test_mutants_of_an_artifact_raise_nothing_else() -> None:
    chosen, data = random.Random(5), dump_artifact(BILL, SUBJECT)
    for _ in range(2000):
        mutant = bytearray(data)
        for _ in range(chosen.randint(1, 4)):
            mutant[chosen.randrange(len(mutant))] = chosen.randrange(256)
        try:
            parse_artifact(bytes(mutant), SUBJECT.digest)
        except ValueError:
            continue
