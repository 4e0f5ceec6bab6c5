"""JPEG files that are damaged, and still decode: libjpeg makes up what it cannot read, and says so in a warning or not
at all."""

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
# Some cameras write a few bytes more than a scan needs; libjpeg leaves them out.
SPARE = re.compile(r"Corrupt JPEG data: (\d{1,2}) extraneous bytes")
ZEROS = bytes(512)  # what a bad sector or an aborted copy leaves
MID_GREY = (127, 128)  # what libjpeg puts where there are no data, and what is left of it in inverted CMYK


def is_jpeg(data: bytes) -> bool:
    return data.startswith(START)


def pixels(data: bytes) -> tuple[Native, tuple[PhotoWarning, ...]]:
    """(H, W, B) as the file has them, and what is wrong with them. Raises pyvips.Error where the file is cut off."""
    hole = _hole(data)
    pyvips.vips_lib.vips_error_clear()  # warnings of an earlier file may stand there
    complaints = ["data are missing in it"] if hole else []
    try:
        native = _read(data, "warning")
    except pyvips.Error as error:
        complaints += [line.partition("data: ")[2] for line in str(error).splitlines() if _is_damage(line)]
        if not hole and END not in data[-64:]:
            try:
                return _read(data + END, "warning"), (_no_end(data),)
            except pyvips.Error:
                pass  # more is missing than that: the next reading says so
        native = _read(data, "error")
    return native, ((_damage(data, native, hole, complaints[-1]),) if complaints else ())


def _read(data: bytes, fail_on: str) -> Native:
    return array(pyvips.Image.new_from_buffer(data, "", fail_on=fail_on, access="sequential"))


def _is_damage(line: str) -> bool:
    return "Corrupt JPEG data: " in line and not SPARE.search(line)


def _hole(data: bytes) -> int:
    """Where zeros stand in the scan that no picture gives; 0 where there are none.

    Zeros are the shortest code of a table. A plain picture gives many of them, but only where that is the code for the
    end of a block in each table.
    """
    scan = jpeg_scan(data)
    hole = data.find(ZEROS, scan, scan_end(data))
    if hole < 0 or _is_progressive(data):
        return 0
    shortest = {symbol for marker, body in jpeg_segments(data) if marker == TABLES for symbol in _shortest_codes(body)}
    return 0 if shortest <= {END_OF_BLOCK} else hole


def scan_end(data: bytes) -> int:
    """Where the picture's end marker stands; the end of the data where there is none."""
    end = data.find(END, jpeg_scan(data))
    return end if end >= 0 else len(data)


def _shortest_codes(tables: bytes) -> list[int]:
    """Of each AC table in a segment (ITU-T T.81, B.2.4.2) the symbol whose code is all zeros."""
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
    if hole:  # what follows it stands in the wrong place, if there is anything
        lost = max(lost, made_up(_read(data[:hole] + END, "none"), MID_GREY))
    if not lost:
        return PhotoWarning("rows_lost", f"damaged ({complaint}): which rows are made up cannot be told")
    return rows_lost(lost, len(native))


def rows_lost(lost: int, rows: int) -> PhotoWarning:
    words = f"damaged: the last {lost} of {rows} rows ({100 * lost / rows:.0f} %) are made up or out of place"
    return PhotoWarning("rows_lost", words)


def made_up(native: Native, grey: Sequence[int]) -> int:
    """How many rows at the end are nothing but this mid-grey."""
    real = np.flatnonzero(~np.isin(native, grey).all(axis=(1, 2)))
    return len(native) - 1 - int(real[-1]) if len(real) else len(native)
