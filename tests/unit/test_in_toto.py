"""Provenance as an in-toto statement, by in-toto's own messages."""

from __future__ import annotations

from dataclasses import replace

from minid.formats.digest import Digest
from minid.formats.in_toto import Provenance, Resource, dump_provenance
from tests.support.statement_oracle import check_provenance, materials_of

IMAGE = Resource("web:1", Digest.of(b"image"), "pkg:oci/web@sha256%3A00?arch=amd64")
WHOLE = Provenance(
    subjects=(IMAGE, Resource("web_1-image.tar.gz", Digest.of(b"archive"))),
    build_type="https://builds.example/recipe/v1",
    external={"recipe": {"name": "web", "build.steps": ["make"], "none": None}},
    internal={"minid": {"image": 4}},
    materials=(
        Resource("web-1.tar.gz", Digest.of(b"source"), "https://a.example/web-1.tar.gz"),
        Resource("environment", Digest.of(b"e"), annotations={"packages": ["gcc=12"]}),
    ),
    builder="https://builds.example/builder",
    versions={"minid": "0.1.0"},
    invocation="000001-web",
    started=1700000000.7,
    finished=1700000060.2,
    byproducts=(Resource("log", Digest.of(b"log"), media_type="text/plain"),),
)


def test_a_whole_statement_is_valid_and_the_same_each_time() -> None:
    document = check_provenance(dump_provenance(WHOLE))
    assert dump_provenance(WHOLE) == dump_provenance(replace(WHOLE))
    assert [item["name"] for item in document["subject"]] == ["web:1", "web_1-image.tar.gz"]
    assert document["subject"][0]["digest"] == {"sha256": Digest.of(b"image").hex}
    assert materials_of(document)["web-1.tar.gz"]["uri"] == "https://a.example/web-1.tar.gz"
    assert document["predicate"]["runDetails"]["metadata"] == {
        "invocationId": "000001-web",
        "startedOn": "2023-11-14T22:13:20Z",
        "finishedOn": "2023-11-14T22:14:20Z",
    }


def test_what_is_not_known_is_left_out() -> None:
    bare = Provenance((IMAGE,), "https://b.example/x", {"kind": "load"}, "https://b.example/y")
    predicate = check_provenance(dump_provenance(bare))["predicate"]
    assert predicate["buildDefinition"].keys() == {"buildType", "externalParameters"}
    assert predicate["runDetails"].keys() == {"builder"}


def test_hostile_words_stay_valid() -> None:
    for text in ("\ud800", "\x00\x1b[2J", '"},{', "\u202e", "é" * 5000):
        resource = Resource(text, Digest.of(b"a"), uri=f"https://a.example/{text}")
        hostile = replace(
            WHOLE, materials=(resource,), invocation=text, external={"recipe": {text: [text]}}
        )
        document = check_provenance(dump_provenance(hostile))
        (found,) = document["predicate"]["buildDefinition"]["resolvedDependencies"]
        assert "uri" not in found or found["uri"].isascii()
