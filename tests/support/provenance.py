"""A provenance record and a foreign XMP packet for tests."""

from __future__ import annotations

from pipeline.provenance.record import Provenance

RECORD = Provenance(
    source_sha256="ab" * 32,
    source="s3://library/boxes/scans.tar",
    member="box 1/Zoë <&> \x01.tif",
    page=2,
    software_version="1.2.3",
    weights_digest="cd" * 32,
    settings_digest="ef" * 32,
    seed=7,
    task="restore",
    regions=[(10, 20, 30, 60), (-4, 100, 20, 140)],
    width=100,
    height=200,
)
OWN = {
    "SourceSHA256": "ab" * 32, "SourceArchive": "scans.tar", "SourceMember": "box 1/Zoë <&> \ufffd.tif",
    "SourcePage": 2, "SoftwareVersion": "1.2.3", "WeightsDigest": "cd" * 32, "SettingsDigest": "ef" * 32, "Seed": 7,
    "Task": "restore", "RestoredFaces": 2, "FaceStrengths": "1, 1",
}  # fmt: skip
