"""The recipes that come with minid, from their real sources: what scripts/demo builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.bom_oracles import check_cyclonedx, check_spdx, components_of
from tests.support.require import require
from tests.support.shipped import minid, shipped_folder

pytestmark = pytest.mark.integration


def test_nginx_on_busybox() -> None:
    require("bwrap", "mmdebstrap", "runc")
    with shipped_folder("shipped") as folder:
        base, server = json.loads(minid(folder, "build", "nginx", "--json"))
        assert (base["status"], server["status"]) == ("built", "built")
        assert "1.26.3" in server["version"]
        assert "<h1>hello nginx</h1>" in minid(folder, "test", "nginx")
        assert "nothing has changed" in minid(folder, "build", "nginx")
        files = json.loads(minid(folder, "why", "nginx", "/usr/local/nginx/sbin/nginx", "--json"))
        assert files["chain"][0]["how"] == "installed"
        (layer, *_) = json.loads(minid(folder, "inspect", "nginx"))["layers"]
        assert layer == json.loads(minid(folder, "inspect", "busybox"))["layers"][0]
        check_bills(folder)


def check_bills(folder: Path) -> None:
    """Both bills of nginx are valid, and name all that it is made of with versions and licences."""
    bill = check_spdx(minid(folder, "sbom", "nginx").encode())
    packages = {item["name"]: item for item in bill["packages"]}
    versions = {name: item["versionInfo"] for name, item in packages.items()}
    wanted = {"nginx", "pcre2", "zlib", "openssl", "glibc", "busybox"}
    assert wanted <= versions.keys()
    assert (versions["nginx"], versions["busybox"]) == ("1.26.3", "1.37.0")
    assert packages["zlib"]["licenseDeclared"] == "Zlib"
    assert packages["nginx"]["downloadLocation"].endswith("/nginx-1.26.3.tar.gz")
    other = check_cyclonedx(minid(folder, "sbom", "nginx", "--format", "cyclonedx").encode())
    found = components_of(other["components"])
    assert {name: found[name] for name in wanted} == {name: versions[name] for name in wanted}
