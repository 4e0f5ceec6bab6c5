"""facexlib's networks with random weights: they get the same input as in facexlib."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.transform
import torch
from PIL import Image
from torch import Tensor

from interlcm.weights_index import WeightsError
from pipeline.faces.alignment import TEMPLATE, cut
from pipeline.networks import facexlib_formats
from pipeline.networks.facexlib import PARSE_CLASSES, FaceNetworks
from pipeline.networks.facexlib_formats import (
    ARCFACE_TEMPLATE,
    NOT_FACE,
    arcface_matrix,
    face_patches,
    face_share,
    five_point_crops,
)
from pipeline.networks.files import PARSER, RECOGNISER, has_parser
from tests.scale import judge_counts
from tests.support import tiny
from tests.support.networks import FacexlibNetworks
from tests.support.parts import listed
from tests.support.pictures import astronaut, hopper, resized

# The classes that facexlib replaces, as it lists them (utils/face_restoration_helper.py, MASK_COLORMAP).
MASK_COLORMAP = [0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 255, 0, 0, 0]


@pytest.fixture(scope="module")
def folder(face_networks: tuple[Path, FacexlibNetworks]) -> Path:
    return face_networks[0]


@pytest.fixture(scope="module")
def networks(face_networks: tuple[Path, FacexlibNetworks]) -> FacexlibNetworks:
    return face_networks[1]


@pytest.fixture(scope="module")
def judge(folder: Path, networks: FacexlibNetworks) -> FaceNetworks:
    return FaceNetworks(listed(folder))


def tensor(pixels: np.ndarray) -> Tensor:
    """(N, 3, S, S) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """(2, 256, 256, 3) uint8, smooth: all ways to shrink it give the same result."""
    pictures = [cv2.GaussianBlur(resized(face, 256)[:256], (0, 0), 3) for face in (astronaut(200), hopper(200))]
    return np.stack(pictures)


def test_without_files_there_is_nothing_to_say(tmp_path: Path, faces: np.ndarray) -> None:
    judge = FaceNetworks(listed(tmp_path))
    assert not has_parser(listed(tmp_path))
    assert judge.masks(tensor(faces)) is None
    assert judge.identity(tensor(faces), tensor(faces)) is None
    assert judge.quality(tensor(faces)) is None


def test_each_network_has_the_weights_of_its_file_to_the_bit(judge: FaceNetworks, networks: FacexlibNetworks) -> None:
    """The networks are built without storage: what a file did not fill would still have none."""
    made = (judge._parser, judge._recogniser, judge._assessor)
    for network, written in zip(made, (networks.parser, networks.recogniser, networks.assessor), strict=True):
        assert network is not None and tiny.same_weights(network, written)
        assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))


@dataclass
class Parsed:
    """The mask of the first face alone, and what the network took and gave for it."""

    masks: np.ndarray | None
    taken: Tensor
    given: Tensor


@pytest.fixture(scope="module")
def parsed(judge: FaceNetworks, faces: np.ndarray) -> Parsed:
    seen: list[Tensor] = []
    assert judge._parser is not None
    with judge._parser.register_forward_hook(lambda _, taken, given: seen.extend([taken[0], given[0]])):
        return Parsed(judge.masks(tensor(faces[:1])), *seen)


def test_masks_are_those_of_facexlib(parsed: Parsed, folder: Path, faces: np.ndarray) -> None:
    assert has_parser(listed(folder))
    masks = parsed.masks
    assert masks is not None and masks.shape == (1, 256, 256) and masks.dtype == np.uint8
    large = cv2.resize(faces[0], (512, 512), interpolation=cv2.INTER_LINEAR)
    torch.testing.assert_close(parsed.taken, tensor(large[None]), atol=2 / 255, rtol=0)  # large is rounded
    classes = parsed.given.argmax(dim=1)[0].numpy()
    assert [kind for kind, value in enumerate(MASK_COLORMAP) if value == 0] == list(NOT_FACE)
    expected = np.array(MASK_COLORMAP, np.uint8)[classes].reshape(256, 2, 256, 2).mean((1, 3))
    assert np.abs(masks[0] - expected).max() <= 0.5 and {0, 255} <= set(masks.ravel().tolist())


def test_the_share_of_a_face_in_drawn_masks() -> None:
    """Classes of CelebAMask-HQ: 1 skin, 4 and 5 eyes, 11 lips, 13 hair, 17 neck."""

    def drawn(*shapes: tuple[int, slice, slice]) -> Tensor:
        classes = torch.zeros((512, 512), dtype=torch.int64)
        for kind, rows, columns in shapes:
            classes[rows, columns] = kind
        return classes[None, None]

    everywhere = slice(None)
    head = (
        (1, slice(150, 470), slice(110, 400)),
        (4, slice(230, 250), slice(180, 205)),
        (11, slice(360, 385), slice(200, 310)),
    )
    fringe, covered = (13, slice(0, 205), everywhere), (0, slice(348, 512), everywhere)
    half, neck = (0, everywhere, slice(256, 512)), (17, everywhere, everywhere)
    cases = [drawn(*head), drawn(*head, fringe), drawn(*head, covered), drawn(*head, half), drawn(neck)]
    shares = face_share(torch.cat(cases))
    assert shares.tolist() == pytest.approx([1, 0.91, 0.68, 0.5, 0], abs=0.01)


