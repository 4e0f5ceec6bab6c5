"""Damaged JPEG files that still decode: libjpeg fills in rows that it cannot read, with a warning or without one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyvips

from pipeline.photos.bit_depth import Native
from pipeline.photos.colour_space import array
from pipeline.photos.container import jpeg_scan, jpeg_segments
from pipeline.photos.warning import PhotoWarning

START, END = b"\xff\xd8\xff", b"\xff\xd9"
TABLES, PROGRESSIVE = 0xC4, 0xC2  # markers of Huffman tables and of a progressive frame
AC, END_OF_BLOCK = 0x10, 0
# Some cameras write a few bytes more than a scan needs; libjpeg skips them.
SPARE = re.compile(r"Corrupt JPEG data: (\d{1,2}) extraneous bytes")
ZEROS = bytes(512)  # left by a bad sector or an aborted copy
MID_GREY = (127, 128)  # libjpeg's filling for missing data, and the same in inverted CMYK


def is_jpeg(data: bytes) -> bool:
    return data.startswith(START)


def pixels(data: bytes) -> tuple[Native, tuple[PhotoWarning, ...]]:
    """(H, W, B) in the file's own channels, and warnings of damage. Raises pyvips.Error if the file is cut off."""
    hole = _hole(data)
    pyvips.vips_lib.vips_error_clear()  # it may hold warnings of an earlier file
    complaints = ["data are missing"] if hole else []
    try:
        native = _read(data, "warning")
    except pyvips.Error as error:
        complaints += [line.partition("data: ")[2] for line in str(error).splitlines() if _is_damage(line)]
        if not hole and END not in data[-64:]:
            try:
                return _read(data + END, "warning"), (_no_end(data),)
            except pyvips.Error:
                pass  # more than the end marker is missing: the next reading reports it
        native = _read(data, "error")
    return native, ((_damage(data, native, hole, complaints[-1]),) if complaints else ())


def _read(data: bytes, fail_on: str) -> Native:
    return array(pyvips.Image.new_from_buffer(data, "", fail_on=fail_on, access="sequential"))


def _is_damage(line: str) -> bool:
    return "Corrupt JPEG data: " in line and not SPARE.search(line)


def _hole(data: bytes) -> int:
    """Where the scan has zeros that no picture encodes to; 0 if there are none.

    Zeros are the shortest code of a table. A plain picture has many of them, but only if this code means the end of a
    block in every table.
    """
    scan = jpeg_scan(data)
    hole = data.find(ZEROS, scan, scan_end(data))
    if hole < 0 or _is_progressive(data):
        return 0
    shortest = {symbol for marker, body in jpeg_segments(data) if marker == TABLES for symbol in _shortest_codes(body)}
    return 0 if shortest <= {END_OF_BLOCK} else hole


def scan_end(data: bytes) -> int:
    """Where the picture's end marker is; the end of the data if there is none."""
    end = data.find(END, jpeg_scan(data))
    return end if end >= 0 else len(data)


def _shortest_codes(tables: bytes) -> list[int]:
    """For each AC table in a segment (ITU-T T.81, B.2.4.2), the symbol whose code is all zeros."""
    found, place = [], 0
    while place + 17 < len(tables):
        if tables[place] & AC:
            found.append(tables[place + 17])
        place += 17 + sum(tables[place + 1 : place + 17])
    return found


def _is_progressive(data: bytes) -> bool:
    return any(marker == PROGRESSIVE for marker, _ in jpeg_segments(data))


def _no_end(data: bytes) -> PhotoWarning:
    detail = ", and perhaps detail: it is progressive" if _is_progressive(data) else ""
    return PhotoWarning("no_end_marker", f"the JPEG lacks its end marker{detail}")


def _damage(data: bytes, native: Native, hole: int, complaint: str) -> PhotoWarning:
    lost = made_up(native, MID_GREY)
    if hole:  # rows after the hole are missing or in the wrong place
        lost = max(lost, made_up(_read(data[:hole] + END, "none"), MID_GREY))
    if not lost:
        return PhotoWarning("rows_lost", f"damaged ({complaint}): the decoder filled in rows, but it is unknown which")
    return rows_lost(lost, len(native))


def rows_lost(lost: int, rows: int) -> PhotoWarning:
    words = f"damaged: the last {lost} of {rows} rows ({100 * lost / rows:.0f} %) are filled in or out of place"
    return PhotoWarning("rows_lost", words)


def made_up(native: Native, grey: Sequence[int]) -> int:
    """How many rows at the end are entirely mid-grey."""
    real = np.flatnonzero(~np.isin(native, grey).all(axis=(1, 2)))
    return len(native) - 1 - int(real[-1]) if len(real) else len(native)
