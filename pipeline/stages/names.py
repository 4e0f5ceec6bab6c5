"""The paths of restored photos below restored/. No two photos share a file, and no file needs the name of a folder.

A worker names a photo from its row alone, so the names have to differ by construction. "The same" here means what
`folded_path` means: case, Unicode forms, and dots and spaces at the end of a name do not count. Two photos of an
archive whose paths are the same differ in `occurrence`, and pages in `page`; those get a name with their photo_id,
after MARK, which no member's name contains.

`unique` (the default): the member's path and the ending of the output, `x.jpg` -> `x.jpg.jpg`. Names without a mark are
the same only if path and ending are the same.

`source`: `x.jpg` stays `x.jpg` if the output is a JPEG, and if what is before the ending is not again named like a
picture. Else `x.png` -> `x.png.jpg` as above, but only for a path that is named like a picture; any other (`x`, whose
unique name `x.jpg` may be kept by another photo) gets its photo_id. So a kept name, without its ending, is never named
like a picture, and an unmarked other name, without its ending, always is: they never meet, whatever the formats.
"""

from __future__ import annotations

from pipeline.archives.names import MARK, fitting, folded_path, normal_path
from pipeline.photos.suffixes import IMAGE_SUFFIXES, SUFFIXES
from pipeline.stages.row import Row

_ENDINGS = tuple(suffix for known in SUFFIXES.values() for suffix in known)  # of files below restored/

NAMES = ("unique", "source")


def restored_path(current: Row, format: str, names: str = "unique") -> str:
    """The path below restored/. format: a key of SUFFIXES, the output's. names: one of NAMES, the same in all of a run.

    A folder that is named like a restored file gets a mark: `x.jpg` and the folder `x.jpg.jpg` would need one name.
    """
    *folders, name = normal_path(current["member"]).split("/")
    folders = [f"{one}{MARK}" if one.casefold().rstrip(". ").endswith(_ENDINGS) else one for one in folders]
    path = "/".join((*folders, name))
    archive, one_of_many = fitting(current["archive_name"], ""), current["occurrence"] or current["pages"] > 1
    if names == "source" and not one_of_many and _keeps(path, name, format):
        return f"{archive}/{path}"
    marked = current["occurrence"] or current["page"] > 1 or (names == "source" and not _like_a_picture(name))
    again = f".{MARK}{current['photo_id']}" if marked else ""
    return f"{archive}/{fitting(path, f'{again}{SUFFIXES[format][0]}')}"


def _keeps(path: str, name: str, format: str) -> bool:
    """Whether a file of this format can have this name. A name that is too long for a disk is shortened."""
    ending = next((one for one in SUFFIXES[format] if name[-len(one) :].lower() == one), None)
    return ending is not None and not _like_a_picture(name[: -len(ending)]) and fitting(path, "") == path


def _like_a_picture(name: str) -> bool:
    return folded_path(name).endswith(IMAGE_SUFFIXES)