def test_identity_is_the_cosine_of_embeddings_of_five_point_crops_in_bgr(
    judge: FaceNetworks, networks: FacexlibNetworks, faces: np.ndarray
) -> None:
    transform = skimage.transform.SimilarityTransform.from_estimate(TEMPLATE / 2, ARCFACE_TEMPLATE)
    matrix = transform.params[:2]
    small = [cv2.warpAffine(face[..., ::-1], matrix, (112, 112), flags=cv2.INTER_LINEAR) for face in faces]
    with torch.inference_mode():
        embeddings = networks.recogniser(tensor(np.stack(small)).contiguous())
    similarity = judge.identity(tensor(faces[:1]), tensor(faces[1:]))
    assert similarity == pytest.approx([float(embeddings[0] @ embeddings[1])], abs=2e-3)
    assert judge.identity(tensor(faces), tensor(faces)) == pytest.approx([1, 1], abs=1e-5)
    mirrored = faces[1:, ..., ::-1].copy()  # RGB for BGR
    assert judge.identity(tensor(faces[:1]), tensor(mirrored)) != pytest.approx(similarity, abs=4e-3)


def test_quality_looks_at_the_face_box_in_the_proportions_of_facexlib(
    judge: FaceNetworks, networks: FacexlibNetworks, faces: np.ndarray
) -> None:
    box = faces[0, round(0.16 * 256) : round(0.96 * 256), round(0.2 * 256) : round(0.8 * 256)]
    stretched = np.asarray(Image.fromarray(box).resize((384, 512), Image.Resampling.BILINEAR)) / 255
    normal = (stretched - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    patches = face_patches(tensor(faces))[0]
    assert patches.shape == (5, 3, 224, 224)
    for patch, (top, left) in zip(patches, ((0, 0), (0, 160), (144, 80), (288, 0), (288, 160)), strict=True):
        expected = normal[top : top + 224, left : left + 224]
        assert np.abs(patch.permute(1, 2, 0).numpy() - expected).max() < 0.02  # half an 8-bit step is 0.009
    with torch.inference_mode():
        expected_quality = float(networks.assessor(patches).mean())
    assert judge.quality(tensor(faces[:1])) == pytest.approx([expected_quality], abs=1e-6)


def test_the_judges_of_a_micro_batch_say_what_each_says_alone(
    judge: FaceNetworks, parsed: Parsed, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second pair of the micro-batch is the first one turned around; its mask alone is that of the first face."""
    # Of a random network, every other class: some pixels of each face have one.
    monkeypatch.setattr(facexlib_formats, "FEATURES", range(0, PARSE_CLASSES, 2))
    before, after = tensor(faces), tensor(faces).flip(0)
    seen: list[Tensor] = []
    assert judge._parser is not None
    with judge._parser.register_forward_hook(lambda _, taken, given: seen.append(given[0].argmax(1, keepdim=True))):
        masks, (first, second) = judge.judge(before, after, True).sent().read()
    assert [one.pop("face_share") for one in (first, second)] == pytest.approx(face_share(seen[0]).tolist())
    assert 0 < float(face_share(seen[0]).min()) < 1
    none, (alone,) = judge.judge(before[1:], after[1:], False).sent().read()
    assert masks is not None and parsed.masks is not None and masks.dtype == np.uint8 and none is None
    assert (masks[1:] != parsed.masks).mean() < 1e-3  # a sum in another order can change a pixel between two classes
    assert second == pytest.approx(alone, rel=1e-5)
    turned = {**first, "quality_before": first["quality_after"], "quality_after": first["quality_before"]}
    assert second == pytest.approx(turned, rel=1e-5) and second != pytest.approx(first, rel=1e-5)
    assert [alone["identity_similarity"]] == pytest.approx(judge.identity(before[1:], after[1:]), abs=1e-5)
    assert [alone["quality_before"]] == pytest.approx(judge.quality(before[1:]), rel=1e-5)


@pytest.mark.parametrize("side", [100, 128, 256, 512])
def test_arcface_gets_the_crop_that_the_run_would_cut(side: int) -> None:
    """On the device, by grid_sample, as `alignment.cut` does it with OpenCV."""
    face = np.asarray(cv2.GaussianBlur(resized(astronaut(200), side)[:side], (0, 0), side / 128), np.uint8)
    expected = cut(face, arcface_matrix(side), 112)
    found = five_point_crops(torch.from_numpy(face.copy())[None].float().permute(0, 3, 1, 2))[0].permute(1, 2, 0)
    # Blocks that are averaged begin at another pixel, hence the level or two.
    assert np.abs(found.numpy() - expected).mean() < 1 and np.abs(found.numpy() - expected).max() < 12


def test_files_that_hold_something_else_are_refused_in_one_line(
    judge: FaceNetworks, folder: Path, tmp_path: Path
) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "harmed"),)

    text, other, code = tmp_path / "text", tmp_path / "other", tmp_path / "code"
    for made in (text, other, code):
        (made / RECOGNISER).parent.mkdir(parents=True)
    (text / RECOGNISER).write_text("no weights")
    (other / RECOGNISER).symlink_to(folder / PARSER)
    (code / RECOGNISER).write_bytes(pickle.dumps(Harm(), protocol=2))
    for bad, problem in (
        (text, "is refused"),
        (other, "does not hold the weights of Backbone"),
        (code, "is refused"),
    ):
        with pytest.raises(WeightsError, match=problem) as caught:
            FaceNetworks(listed(bad))
        assert str(bad / RECOGNISER) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.slow
def test_what_judges_cost_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m tests.scale.judge_counts`, whose numbers docs/performance.md has."""
    judge_counts.main(1)
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert lines["copies to the device"].startswith("0 ") and lines["waits"].startswith("1 ")
    assert int(lines["operators"].split()[0]) < 1000
    assert lines["GFLOP"] == "580 for one face (ParseNet 469, HyperIQA 86, Backbone 25)"
