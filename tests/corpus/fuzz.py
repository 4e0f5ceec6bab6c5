"""Damaged archives and pictures by the thousand; `python -m tests.corpus.fuzz --cases 10000` prints the outcomes.

The same seed gives the same cases. Pictures go through the sandbox, archives through the readers of index and fetch.
"""

from __future__ import annotations

import argparse
import io
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.archives import reader as archives
from pipeline.archives.member import ArchiveError
from pipeline.config.limits import Limits
from pipeline.photos.errors import PhotoError
from pipeline.photos.view import view_of
from pipeline.sandbox import parent as sandbox
from tests.corpus.hostile_archives import Entry, raw_zip
from tests.corpus.hostile_tars import COMPRESS, END, block, filled, member, record
from tests.support.archives import tar_bytes, zip_bytes
from tests.support.coded_pictures import (
    HEIC,
    JPEG_IN_JPEG_XL,
    JPEG_XL,
    JPEG_XL_WITH_PROFILE,
    jpeg_of_12_bits,
    lossless_jpeg,
    old_jpeg,
    planar_tiles,
)
from tests.support.picture_files import DEEP, PIXELS
from tests.support.pictures import coffee

SEED = 20261124
LIMITS = Limits(seconds=10, memory_bytes=4 << 30)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 60_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
FILES = {f"{n}.bin": bytes([n]) * (700 * n) for n in range(4)}


