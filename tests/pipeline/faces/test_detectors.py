from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from matplotlib import cbook

from pipeline.faces.detectors import RETINAFACE_FILES, load_detector
from pipeline.faces.face import DetectorError
from pipeline.faces.haar import HaarDetector
from pipeline.faces.retinaface import RetinaFaceDetector

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
    faces = haar.detect(read(SOLVAY), min_face=24)

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
    (face,) = haar.detect(pixels, min_face=40)
    tolerance = 0.12 * np.hypot(*np.subtract(right_eye, left_eye))
    assert np.hypot(*(face.landmarks[0] - left_eye)) < tolerance
    assert np.hypot(*(face.landmarks[1] - right_eye)) < tolerance
    assert face.landmarks.shape == (5, 2) and face.landmarks.dtype == np.float32
    assert 0.5 <= face.score <= 1


def test_haar_is_deterministic_and_keeps_to_min_face(haar: HaarDetector) -> None:
    pixels = skimage.data.astronaut()
    first, second = haar.detect(pixels, min_face=40), haar.detect(pixels, min_face=40)
    assert [face.box for face in first] == [face.box for face in second]
    assert np.array_equal(first[0].landmarks, second[0].landmarks)
    assert haar.detect(pixels, min_face=200) == []


def test_haar_searches_a_large_scan_smaller_and_answers_in_its_pixels(haar: HaarDetector) -> None:
    pixels = skimage.data.astronaut()
    large = cv2.resize(pixels, (3072, 3072), interpolation=cv2.INTER_CUBIC)
    (small_face,), (large_face,) = haar.detect(pixels, 60), haar.detect(large, 360)
    assert np.allclose(large_face.landmarks / 6, small_face.landmarks, atol=4)


@pytest.mark.parametrize("pixels", [np.zeros((300, 300, 3), np.uint8), np.zeros((5, 3, 3), np.uint8)])
def test_haar_finds_nothing_in_an_empty_picture(haar: HaarDetector, pixels: np.ndarray) -> None:
    assert haar.detect(pixels, min_face=10) == []


def write_random_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """A seeded file as facexlib publishes it: a state dict whose keys carry DataParallel's prefix."""
    from facexlib.detection.retinaface import RetinaFace

    torch.manual_seed(0)
    file, network = RETINAFACE_FILES[name]
    state = RetinaFace(network_name=network, half=False, device=torch.device("cpu")).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, folder / file)
    return dict(state)


@pytest.fixture(scope="module")
def mobile_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face")
    write_random_weights(folder, "retinaface_mobile0.25")
    return folder


@pytest.mark.parametrize("name", RETINAFACE_FILES)
def test_retinaface_loads_every_weight_of_facexlibs_file(tmp_path: Path, name: str) -> None:
    state = write_random_weights(tmp_path, name)
    detector = load_detector(name, tmp_path)
    assert isinstance(detector, RetinaFaceDetector) and detector.name == name
    loaded = detector._network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key].cpu(), state[key]) for key in state)


def test_retinaface_answers_in_photo_pixels_with_large_and_small_views(
    mobile_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Untrained, the network is unsure of everything: with the threshold down its raw boxes show the geometry.
    monkeypatch.setattr(RetinaFaceDetector, "CONFIDENCE", 0.0)
    monkeypatch.setattr(RetinaFaceDetector, "LONGEST_SIDE", 256)
    monkeypatch.setattr(RetinaFaceDetector, "OVERVIEW_SIDE", 96)
    detector = load_detector("retinaface_mobile0.25", mobile_weights)
    faces = detector.detect(skimage.data.astronaut(), min_face=30)
    centres = np.array([((f.box[0] + f.box[2]) / 2, (f.box[1] + f.box[3]) / 2) for f in faces])
    # How many are left of boxes that all have about the same score, differs between processors.
    assert len(faces) > 1 and centres.max() > 400 and centres.min() < 112  # all over the 512 px photo
    assert all(face.box[2] - face.box[0] >= 30 and 0 <= face.score <= 1 for face in faces)
    assert all(face.landmarks.shape == (5, 2) for face in faces)
    again = detector.detect(skimage.data.astronaut(), min_face=30)
    assert [face.box for face in again] == [face.box for face in faces]


def test_retinaface_never_looks_at_more_than_its_longest_side(
    mobile_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetinaFaceDetector, "LONGEST_SIDE", 256)
    monkeypatch.setattr(RetinaFaceDetector, "OVERVIEW_SIDE", 96)
    detector = load_detector("retinaface_mobile0.25", mobile_weights)
    assert isinstance(detector, RetinaFaceDetector)
    seen: list[tuple[int, ...]] = []
    detector._network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    detector.detect(np.zeros((100, 2560, 3), np.uint8), min_face=24)
    assert seen == [(10, 256)]
    detector.detect(np.zeros((256, 512, 3), np.uint8), min_face=24)
    assert seen[1:] == [(96, 192), (128, 256)]


def test_retinaface_leaves_the_gpu_to_the_model(mobile_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # what an actor sees that asked Ray for no GPU
    detector = load_detector("retinaface_mobile0.25", mobile_weights)
    assert isinstance(detector, RetinaFaceDetector)
    assert {value.device.type for value in detector._network.state_dict().values()} == {"cpu"}
    assert detector.detect(np.zeros((64, 64, 3), np.uint8), min_face=24) == []


@pytest.mark.parametrize("shape", [(1, 60000, 3), (60000, 1, 3)])
def test_a_photo_one_pixel_wide_has_no_face(haar: HaarDetector, shape: tuple[int, int, int]) -> None:
    assert haar.detect(np.zeros(shape, np.uint8), min_face=24) == []


def test_auto_takes_retinaface_where_its_weights_are_and_haar_otherwise(tmp_path: Path, mobile_weights: Path) -> None:
    assert load_detector("auto", None).name == "haar"
    assert load_detector("auto", tmp_path).name == "haar"
    assert load_detector("auto", mobile_weights).name == "retinaface_mobile0.25"


def test_missing_and_unfit_weights_and_unknown_names_are_one_line(tmp_path: Path) -> None:
    write_random_weights(tmp_path, "retinaface_mobile0.25")
    (tmp_path / "detection_Resnet50_Final.pth").write_bytes(b"not a checkpoint")
    cases = {
        "detection_mobilenet0.25_Final.pth": ("retinaface_mobile0.25", tmp_path / "none"),
        "detection_Resnet50_Final.pth": ("retinaface_resnet50", tmp_path),
        "choose one of": ("mtcnn", tmp_path),
    }
    for words, (name, folder) in cases.items():
        with pytest.raises(DetectorError) as caught:
            load_detector(name, folder)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    write_random_weights(tmp_path, "retinaface_mobile0.25")
    (tmp_path / "detection_mobilenet0.25_Final.pth").rename(tmp_path / "detection_Resnet50_Final.pth")
    with pytest.raises(DetectorError, match="does not hold weights of retinaface_resnet50"):
        load_detector("retinaface_resnet50", tmp_path)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    torch.save({"module.x": Evil()}, tmp_path / "detection_Resnet50_Final.pth")
    with pytest.raises(DetectorError):
        load_detector("auto", tmp_path)
    assert not (tmp_path / "ran").exists()
