"""Decode formats that libvips' wheel leaves out, each with the library that reads it."""

from __future__ import annotations

import numpy as np
import pyvips

from pipeline.config.limits import Limits
from pipeline.photos import bmp, deep_jpeg, heic, jpeg, jpeg2000, jpeg_xl, libtiff, read_metadata, tiff_pages
from pipeline.photos import metadata as photos_metadata
from pipeline.photos.bit_depth import full_range, spread
from pipeline.photos.colour_space import Space
from pipeline.photos.diagnosis import diagnose
from pipeline.photos.errors import PhotoError
from pipeline.photos.jpeg_appendix import appendix
from pipeline.photos.jxl_header import P3
from pipeline.photos.losses import left_out
from pipeline.photos.photo import Photo
from pipeline.photos.tiff import ORIENTATION, Fields
from pipeline.photos.upright import check_size, peak, upright

BLOCK = 8  # rows in a block of a JPEG


def photo_of(data: bytes, limits: Limits) -> Photo | None:
    """The photo; None for a file that libvips reads. Raises PhotoError; ValueError for a broken file."""
    if bmp.is_bmp(data):
        return _of_bmp(data, limits)
    if jpeg2000.is_jpeg2000(data):
        return _of_jpeg2000(data, limits)
    if heic.is_heic(data):
        return _of_heic(data, limits)
    if jpeg_xl.is_jpeg_xl(data):
        return _of_jpeg_xl(data, limits)
    if jpeg.is_jpeg(data) and (frame := deep_jpeg.frame(data)) and frame.is_deep:
        return _of_deep_jpeg(data, frame, limits)
    fields = libtiff.wanted(data)
    return None if fields is None else _of_libtiff(data, fields, limits)


def _of_bmp(data: bytes, limits: Limits) -> Photo:
    header = bmp.header(data)
    check_size(header.width, header.height, limits)
    native = bmp.pixels(data, header)
    colours = 1 if native.shape[2] == 1 else 3
    return Photo(
        native,
        Space(colours, 255, header.profile),
        "bmp",
        min(header.bits, 8),
        header.metadata,
        warnings=left_out(header.metadata),
    )


def _of_jpeg2000(data: bytes, limits: Limits) -> Photo:
    header = jpeg2000.header(data)
    check_size(header.width, header.height, limits)
    native = spread(jpeg2000.pixels(data, header), header.bits)
    turn = photos_metadata.orientation(header.metadata.exif)
    space = Space(1 if native.shape[2] < 3 else 3, peak(native), header.profile)
    known = header.metadata
    return Photo(
        upright(native, turn),
        space,
        "jp2",
        header.bits,
        known,
        orientation=turn,
        extra_samples=header.extra,
        warnings=left_out(known),
    )


def _of_heic(data: bytes, limits: Limits) -> Photo:
    """A HEIC file states its rotation itself, and libheif applies it: EXIF's orientation does not count."""
    header = heic.header(data)
    check_size(header.width, header.height, limits)
    native, colours = heic.pixels(header)
    if native.dtype == np.uint16:  # with the bits at the top
        native = full_range(native, header.bits, 16 - header.bits)
    space = Space(colours, peak(native), header.profile)
    return Photo(
        native, space, "heic", header.bits, header.metadata, warnings=(*header.warnings, *left_out(header.metadata))
    )


def _of_jpeg_xl(data: bytes, limits: Limits) -> Photo:
    file = jpeg_xl.opened(data)
    header = file.header
    check_size(header.width, header.height, limits)
    native = spread(jpeg_xl.pixels(data, file), header.bits)
    profile = bytes(pyvips.Operation.call("profile_load", "p3")) if header.colour == P3 else None
    if header.has_profile:
        profile = jpeg_xl.profile(data)
    space = Space(header.colours, peak(native), profile)
    return Photo(
        native, space, "jxl", header.bits, file.metadata, extra_samples=file.extra, warnings=left_out(file.metadata)
    )


def _of_deep_jpeg(data: bytes, frame: deep_jpeg.Frame, limits: Limits) -> Photo:
    check_size(frame.width, frame.height, limits)
    stored = deep_jpeg.pixels(data, frame)
    native = spread(stored, frame.bits)
    lost = jpeg.made_up(stored, [1 << (frame.bits - 1)])
    damage = [jpeg.rows_lost(lost, frame.height)] if lost >= BLOCK else []
    known = read_metadata.of_jpeg(data)
    turn = photos_metadata.orientation(known.exif)
    return Photo(
        upright(native, turn),
        Space(frame.channels, peak(native), deep_jpeg.profile(data)),
        "jpeg",
        frame.bits,
        known,
        orientation=turn,
        warnings=(*damage, *left_out(known), *appendix(data)),
    )


def _of_libtiff(data: bytes, fields: Fields, limits: Limits) -> Photo:
    if tiff_pages.is_camera_raw(data):
        raise PhotoError(*diagnose(data, "a camera's raw file"))
    check_size(*libtiff.size(fields), limits)
    native, colours = libtiff.pixels(data, fields)
    known = read_metadata.of_tiff(data)
    turn = libtiff.number(fields, ORIENTATION, 1)
    turn = turn if turn in range(1, 9) else 1
    profile = fields[read_metadata.ICC].value if read_metadata.ICC in fields else None
    extra = (*tiff_pages.extra_samples(data), *[tiff_pages.UNSPECIFIED] * native.shape[2])
    return Photo(
        upright(native, turn),
        Space(colours, peak(native), profile),
        "tiff",
        8 * native.itemsize,
        known,
        orientation=turn,
        extra_samples=extra[: native.shape[2] - colours],
        warnings=left_out(known),
    )
