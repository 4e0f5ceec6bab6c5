"""Endings of the names of picture files."""

from __future__ import annotations

# Those of each format that `decode` gives, the usual one first. A format that is written has the ending of
# `encode.EXTENSIONS` first.
SUFFIXES = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
    "avif": (".avif",),
    "gif": (".gif",),
    "bmp": (".bmp", ".dib"),
    "jp2": (".jp2", ".j2k", ".jpf", ".jpx"),
    "jxl": (".jxl",),
    "heic": (".heic", ".heif", ".hif"),
}
# Of formats that are not decoded, or are decoded as one of those above.
OTHERS = (".mpo", ".jxr", ".psd", ".dng", ".nef", ".cr2", ".cr3", ".arw")
# A member with such a name should be a photo. If its content is not an image, it is damaged.
IMAGE_SUFFIXES = (*(suffix for known in SUFFIXES.values() for suffix in known), *OTHERS)
