"""Bills of materials: what the formats' own validators say, also of strange names and licences."""

from __future__ import annotations

from minid.formats.bom import (
    Bom,
    File,
    Item,
    Link,
    image_purl,
    item_key,
    package_purl,
    release_cpe,
    release_purl,
    uri_or_nothing,
)
from minid.formats.cyclonedx import dump_cyclonedx
from minid.formats.digest import Digest
from minid.formats.package_record import Package
from minid.formats.spdx import dump_spdx
from minid.formats.spdx_license import need_expression
from tests.support.bom_oracles import check_cyclonedx, check_spdx, components_of

DIGEST = Digest("ab" * 32)
PACKAGE = Package(
    "dpkg",
    "libssl3",
    "1:3.0.1+b~1",
    "amd64",
    source="openssl",
    source_version="3.0.1",
    license="Apache-2.0 AND LicenseRef-odd",
    distribution="debian 12",
)


def bill(name: str = "web", version: str = "1.0", license: str = "MIT") -> Bom:
    library, source = item_key("Package", PACKAGE.name), item_key("Source", PACKAGE.source)
    url = "https://example.org/web-1.0.tar.gz"
    expression, unknown = need_expression(license)
    items = (
        Item(
            "Image-web",
            "image",
            f"{name}:1",
            version,
            purl=image_purl(name, DIGEST, "amd64"),
            digest=DIGEST,
        ),
        Item(
            "Release-web",
            "release",
            name,
            version,
            purl=release_purl(name, version, url, DIGEST),
            cpe=release_cpe(name, version),
            url=url,
            digest=DIGEST,
            license=expression,
            homepage="https://example.org/",
            summary="a server",
        ),
        Item(
            library, "package", PACKAGE.name, PACKAGE.version, package_purl(PACKAGE),
            license=PACKAGE.license,
        ),
        Item(source, "source", PACKAGE.source, "3.0.1", package_purl(PACKAGE, source=True)),
    )  # fmt: skip
    files = (
        File("usr/bin/web", "a" * 40, "b" * 64, "Image-web"),
        File("usr/lib/ünï \udc80 lib.so", "c" * 40, "d" * 64, library),
    )
    links = (
        Link("Image-web", "made from", "Release-web"),
        Link("Image-web", "contains", library),
        Link(library, "made from", source),
        Link("Release-web", "needs to build", source),
        Link("Release-web", "needs", library),
        Link("/usr/bin/web", "links dynamically", "/usr/lib/ünï \udc80 lib.so"),
    )
    texts = {
        "LicenseRef-odd": "do as you like",
        **dict.fromkeys([expression][: len(unknown)], license),
    }
    return Bom(items, files, links, created=1700000000, tool="0.1.0", texts=texts)


def test_spdx_is_valid_and_the_same_each_time() -> None:
    data = dump_spdx(bill())
    assert dump_spdx(bill()) == data
    document = check_spdx(data)
    by_name = {package["name"]: package for package in document["packages"]}
    assert by_name["web"]["downloadLocation"] == "https://example.org/web-1.0.tar.gz"
    assert by_name["web"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": DIGEST.hex}]
    assert by_name["openssl"]["filesAnalyzed"] is False
    assert by_name["libssl3"]["licenseDeclared"] == "Apache-2.0 AND LicenseRef-odd"
    kinds = [item["relationshipType"] for item in document["relationships"]]
    assert kinds.count("CONTAINS") == 3
    assert {
        "DESCRIBES",
        "GENERATED_FROM",
        "DYNAMIC_LINK",
        "DEPENDS_ON",
        "BUILD_DEPENDENCY_OF",
    } <= set(kinds)


def test_cyclonedx_is_valid_and_has_packages_inside_their_source() -> None:
    data = dump_cyclonedx(bill())
    assert dump_cyclonedx(bill()) == data
    document = check_cyclonedx(data)
    (source,) = [item for item in document["components"] if item["name"] == "openssl"]
    assert [item["name"] for item in source["components"]] == ["libssl3"]
    assert components_of(document["components"])["web"] == "1.0"
    needed = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
    assert "Package-libssl3" in needed["Image-web"]


def test_hostile_words_stay_valid() -> None:
    for name in ("a b/c?d#e@f", "%41&x=y", "é" * 50, "a:b*c\\d"):
        for license in ("GPL-2.0-only WITH Classpath-exception-2.0", "all rights (reserved", ""):
            bom = bill(name, "1.0+x:~2 \t", license)
            check_spdx(dump_spdx(bom))
            check_cyclonedx(dump_cyclonedx(bom))


def test_what_is_no_uri_is_left_out() -> None:
    assert uri_or_nothing("https://example.org/a-1.0.tar.gz?x=%20") != ""
    assert uri_or_nothing("https://[::1]/a") != ""
    for text in ("", "example.org", "https://a b", "https://a/{version}", 'https://a/"x', "x:\n"):
        assert uri_or_nothing(text) == ""
    assert uri_or_nothing("https://" + "a" * 3000) == ""


def test_purls_say_what_the_package_is() -> None:
    assert package_purl(PACKAGE) == (
        "pkg:deb/debian/libssl3@1%3A3.0.1%2Bb~1?arch=amd64&distro=debian-12"
    )
    assert package_purl(PACKAGE, source=True) == (
        "pkg:deb/debian/openssl@3.0.1?arch=source&distro=debian-12"
    )
    assert release_cpe("Web++", "1.0:2") == r"cpe:2.3:a:*:web\+\+:1.0\:2:*:*:*:*:*:*:*"
