"""Limits for untrusted input. Ordinary archive scans stay below the defaults."""

from __future__ import annotations

from dataclasses import dataclass

# Below this many unpacked bytes the ratio is not checked: a blank page of 100 MB compresses as well as a bomb.
RATIO_COUNTS_FROM = 256 << 20


@dataclass(frozen=True)
class Limits:
    """A photo or an archive beyond a limit gets a row with the reason, before a worker runs out of resources.

    Attributes:
        pixels: most pixels of one photo. The default is an A3 page at 1000 dpi, which takes 1.6 GB as 16-bit RGB.
        member_bytes: most bytes of one member, unpacked. An uncompressed 16-bit scan of `pixels` has 1.6 GB.
        members: most members of one archive.
        ratio: most unpacked bytes per stored byte, of one member and of a compressed tar up to any place in it;
            checked once RATIO_COUNTS_FROM bytes are unpacked. Deflate reaches 1032; an uncompressed bilevel scan about
            50.
        depth: most folders in a member's path.
        detect_pixels: most pixels that a detector searches in one photo, all scales together. A larger photo is
            searched at a smaller scale, which misses its smallest faces. The default suffices for faces of 24 px in a
            scan of 12,000 x 9,000 px. Slow detectors (Haar, RetinaFace) get an eighth.
        pages: most pages of one TIFF.
        member_pixels: most pixels of all pages of one TIFF together, because pages may share the same bytes. The
            default is 490 A4 pages at 300 dpi, or 16 of the largest photos.
        member_seconds: most time to decode all pages of one TIFF together.
        seconds: most time to decode one photo, or to paste its faces and encode it. A PNG of `pixels` needs about 4.
        memory_bytes: most address space of a decoding process. A 16-bit RGB TIFF of `pixels` takes 5.3 GiB to read (its
            bytes, its pixels, its pixels in sRGB); the last stage holds its pixels and bytes once more.
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
