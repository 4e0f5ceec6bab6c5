"""The provenance of a restored file, which both XMP and C2PA state."""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.provenance.regions import Box

# IPTC NewsCodes, Digital Source Type: an existing picture to which a trained model added elements.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@dataclass(frozen=True)
class Provenance:
    """The provenance of one restored photo.

    Attributes:
        source_sha256: of the member's bytes.
        source: URI of the archive; only its last part goes into the file, which may be published.
        member, page: the photo in the archive; pages count from 1.
        software_version, weights_digest, settings_digest, seed, task: what produced the restored photo.
        regions: x0, y0, x1, y1 of each restored face in the restored photo, px.
        strengths: share of the restored face in its pixels, above 0, of each of these; none: 1 each.
        composite: whether a model changed the picture; false if no face was restored.
        width, height: of the restored photo, px.
        scale: size of the restored photo relative to the source.
    """

    source_sha256: str
    source: str
    member: str
    page: int
    software_version: str
    weights_digest: str
    settings_digest: str
    seed: int
    task: str
    regions: Sequence[Box] = field(default_factory=tuple)
    strengths: Sequence[float] = field(default_factory=tuple)
    composite: bool = True
    width: int = 0
    height: int = 0
    scale: int = 1

    def at(self, width: int, height: int, scale: int) -> Provenance:
        """The same record for the photo enlarged by `scale` to this size."""
        regions = [tuple(edge * scale for edge in box) for box in self.regions]
        return replace(self, regions=regions, width=width, height=height, scale=self.scale * scale)

    @property
    def archive(self) -> str:
        return posixpath.basename(self.source.rstrip("/"))

    @property
    def instance(self) -> str:
        """An id of the restored file: a UUID (version 5) of everything that it depends on, so a retry repeats it."""
        names = [self.source_sha256, self.page, self.weights_digest, self.settings_digest, self.software_version]
        if any(strength != 1 for strength in self.strengths) or not self.composite:
            names.append(self.shares)
        digest = hashlib.sha256("\0".join(map(str, names)).encode()).hexdigest()
        return f"xmp.iid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}"

    @property
    def shares(self) -> str:
        """The strength of each restored face, in the order of the regions."""
        return ", ".join(f"{strength:.4g}" for strength in self.strengths or [1] * len(self.regions))

    def statement(self) -> dict[str, str | int]:
        """The properties in this project's XMP namespace; also its assertion in a C2PA manifest."""
        return {
            "SourceSHA256": self.source_sha256,
            "SourceArchive": self.archive,
            "SourceMember": self.member,
            "SourcePage": self.page,
            "SoftwareVersion": self.software_version,
            "WeightsDigest": self.weights_digest,
            "SettingsDigest": self.settings_digest,
            "Seed": self.seed,
            "Task": self.task,
            "RestoredFaces": len(self.regions),
            "FaceStrengths": self.shares,
        }
