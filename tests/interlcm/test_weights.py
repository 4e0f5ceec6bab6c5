"""The weights folder: modules come back as saved, and nothing that differs from the index is loaded."""

import hashlib
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from interlcm.weights import load_components
from interlcm.weights_index import WeightsError, describe, digest, merge_index, opened, read_index, verify, write_index
from interlcm.weights_saving import save_components
from tests.support import tiny

MODULES = ("unet", "vae", "spatial_encoder", "visual_encoder", "clip")
ONE_PART = '{"format": 1, "image_size": 8, "variants": {}, "parts": [{"sha256": "", "path": "PATH"}]}'
UNET = "lcm/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("weights")
    return folder, tiny.weights_folder(folder)


@pytest.fixture
def folder(saved: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved[0], tmp_path / "weights"))


def relist(folder: Path, path: str) -> None:
    """Record a changed file in the index, as if it had been published that way."""
    (old,) = (part for part in read_index(folder)["parts"] if part["path"] == path)
    part = describe(folder / path, path, old["licence"], old["origin"], old["variant"])
    write_index(folder, merge_index(read_index(folder), [part], {}))


def change_keys(folder: Path, path: str, add: dict[str, torch.Tensor], remove: str = "") -> None:
    state = {key: tensor for key, tensor in load_file(folder / path).items() if key != remove}
    save_file({**state, **add}, folder / path, metadata={"format": "pt"})
    relist(folder, path)


def settings(module: Any) -> dict[str, Any]:
    config = json.loads(module.to_json_string())
    return {key: value for key, value in config.items() if not key.startswith("_")}


def test_modules_come_back_as_saved(saved: tuple[Path, dict[str, Any]]) -> None:
    folder, parts = saved
    loaded = load_components(folder, "3step")
    assert loaded.keys() == parts.keys()
    for name in MODULES:
        assert tiny.same_weights(loaded[name], parts[name]), name
        assert not loaded[name].training, name
    for name in ("scheduler", "unet", "spatial_encoder"):
        assert settings(loaded[name]) == settings(parts[name]), name
    assert loaded["visual_encoder"].config == parts["visual_encoder"].config


def test_half_precision_is_kept_on_disk_and_loads_as_float32(tmp_path: Path) -> None:
    parts = tiny.components()
    halves = {name: parts[name].half() if name in MODULES else parts[name] for name in parts}
    save_components(tmp_path, "3step", halves, image_size=tiny.IMAGE_SIZE)
    assert all(tensor.dtype == torch.float16 for tensor in load_file(tmp_path / UNET).values())
    loaded = load_components(tmp_path, "3step")
    assert {p.dtype for name in MODULES for p in loaded[name].parameters()} == {torch.float32}


