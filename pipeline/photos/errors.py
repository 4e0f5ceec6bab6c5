"""The error of one member, in a separate module so that it can be raised, pickled and caught without a decoder."""

from __future__ import annotations

from interlcm.errors import InterLCMError


class PhotoError(InterLCMError):
    """A member is not a photo, is broken, or exceeds a limit. The message is one line.

    error_type: the manifest's error_type: empty_file, not_an_image, unsupported_format, truncated, decode_error,
    too_large, too_many_pages, too_slow, out_of_memory, decoder_crashed and others.
    """

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(error_type, message)
        self.error_type = error_type
        self.message = message

    def __str__(self) -> str:
        return self.message


def out_of_memory(memory_bytes: int) -> PhotoError:
    return PhotoError("out_of_memory", f"needs more than the limit of {memory_bytes >> 20} MiB of memory")