@dataclass
class Results:
    """How many cases of each format had each outcome, the longest case in seconds, and unexpected errors."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    unforeseen: list[str] = field(default_factory=list)

    def count(self, format: str, work: Callable[[], str], name: str) -> None:
        begun = time.perf_counter()
        try:
            outcome = work()
        except Exception as error:
            outcome = f"unforeseen {type(error).__name__}"
            self.unforeseen.append(f"{name}: {type(error).__name__}: {error}")
        self.outcomes[format, outcome] += 1
        self.longest[format] = max(self.longest.get(format, 0.0), time.perf_counter() - begun)

    def table(self) -> str:
        """Markdown: a line for each format, a column for each outcome."""
        columns = sorted({outcome for _, outcome in self.outcomes})
        lines = ["| format | cases | " + " | ".join(columns) + " | longest, s |"]
        lines += ["| --- |" + " ---: |" * (len(columns) + 2)]
        for format in self.longest:
            counts = [self.outcomes[format, outcome] for outcome in columns]
            cells = [str(sum(counts)), *map(str, counts), f"{self.longest[format]:.2f}"]
            lines.append(f"| {format} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def fuzz(cases: int, only: str = "") -> Results:
    """Run this many cases, a fifth of them archives. only: a format."""
    results = Results()
    pictures = {name: data for name, data in originals().items() if only in ("", name)}
    archives = cases // 30 * 6  # of six kinds
    for n in range(cases - archives):
        chance = random.Random(f"{SEED}/{n}")
        format = list(pictures)[n % len(pictures)]
        data = mutated(chance.choice(pictures[format]), chance)
        results.count(format, lambda data=data: looked_at(data), f"picture {n}")  # type: ignore[misc]
    if not only:
        fuzz_archives(archives, results)
    return results


def looked_at(data: bytes) -> str:
    try:
        sandbox.run(view_of, data, LIMITS, limits=LIMITS)
    except PhotoError as error:
        return error.error_type
    return "decoded"


def originals() -> dict[str, list[bytes]]:
    """Small pictures of each format, one for each path through its decoder."""
    rgb, deep = Image.fromarray(coffee(48)), Image.fromarray(coffee(48)[..., 0].astype(np.uint16) * 257)
    grey, alpha, ink, few, bits = (rgb.convert(mode) for mode in ("L", "RGBA", "CMYK", "P", "1"))
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a description", 6

    def saved(image: Image.Image, format: str, **options: object) -> bytes:
        sink = io.BytesIO()
        image.save(sink, format, **options)
        return sink.getvalue()

    tiffs = [
        saved(rgb, "TIFF", compression=name) for name in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    ]
    tiffs += [saved(image, "TIFF") for image in (deep, grey, alpha, ink, few, bits)]
    tiffs += [saved(bits, "TIFF", compression="group4"), saved(rgb, "TIFF", save_all=True, append_images=[grey, bits])]
    return {
        "jpeg": [saved(rgb, "JPEG", exif=exif), saved(grey, "JPEG", progressive=True), saved(ink, "JPEG")],
        "png": [saved(image, "PNG", exif=exif) for image in (rgb, grey, alpha, few, bits, deep)],
        "tiff": tiffs,
        "webp": [
            saved(rgb, "WEBP", exif=exif),
            saved(alpha, "WEBP", lossless=True),
            saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        ],
        "bmp": [saved(image, "BMP") for image in (rgb, grey, few, bits)],
        "gif": [saved(few, "GIF"), saved(grey, "GIF", save_all=True, append_images=[grey.rotate(90)])],
        "avif": [saved(rgb, "AVIF", exif=exif), saved(alpha, "AVIF")],
        "heic": [HEIC],
        "jxl": [JPEG_XL, JPEG_XL_WITH_PROFILE, JPEG_IN_JPEG_XL],
        "jpeg, 12 bits or lossless": [jpeg_of_12_bits(DEEP[:36, :48] >> 4), lossless_jpeg(DEEP[:36, :48], 16)],
        "tiff, by libtiff": [planar_tiles(PIXELS[:36, :48], kind) for kind in ("lzw", "zstd")]
        + [old_jpeg(saved(rgb, "JPEG"), rgb.width, rgb.height)],
        "jp2": [saved(rgb, "JPEG2000"), saved(grey, "JPEG2000"), saved(rgb, "JPEG2000", irreversible=True)],
    }


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Apply one to four kinds of damage, half of them near the beginning, where the headers are."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        span = len(changed) if chance.random() < 0.5 else min(len(changed), 200)
        at = chance.randrange(max(1, span))
        chance.choice(DAMAGES)(changed, at, chance)
    return bytes(changed)


def flip(data: bytearray, at: int, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 3, 30))):
        if data:
            data[(at + chance.randrange(200)) % len(data)] ^= 1 << chance.randrange(8)


def cut(data: bytearray, at: int, chance: random.Random) -> None:
    del data[at:]


def delete(data: bytearray, at: int, chance: random.Random) -> None:
    del data[at : at + chance.randrange(1, 100)]


def insert(data: bytearray, at: int, chance: random.Random) -> None:
    data[at:at] = chance.randbytes(chance.randrange(1, 100))


def repeat(data: bytearray, at: int, chance: random.Random) -> None:
    """Insert a copy of a piece somewhere else."""
    start = chance.randrange(max(1, len(data)))
    data[at:at] = data[start : start + chance.randrange(1, 400)]


def number(data: bytearray, at: int, chance: random.Random) -> None:
    """Write an edge-case number, in either byte order and any width."""
    form = chance.choice(("<B", "<H", ">H", "<I", ">I"))
    new = struct.pack(form, chance.choice(NUMBERS) & ((1 << 8 * struct.calcsize(form)) - 1))
    data[at : at + len(new)] = new


def blank(data: bytearray, at: int, chance: random.Random) -> None:
    size = chance.randrange(1, 600)
    data[at : at + size] = chance.choice((b"\0", b"\xff")) * len(data[at : at + size])


DAMAGES = (flip, flip, cut, delete, insert, repeat, number, number, blank)


def opened(path: Path) -> str:
    """List and read an archive, like index and fetch."""
    members = []
    try:
        format = archives.archive_format(str(path))
        if format is None:
            return "no archive"
        for one in archives.list_members(str(path), format, LIMITS):
            members.append(one)
        end = "listed whole"
    except ArchiveError as error:
        end = error.error_type
    if members:
        assert format is not None
        found = list(archives.read_members(str(path), format, members, LIMITS))
        assert sorted(one.offset for one, _ in found) == sorted(one.offset for one in members)
    return end


def fuzz_archives(cases: int, results: Results) -> None:
    """Archives: half with any value in any field, a quarter damaged valid ones, a quarter random bytes."""
    ways = {"tar, generated": tars(), "zip, generated": zips(), "tar, damaged": damaged(whole_tars())}
    ways |= {"zip, damaged": damaged(whole_zips()), "compressed tar, damaged": damaged(whole_compressed())}
    ways |= {
        "random bytes": st.one_of(st.binary(max_size=2000), st.builds(bytes.__add__, MAGIC, st.binary(max_size=2000)))
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        for name, strategy in ways.items():
            _draw(strategy, cases // len(ways), partial(_archive_case, path, name, results))


def _archive_case(path: Path, name: str, results: Results, data: bytes) -> None:
    path.write_bytes(data)
    results.count(name, lambda: opened(path), f"{name}: {data[:2000]!r}")


def _draw(strategy: st.SearchStrategy[bytes], cases: int, work: Callable[[bytes], None]) -> None:
    """Apply `work` to this many examples. Hypothesis would shrink and repeat a failure; here every case counts once."""

    @seed(SEED)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def one_case(data: bytes) -> None:
        work(data)

    one_case()


MAGIC = st.sampled_from([b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
BYTES = st.binary(max_size=40)
SHORT = st.integers(0, 0xFFFF)
LONG = st.one_of(st.sampled_from([0, 1, 0xFFFFFFFE, 0xFFFFFFFF]), st.integers(0, 0xFFFFFFFF))


def tars() -> st.SearchStrategy[bytes]:
    """Headers with correct checksums and any bytes in the fields, and pax records with the relevant keywords."""
    size = st.one_of(st.binary(min_size=12, max_size=12), st.integers(0, 3000).map(lambda n: b"%011o\0" % n))
    headers = st.builds(
        block, st.binary(max_size=100), st.sampled_from([bytes([n]) for n in b"01234567LKxgSXVMDQ\0"]), size
    )
    keyword = st.sampled_from(
        [b"path", b"size", b"linkpath", b"mtime", b"hdrcharset", b"GNU.sparse.map", b"GNU.sparse.size",
         b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.name", b"GNU.sparse.realsize"]
    )  # fmt: skip
    value = st.one_of(BYTES, st.integers(-5, 1 << 70).map(lambda n: b"%d" % n))
    records = st.lists(st.one_of(st.builds(record, keyword, value), BYTES), max_size=4).map(b"".join)
    extended = st.builds(member, st.just(b"pax"), records, st.sampled_from([b"x", b"g"]))
    long_name = st.builds(member, st.just(b"././@LongLink"), BYTES, st.sampled_from([b"L", b"K"]))
    pieces = st.one_of(headers, extended, long_name, st.builds(member, BYTES, BYTES), BYTES.map(filled))
    return st.lists(pieces, min_size=1, max_size=6).map(lambda parts: b"".join(parts) + END)


def zips() -> st.SearchStrategy[bytes]:
    wide = st.one_of(BYTES, st.binary(max_size=32).map(lambda data: struct.pack("<2H", 1, len(data)) + data))
    right = st.none()
    entry = st.builds(
        Entry, BYTES, BYTES, st.sampled_from([0, 8, 12, 14, 99, 77]), SHORT, packed=st.one_of(right, BYTES),
        size=st.one_of(right, LONG), packed_size=st.one_of(right, LONG), crc=st.one_of(right, LONG),
        offset=st.one_of(right, LONG), extra=wide, attributes=LONG, made_by=SHORT, local=st.one_of(right, BYTES),
    )  # fmt: skip
    return st.builds(
        lambda entries, comment, count, disk, start: raw_zip(
            *entries, comment=comment, count=count, disk=disk, start=start
        ),
        st.lists(entry, max_size=5),
        BYTES,
        st.one_of(right, SHORT),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0, 0, 7, 10**6]),
    )


def whole_tars() -> list[bytes]:
    import tarfile

    return [tar_bytes(FILES, format=form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)]


def whole_zips() -> list[bytes]:
    return [zip_bytes(FILES), zip_bytes(FILES, 0)]


def whole_compressed() -> list[bytes]:
    return [compress(tar_bytes(FILES)) for compress in COMPRESS.values()]


def damaged(originals: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda data, chance: mutated(data, random.Random(chance)), st.sampled_from(originals), st.integers(0, 1 << 64)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--only", default="", help="pictures of one format, as jpeg")
    options = parser.parse_args()
    begun = time.perf_counter()
    results = fuzz(options.cases, options.only)
    print(results.table())
    print(f"{sum(results.outcomes.values())} cases in {time.perf_counter() - begun:.0f} s")
    print("\n".join(results.unforeseen), file=sys.stderr)
    return 1 if results.unforeseen else 0


if __name__ == "__main__":
    sys.exit(main())
