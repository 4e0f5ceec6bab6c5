"""Damaged archives and pictures: the worker does not crash or hang, and each case has an expected outcome."""

from __future__ import annotations

import pytest

from tests.corpus.fuzz import LIMITS, Results, fuzz

# The expected outcomes for a damaged file; any other outcome is a bug.
FORESEEN = {
    "decoded", "listed whole", "empty_file", "not_an_image", "unsupported_format", "truncated", "decode_error",
    "too_large", "too_many_pages", "too_slow", "out_of_memory", "decoder_crashed", "archive_truncated",
    "archive_unreadable", "too_compressed", "unsupported_archive",
}  # fmt: skip


def check(results: Results, cases: int) -> None:
    assert results.unforeseen == []
    assert {outcome for _, outcome in results.outcomes} <= FORESEEN
    assert sum(results.outcomes.values()) == cases
    assert max(results.longest.values()) < LIMITS.seconds + 10  # the limit, and another child


def test_some_damaged_files() -> None:
    results = fuzz(4000)
    check(results, 4000)
    decoded = {format for format, outcome in results.outcomes if outcome in ("decoded", "listed whole")}
    assert decoded >= {"jpeg", "png", "tiff", "webp", "bmp", "gif", "avif", "jp2", "heic", "jxl"}
    assert decoded >= {"jpeg, 12 bits or lossless", "tiff, by libtiff", "tar, damaged", "zip, damaged"}


def test_the_same_seed_gives_the_same_cases() -> None:
    assert fuzz(200).outcomes == fuzz(200).outcomes


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_damaged_files() -> None:
    check(fuzz(10_000), 10_000)
