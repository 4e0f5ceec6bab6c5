"""One photo in, one restored photo out: the same bytes as a run writes, whatever the photo is given as."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from jobs import run as command
from jobs.api import PhotoError, Restorer
from pipeline.config.settings import Settings
from pipeline.storage.errors import StorageError
from tests.support.archives import tar_bytes
from tests.support.certificates import signer
from tests.support.picture_files import by_opencv
from tests.support.pictures import astronaut, coffee, decoded, encoded, hopper, side_by_side

MATRIX = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def restorer(tiny_weights: str) -> Restorer:
    return Restorer.from_pretrained(tiny_weights)


def deep(pixels: Any) -> Any:
    """The same picture in 16 bits, with low bytes of its own."""
    return pixels.astype(np.uint16) * 257 ^ np.arange(pixels.size, dtype=np.uint16).reshape(pixels.shape) % 64


def test_bytes_are_those_of_a_run(tmp_path: Path) -> None:
    data = by_opencv(".png", deep(hopper()))
    loose, archive, output = tmp_path / "loose.jpg", tmp_path / "scans.tar", tmp_path / "out"
    loose.write_bytes(encoded(astronaut()))
    archive.write_bytes(tar_bytes({"box/deep.png": data}))
    command.run(command.Request([str(archive), str(loose)], str(output), Settings(dtype="auto"), engine="here"))
    files = [path for path in (output / "restored").rglob("*") if path.is_file()]
    written = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    demo = Restorer.from_pretrained("demo")
    made = {"loose.jpg": demo.restore(loose)}
    made["deep.png"] = demo.restore(data, source=str(archive), member="box/deep.png")
    assert {name: hashlib.sha256(one.to_bytes()).hexdigest() for name, one in made.items()} == written
    assert made["deep.png"].array.dtype == np.uint16


def test_a_face_has_box_landmarks_measures_and_crops(restorer: Restorer) -> None:
    picture = side_by_side(astronaut(), hopper())
    restored = restorer.restore(encoded(picture, "PNG"))
    assert (restored.status, restored.format, len(restored.faces)) == ("restored", "png", 2)
    assert restored.array.shape == picture.shape
    for face in restored.faces:
        x0, y0, x1, y1 = face.box
        assert x0 < face.landmarks[:, 0].mean() < x1 and y0 < face.landmarks[:, 1].mean() < y1
        assert face.before.shape == face.after.shape == (32, 32, 3)
        assert (face.before != face.after).any()
        assert face.measures["psnr"] and face.measures["eye_distance"]
        assert "accepted" not in face.measures  # a decision that nobody made
        assert face.needs_review == bool(face.review_reason) and face.strength == 1
    left, right = sorted(restored.faces, key=lambda face: face.box[0])
    assert left.box[2] <= right.box[0] + 8


def test_path_bytes_image_and_array_are_the_same_photo(restorer: Restorer, tmp_path: Path) -> None:
    pixels = hopper()
    file = tmp_path / "photo.png"
    Image.fromarray(pixels).save(file)
    made = [restorer.restore(photo) for photo in (file, str(file), file.read_bytes(), Image.open(file), pixels)]
    assert [one.format for one in made] == ["png"] * 5
    assert [len(one.faces) for one in made] == [1] * 5
    faces = {one.faces[0].before.tobytes() for one in made}
    assert len(faces) == 1
    for one in made:
        assert (one.array[-8:] == pixels[-8:]).all()  # far from the face
        assert np.asarray(one.image).shape == pixels.shape


@pytest.mark.parametrize("shape", ["grey", "rgb", "rgba"])
def test_an_array_keeps_its_depth_and_the_order_of_its_channels(restorer: Restorer, shape: str) -> None:
    pixels = deep(coffee())
    given = {"grey": pixels[..., 0], "rgb": pixels, "rgba": np.dstack([pixels, pixels[..., 0] | 0xFF00])}[shape]
    restored = restorer.restore(given)
    assert restored.status == "no_face"
    expected = np.repeat(pixels[..., :1], 3, 2) if shape == "grey" else pixels
    assert restored.array.dtype == np.uint16
    assert np.abs(restored.array.astype(int) - expected).max() <= 1


def test_an_image_is_turned_upright_and_keeps_its_profile(restorer: Restorer) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    lying = Image.fromarray(np.rot90(hopper()).copy())
    stream = io.BytesIO()
    lying.save(stream, "JPEG", exif=exif, icc_profile=MATRIX, quality=95)
    restored = restorer.restore(Image.open(stream))
    assert restored.image.size == (lying.height, lying.width)
    assert len(restored.faces) == 1
    assert Image.open(io.BytesIO(restored.to_bytes())).info["icc_profile"] == MATRIX


@pytest.mark.parametrize(
    ("photo", "kind", "words"),
    [
        (np.zeros((8, 8, 3)), ValueError, "float64: give (H, W)"),
        (np.zeros((8, 8, 2), np.uint8), ValueError, "(8, 8, 2)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, "(0, 8, 3): it has no pixels"),
        (Image.new("CMYK", (8, 8)), ValueError, "mode CMYK: convert it"),
        (7, TypeError, "int is no type of photo"),
        ("/nowhere/a.jpg", StorageError, "/nowhere/a.jpg"),
        (b"", PhotoError, "empty"),
        (b"\xff\xd8\xff", PhotoError, "the photo: "),
    ],
)
def test_what_is_no_photo_is_refused_in_a_line(restorer: Restorer, photo: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind) as refused:
        restorer.restore(photo)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_photo_without_a_face_comes_back_as_it_is(restorer: Restorer, tmp_path: Path) -> None:
    data = encoded(coffee())
    restored = restorer.restore(data)
    assert (restored.status, restored.faces, restored.to_bytes()) == ("no_face", (), data)
    restored.save(tmp_path / "same.jpg")
    assert (tmp_path / "same.jpg").read_bytes() == data
    with pytest.raises(ValueError, match=r"same.png: the photo is a jpeg; name it .jpg, or give format="):
        restored.save(tmp_path / "same.png")


def test_pages_of_a_tiff_are_photos_of_their_own(restorer: Restorer) -> None:
    stream = io.BytesIO()
    first, second = Image.fromarray(hopper()), Image.fromarray(coffee())
    first.save(stream, "TIFF", save_all=True, append_images=[second])
    with pytest.raises(ValueError, match="2 pages; restore_pages restores all of them"):
        restorer.restore(stream.getvalue())
    one, other = restorer.restore_pages(stream.getvalue())
    assert (one.status, other.status) == ("restored", "no_face")
    assert one.image.size == first.size
    assert (decoded(other.to_bytes()) == coffee()).all()


def test_a_signed_photo_says_so(tiny_weights: str, tmp_path: Path) -> None:
    key, certificate = signer(tmp_path)
    restorer = Restorer.from_pretrained(tiny_weights, c2pa_key=str(key), c2pa_cert=certificate)
    assert b"c2pa" in restorer.restore(encoded(hopper())).to_bytes()
    with pytest.raises(ValueError, match="give both"):
        Restorer.from_pretrained(tiny_weights, c2pa_key=key)


def test_a_notebook_shows_before_and_after(restorer: Restorer) -> None:
    restored = restorer.restore(encoded(side_by_side(astronaut(), hopper())))
    shown, plain = (decoded(one._repr_png_()) for one in (restored, restorer.restore(coffee())))
    assert len(shown) == len(plain)
    assert shown.shape[1] > 2 * restored.array.shape[1] + 2 * 177
    assert plain.shape[1] == coffee().shape[1]
