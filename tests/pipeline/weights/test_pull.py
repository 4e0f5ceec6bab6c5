"""Published weights are downloaded whole and checked, or not at all, over real HTTP."""

import io
import socket
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from interlcm.convert import convert
from interlcm.visual_encoder import VisualEncoder
from interlcm.weights import load_components, load_visual_encoder
from interlcm.weights_index import SHARED, WeightsError, opened, read_index, verify
from pipeline import storage
from pipeline.faces.detectors import FILES
from pipeline.storage.cache import local_folder
from pipeline.weights.published import PUBLISHED, Published
from pipeline.weights.pull import pull
from tests.support import tiny
from tests.support.file_server import REVISION, FileServer

REPO = "owner/lcm"
UNET = "lcm/unet/diffusion_pytorch_model.safetensors"


def checkpoint(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture
def model(tmp_path: Path) -> dict[str, Any]:
    return tiny.weights_folder(tmp_path / "original")


@pytest.fixture
def published(server: FileServer, model: dict[str, Any], tmp_path: Path) -> list[Published]:
    """A small publication with every kind of file: hub files, a checkpoint to convert, a release file."""
    parts = []
    for path in SHARED:
        if path.startswith(("lcm/", "clip/")):
            server.files[f"/{REPO}/resolve/{REVISION}/{path}"] = (tmp_path / "original" / path).read_bytes()
            parts.append(Published(path, "PAGE", "MIT", repo=REPO, revision=REVISION, file=path))
    detector = b"a detector"
    server.files["/detector.pth"] = detector
    face = Published("face/detector.pth", "PAGE", "MIT", url=f"{server.url}/detector.pth")
    return [*parts, replace(face, sha256=sha256(detector).hexdigest())]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "pulled" / "weights"


def encoder(server: FileServer, part: str, state: dict[str, Any]) -> Published:
    server.files[f"/{part}_3step.pth"] = checkpoint({"params_ema": state})
    url = f"{server.url}/{part}_3step.pth"
    path = f"{part}/3step.safetensors"
    return Published(path, "PAGE", "CC-BY-NC-4.0", url=url, part=part, variant="3step")


def get(weights: Path | str, published: list[Published], variants: tuple[str, ...] = ()) -> list[str]:
    lines: list[str] = []
    pull(str(weights), variants, lines.append, published)
    return lines


def fails(weights: Path | str, published: list[Published], variants: tuple[str, ...] = ()) -> str:
    with pytest.raises(WeightsError) as caught:
        get(weights, published, variants)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*")} if folder.exists() else set()


def test_every_part_is_stored_and_listed(weights: Path, published: list[Published], tmp_path: Path) -> None:
    lines = get(weights, published)
    assert len(lines) == len(published)
    parts = {part["path"]: part for part in read_index(weights)["parts"]}
    assert parts.keys() == {part.path for part in published}
    for path in parts:
        original = tmp_path / "original" / path
        assert not original.exists() or (weights / path).read_bytes() == original.read_bytes()
    assert verify(weights) == []
    assert parts[UNET]["origin"] == f"https://huggingface.co/{REPO}/resolve/{REVISION}/{UNET}"
    assert parts["face/detector.pth"]["licence"] == "MIT"
    assert files(weights.parent) == {"weights"} | {f"weights/{name}" for name in files(weights)}
    said = dict(line.split(": ") for line in lines)
    assert said[UNET] == said["face/detector.pth"] == "sha256 as published"
    assert said["lcm/unet/config.json"] == "no published sha256; recorded the file's own"


def test_encoder_is_converted_and_loads(server: FileServer, weights: Path) -> None:
    torch.manual_seed(0)
    module = VisualEncoder()  # of the published size, which is assumed for a folder without a config
    part = encoder(server, "visual_encoder", module.state_dict())
    get(weights, [part], ("3step",))
    index = read_index(weights)
    assert {entry["path"] for entry in index["parts"]} == {part.path, "visual_encoder/config.json"}
    assert index["variants"] == {"3step": {"steps": [2, 3, 4], "task": "restore"}}
    digest = sha256(server.files["/visual_encoder_3step.pth"]).hexdigest()
    assert {entry["origin"] for entry in index["parts"]} == {f"{part.url}, sha256 {digest}, converted"}
    assert tiny.same_weights(load_visual_encoder(opened(weights), "3step"), module)


def test_pulled_parts_make_a_model(
    weights: Path, published: list[Published], model: dict[str, Any], tmp_path: Path
) -> None:
    get(weights, published)
    for part in ("visual_encoder", "spatial_encoder"):
        torch.save({"params_ema": model[part].state_dict()}, tmp_path / f"{part}.pth")
        (weights / part).mkdir()
        (weights / part / "config.json").write_bytes((tmp_path / "original" / part / "config.json").read_bytes())
        convert(tmp_path / f"{part}.pth", weights, part, "3step")
    assert verify(weights) == []
    loaded = load_components(weights, "3step")
    assert all(tiny.same_weights(loaded[name], model[name]) for name in ("unet", "vae", "clip"))
    assert all(tiny.same_weights(loaded[part], model[part]) for part in ("visual_encoder", "spatial_encoder"))


def test_second_pull_downloads_nothing(weights: Path, published: list[Published], server: FileServer) -> None:
    get(weights, published)
    server.requests.clear()
    assert set(get(weights, published)) == {f"{part.path}: already there" for part in published}
    assert server.requests == []


def test_lost_part_is_downloaded_again(weights: Path, published: list[Published]) -> None:
    get(weights, published)
    (weights / UNET).unlink()
    get(weights, published)
    assert verify(weights) == []


def test_wrong_sha256_leaves_nothing(weights: Path, published: list[Published]) -> None:
    wrong = replace(published[-1], sha256="0" * 64)
    message = fails(weights, [wrong])
    assert f"has sha256 {published[-1].sha256}, expected {'0' * 64}" in message
    assert "put detector.pth from PAGE at face/detector.pth" in message
    assert files(weights.parent) == set()


def test_sha256_stated_by_the_hub_is_compared(weights: Path, published: list[Published], server: FileServer) -> None:
    server.stated_sha256[f"/{REPO}/resolve/{REVISION}/{UNET}"] = "f" * 64
    message = fails(weights, published)
    assert UNET in message and f"expected {'f' * 64}" in message
    # The earlier parts are whole and listed, so the next pull continues there.
    assert verify(weights) == []
    assert not (weights / UNET).exists()
    server.stated_sha256.clear()
    assert "lcm/unet/config.json: already there" in get(weights, published)


@pytest.mark.parametrize("kind", ["hub", "release"])
def test_without_network_one_line_and_nothing_left(
    kind: str, weights: Path, published: list[Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"  # nothing listens there
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        part = published[0] if kind == "hub" else replace(published[-1], url=f"{url}/detector.pth")
        message = fails(weights, [part])
    assert "cannot be downloaded" in message and "refused" in message
    assert "connect to the network, or put" in message and part.path in message
    assert files(weights.parent) == set()


def test_no_such_host_is_one_line(weights: Path) -> None:
    url = "http://weights.invalid/visual_encoder_3step.pth"  # RFC 2606: never resolves
    part = Published("visual_encoder/3step.safetensors", "PAGE", "MIT", url=url, part="visual_encoder")
    message = fails(weights, [replace(part, variant="3step")], ("3step",))
    assert message.startswith(f"{url} cannot be downloaded (")
    assert (
        "get visual_encoder_3step.pth from PAGE, then `interlcm weights convert visual_encoder_3step.pth"
        " FOLDER --part visual_encoder --variant 3step`" in message
    )


def unfinished(weights: Path) -> list[bytes]:
    return [file.read_bytes() for file in weights.glob(".downloads/*/*.part")]


def test_download_cut_short_goes_on_in_the_next_pull(
    weights: Path, published: list[Published], server: FileServer
) -> None:
    server.cut_short.add("/detector.pth")
    assert "stopped after 5 of 10 bytes; pull again" in fails(weights, published[-1:])
    assert unfinished(weights) == [b"a det"] and not (weights / "face").exists()
    assert "stopped after 7 of 10 bytes" in fails(weights, published[-1:])
    assert unfinished(weights) == [b"a detec"]
    server.cut_short.clear()
    assert get(weights, published[-1:]) == ["face/detector.pth: sha256 as published"]
    assert server.sent["/detector.pth"] == 10
    assert not (weights / ".downloads").exists()


def test_a_file_that_has_changed_begins_anew(weights: Path, published: list[Published], server: FileServer) -> None:
    server.cut_short.add("/detector.pth")
    fails(weights, published[-1:])
    server.cut_short.clear()
    server.files["/detector.pth"] = b"the second version"
    get(weights, [replace(published[-1], sha256=None)])
    assert (weights / "face/detector.pth").read_bytes() == b"the second version"


def test_a_download_that_was_complete_and_not_yet_used_is_fetched_again(
    weights: Path, published: list[Published], server: FileServer
) -> None:
    server.cut_short.add("/detector.pth")
    fails(weights, published[-1:])
    server.cut_short.clear()
    (part,) = weights.glob(".downloads/*/*.part")
    part.write_bytes(b"a detector")
    assert get(weights, published[-1:]) == ["face/detector.pth: sha256 as published"]


def test_a_file_of_the_hub_goes_on_too(weights: Path, published: list[Published], server: FileServer) -> None:
    (part,) = (one for one in published if one.path == UNET)
    place = f"/{REPO}/resolve/{REVISION}/{UNET}"
    server.cut_short.add(place)
    assert "pull again to resume" in fails(weights, [part])
    server.cut_short.clear()
    get(weights, [part])
    assert (weights / UNET).read_bytes() == server.files[place]
    assert server.sent[place] == len(server.files[place])
    assert not (weights / ".downloads").exists()


def test_names_without_the_variant_are_tried_where_the_first_are_not_there(
    weights: Path, published: list[Published], server: FileServer
) -> None:
    part = replace(published[-1], url=f"{server.url}/detector_3step.pth", other_url=f"{server.url}/detector.pth")
    get(weights, [part])
    assert read_index(weights)["parts"][0]["origin"] == f"{server.url}/detector.pth"
    (other,) = (one for one in PUBLISHED if one.path == "spatial_encoder/3step.safetensors")
    assert [url.rsplit("/", 1)[1] for url in other.urls] == ["spatial_encoder_3step.pth", "spatial_encoder.pth"]


@pytest.mark.parametrize("at", [0, -1])
def test_file_that_is_gone_is_one_line(at: int, weights: Path, published: list[Published], server: FileServer) -> None:
    server.files.clear()
    message = fails(weights, [published[at]])
    assert "404" in message and published[at].path in message


def test_checkpoint_of_another_model_is_refused(server: FileServer, weights: Path) -> None:
    part = encoder(server, "visual_encoder", {"a": torch.zeros(1)})
    assert "unexpected key (a)" in fails(weights, [part], ("3step",))
    assert files(weights.parent) == set()


def test_file_put_there_by_hand_is_listed(weights: Path, published: list[Published], server: FileServer) -> None:
    (weights / "face").mkdir(parents=True)
    (weights / "face/detector.pth").write_bytes(b"a detector")
    get(weights, published[-1:])
    assert server.requests == [] and verify(weights) == []
    (weights / "face/detector.pth").write_bytes(b"another")
    (weights / "model_index.json").unlink()
    assert "remove the file and pull again" in fails(weights, published[-1:])


def test_other_weights_are_not_mixed_in(server: FileServer, model: dict[str, Any], tmp_path: Path) -> None:
    part = replace(encoder(server, "visual_encoder", VisualEncoder().state_dict()), variant="1step")
    part = replace(part, path="visual_encoder/1step.safetensors")
    folder = tmp_path / "original"  # tiny: its config differs
    before = files(folder)
    assert "use a new folder" in fails(folder, [part], ("1step",))
    assert files(folder) == before and verify(folder) == []


def test_unknown_variants_name_the_published(weights: Path) -> None:
    assert "choose one of 1step, 3step, colorization_1step, inpainting_1step" in fails(
        weights, list(PUBLISHED), ("2step",)
    )


def test_published_table_fills_the_folder() -> None:
    paths = [part.path for part in PUBLISHED]
    assert len(set(paths)) == len(paths)
    with_configs = {*paths, "clip/config.json", "visual_encoder/config.json", "spatial_encoder/config.json"}
    assert {*SHARED, *FILES.values()} <= with_configs
    for part in PUBLISHED:
        assert part.origin.startswith("https://") and part.page.startswith("https://")
        assert part.sha256 is None or len(bytes.fromhex(part.sha256)) == 32


def test_pull_into_an_object_store(
    published: list[Published], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where remote folders are copied to
    get(f"{bucket}/weights", published)
    names = {name for name, _ in storage.list_files(f"{bucket}/weights")}
    assert names == {part.path for part in published} | {"model_index.json"}
    assert "already there" in get(f"{bucket}/weights", published)[0]
    assert verify(local_folder(f"{bucket}/weights")) == []
