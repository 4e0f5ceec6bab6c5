"""Limits for untrusted input. Scans of archives stay below the defaults."""

from __future__ import annotations

from dataclasses import dataclass

# Below this many unpacked bytes a ratio says nothing: a blank page of 100 MB packs as well as a bomb.
RATIO_COUNTS_FROM = 256 << 20


@dataclass(frozen=True)
class Limits:
    """A photo or an archive beyond a limit is refused with a row and a reason, before a worker runs out of resources.

    Attributes:
        pixels: of one photo. The default is an A3 page at 1000 dpi; as 16-bit RGB it takes 1.6 GB decoded.
        member_bytes: of one member, unpacked. An uncompressed 16-bit scan of `pixels` has 1.6 GB.
        members: of one archive.
        ratio: unpacked bytes for each stored byte, of one member and of a compressed tar up to any place in it, once
            RATIO_COUNTS_FROM are unpacked. Deflate reaches 1032; an uncompressed bilevel scan about 50.
        depth: folders in a member's path.
        detect_pixels: that a detector looks at in one photo, all scales together; a larger photo is searched smaller,
            and its smallest faces are missed. The default suffices for a scan of 12,000 x 9,000 px and faces of 24 px.
            Slow detectors (Haar, RetinaFace) get an eighth.
        pages: pictures in one TIFF.
        member_pixels: of all pictures in one TIFF together, because several of them may share the same bytes. The
            default is 490 A4 pages at 300 dpi, or 16 of the largest photos.
        member_seconds: that looking at all pictures in one TIFF may take together.
        seconds: that decoding, or composing and encoding, one photo may take. A PNG of `pixels` needs about 4.
        memory_bytes: address space of a process that decodes. A 16-bit RGB TIFF of `pixels` takes 5.3 GiB to look at
            (its bytes, its pixels, the same in sRGB), and the last stage holds its pixels and its bytes once more.
    """

    pixels: int = 16384**2
    member_bytes: int = (1 << 31) - 1
    members: int = 10_000_000
    ratio: int = 500
    depth: int = 64
    detect_pixels: int = 64 << 20
    pages: int = 2000
    member_pixels: int = 1 << 32
    member_seconds: int = 600
    seconds: int = 60
    memory_bytes: int = 12 << 30


DEFAULTS = Limits()