def test_saving_what_was_loaded_changes_no_byte(saved: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder = saved[0]
    save_components(tmp_path, "3step", load_components(folder, "3step"), image_size=tiny.IMAGE_SIZE)
    assert digest(tmp_path, "3step") == digest(folder, "3step")


def test_loading_never_uses_the_network(saved: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    load_components(saved[0], "3step")


def test_index_states_every_part(saved: tuple[Path, dict[str, Any]]) -> None:
    folder = saved[0]
    index = read_index(folder)
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {part["path"] for part in index["parts"]} == files - {"model_index.json"}
    assert index["image_size"] == tiny.IMAGE_SIZE
    assert index["variants"] == {"3step": {"steps": [2, 3, 4], "task": "restore"}}
    assert {part["licence"] for part in index["parts"]} == {"test"}
    by_path = {part["path"]: part["variant"] for part in index["parts"]}
    assert by_path["visual_encoder/3step.safetensors"] == "3step" and by_path[UNET] is None
    assert verify(folder) == verify(folder, "3step") == []


def test_published_names_of_clip_load(folder: Path, saved: tuple[Path, dict[str, Any]]) -> None:
    path = "clip/model.safetensors"
    state = {f"vision_model.{key}": tensor for key, tensor in load_file(folder / path).items()}
    save_file(state, folder / path, metadata={"format": "pt"})
    relist(folder, path)
    assert tiny.same_weights(load_components(folder, "3step")["clip"], saved[1]["clip"])


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (UNET, "conv_in.weight"),
        ("lcm/vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.bias"),
        ("clip/model.safetensors", "post_layernorm.weight"),
        ("visual_encoder/3step.safetensors", "blocks.0.weight"),
        ("spatial_encoder/3step.safetensors", "conv_in.weight"),
    ],
)
def test_missing_and_unexpected_keys_are_named(
    folder: Path, path: str, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    change_keys(folder, path, {"stranger": torch.zeros(1)}, remove=key)
    with pytest.raises(WeightsError) as caught:
        load_components(folder, "3step")
    message = str(caught.value)
    assert f"lacks 1 key ({key})" in message and "1 unexpected key (stranger)" in message
    assert path.split("/")[-2] in message and "\n" not in message
    assert capfd.readouterr() == ("", "")  # the libraries' own reports would hide the one line


def test_many_keys_are_counted(folder: Path) -> None:
    extra = {f"stranger{i}": torch.zeros(1) for i in range(9)}
    change_keys(folder, "visual_encoder/3step.safetensors", extra)
    with pytest.raises(WeightsError, match=r"9 unexpected keys \(stranger0, stranger1, stranger2, \.\.\.\)"):
        load_components(folder, "3step")


@pytest.mark.parametrize("path", [UNET, "clip/model.safetensors", "spatial_encoder/3step.safetensors"])
def test_wrong_shape_is_one_line(folder: Path, path: str) -> None:
    key = "conv_in.bias" if path != "clip/model.safetensors" else "post_layernorm.bias"
    change_keys(folder, path, {key: torch.zeros(7)})
    with pytest.raises(WeightsError, match=path.split("/")[-2]) as caught:
        load_components(folder, "3step")
    assert "\n" not in str(caught.value)


def test_damaged_part_is_never_read(folder: Path) -> None:
    (folder / UNET).write_bytes(b"\xff" * 64)  # safetensors would fail on it with an error of its own
    with pytest.raises(WeightsError, match=f"{UNET} does not match the sha256"):
        load_components(folder, "3step")
    (problem,) = verify(folder)
    assert UNET in problem and "weights pull" in problem


def test_a_file_that_is_replaced_while_it_is_loaded_changes_nothing(
    folder: Path, saved: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that are hashed are the bytes that are loaded: each file is another one as soon as its hash is made."""
    others = tiny.components(seed=7)
    save_components(folder.parent / "others", "3step", others, image_size=tiny.IMAGE_SIZE)
    sha256 = hashlib.sha256

    def then_replaced(data: bytes = b"") -> Any:
        found = sha256(data)
        for file in folder.rglob("*.safetensors"):
            if sha256(file.read_bytes()).digest() == found.digest():
                shutil.copyfile(folder.parent / "others" / file.relative_to(folder), file)
        return found

    monkeypatch.setattr(hashlib, "sha256", then_replaced)
    loaded = load_components(folder, "3step")
    monkeypatch.undo()
    assert len(verify(folder)) == 5
    for name in MODULES:
        assert tiny.same_weights(loaded[name], saved[1][name]), name


def test_parts_are_those_of_the_index_that_was_read_first(folder: Path) -> None:
    parts = opened(folder)
    change_keys(folder, UNET, {"stranger": torch.zeros(1)})  # the index lists the new file
    with pytest.raises(WeightsError, match=f"{UNET} does not match the sha256.*remove it and get it with"):
        load_components(parts, "3step")


def test_old_names_of_attention_weights_load(folder: Path, saved: tuple[Path, dict[str, Any]]) -> None:
    path = "lcm/vae/diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(folder / path)
    for new, name in old.items():
        state = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): value for key, value in state.items()}
    assert sum(".query." in key for key in state) >= 2
    save_file(state, folder / path, metadata={"format": "pt"})
    relist(folder, path)
    assert tiny.same_weights(load_components(folder, "3step")["vae"], saved[1]["vae"])


def test_missing_part_is_named(folder: Path) -> None:
    (folder / "spatial_encoder/3step.safetensors").unlink()
    (folder / "clip/config.json").unlink()
    assert [problem.split(" is missing")[0] for problem in verify(folder)] == [
        str(folder / "clip/config.json"),
        str(folder / "spatial_encoder/3step.safetensors"),
    ]
    with pytest.raises(WeightsError, match="and 1 more"):
        load_components(folder, "3step")


def test_file_that_nobody_listed_is_refused(folder: Path) -> None:
    # diffusers would prefer this list of shards to the file that was checked.
    (folder / f"{UNET}.index.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"index\.json is not listed"):
        load_components(folder, "3step")


def test_unknown_variant_names_those_there(saved: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(WeightsError, match=r"no variant '1step' \(they have: 3step\)"):
        load_components(saved[0], "1step")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 2, "image_size": 8, "variants": {}, "parts": []}', "format 2"),
        ('{"format": 1, "image_size": 8, "variants": {}, "parts": [{"path": "a"}]}', "is damaged"),
        (ONE_PART.replace("PATH", "../x"), "outside"),
        (ONE_PART.replace("PATH", "/x"), "outside"),
    ],
)
def test_bad_index_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(WeightsError, match=words) as caught:
        read_index(tmp_path)
    assert "model_index.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "variants",
    ['{"a": null}', '{"a": {"steps": "x", "task": "restore"}}', '{"a": {"steps": [], "task": "restore"}}', "[]"],
)
def test_a_variant_without_its_steps_is_a_damaged_index(tmp_path: Path, variants: str) -> None:
    text = '{"format": 1, "image_size": 8, "variants": VARIANTS, "parts": []}'.replace("VARIANTS", variants)
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(WeightsError, match="model_index.json is damaged"):
        read_index(tmp_path)
    (tmp_path / "model_index.json").write_text('{"format": 1, "image_size": 0, "variants": {}, "parts": []}')
    with pytest.raises(WeightsError, match="model_index.json is damaged"):
        read_index(tmp_path)


@pytest.mark.parametrize("text", ['"owner/name"', "[1]", "null", "{"])
@pytest.mark.parametrize(
    "path", ["lcm/unet/config.json", "lcm/scheduler/scheduler_config.json", "spatial_encoder/config.json"]
)
def test_a_config_that_is_a_name_is_asked_of_nobody(
    folder: Path, path: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*arguments: Any) -> None:
        raise AssertionError(f"connects: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", connect)
    (folder / path).write_text(text)
    relist(folder, path)
    with pytest.raises(WeightsError, match=f"{path} cannot be loaded"):
        load_components(folder, "3step")


def test_folder_without_index_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="interlcm weights pull"):
        load_components(tmp_path, "3step")


def test_digest_follows_the_model_and_not_the_detectors(folder: Path) -> None:
    before = digest(folder, "3step")
    (folder / "face").mkdir()
    (folder / "face/detector.pth").write_bytes(b"any")
    assert [problem.split(" is ")[0] for problem in verify(folder)] == [str(folder / "face/detector.pth")]
    part = describe(folder / "face/detector.pth", "face/detector.pth", "MIT", "here", None)
    write_index(folder, merge_index(read_index(folder), [part], {}))
    assert verify(folder) == [] and digest(folder, "3step") == before
    change_keys(folder, "visual_encoder/3step.safetensors", {"stranger": torch.zeros(1)})
    assert digest(folder, "3step") != before


def test_two_variants_share_a_folder_only_with_equal_shared_parts(
    folder: Path, saved: tuple[Path, dict[str, Any]]
) -> None:
    before = digest(folder, "3step")
    other = tiny.components(seed=1)
    mixed = {**saved[1], "visual_encoder": other["visual_encoder"]}
    save_components(folder, "1step", mixed, image_size=tiny.IMAGE_SIZE, steps=[2])
    assert read_index(folder)["variants"]["1step"] == {"steps": [2], "task": "restore"}
    assert digest(folder, "3step") == before != digest(folder, "1step")
    assert tiny.same_weights(load_components(folder, "1step")["visual_encoder"], other["visual_encoder"])
    with pytest.raises(WeightsError, match=r"holds 1step with a different lcm/unet/.*another folder"):
        save_components(folder, "3step", other, image_size=tiny.IMAGE_SIZE)
    assert verify(folder) == []
    assert not list(folder.glob(".*"))


def test_no_place_of_this_machine_is_saved(folder: Path, tmp_path: Path) -> None:
    save_components(tmp_path / "again", "3step", load_components(folder, "3step"))
    for config in (tmp_path / "again").rglob("*.json"):
        assert str(tmp_path) not in config.read_text()
        assert "_name_or_path" not in json.loads(config.read_text())
