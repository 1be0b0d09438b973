"""The store's OCI layout, written from the records: what skopeo, umoci and scripts read."""

from __future__ import annotations

from minid.formats.digest import Digest
from minid.formats.oci import LAYOUT_FILE, MANIFEST_TYPE, Descriptor, architecture_of, dump_index
from minid.host.files import write_file
from minid.store.blobs import Blobs
from minid.store.records import Records


def write_layout(blobs: Blobs, records: Records, machine: str) -> None:
    """Write `oci-layout` and `index.json` from the records, if they differ; under a lock."""
    manifests = []
    for row in records.tags():
        digest = Digest.parse(row.manifest)
        manifests.append((row.name, Descriptor(MANIFEST_TYPE, digest, blobs.size(digest))))
    index = dump_index(manifests, architecture_of(machine))
    for name, data in (("oci-layout", LAYOUT_FILE), ("index.json", index)):
        path = blobs.root / name
        if not path.is_file() or path.read_bytes() != data:
            write_file(path, data)
