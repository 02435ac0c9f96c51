from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from tiny_model import disturb
from torch import nn

from vitreport.errors import SettingsError
from vitreport.model.create import from_checkpoint
from vitreport.model.head import Head
from vitreport.model.hub import distance_noticed, hub_is_near
from vitreport.model.load import load_architecture, load_model

ARCHITECTURE = "test_vit"
"""timm's own miniature: 160 pixels, patches of 16, 1000 classes."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach the network fails at once."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in the tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def _network(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = timm.create_model(ARCHITECTURE, **options)
    disturb(module)
    return module.eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights fine-tuned to three classes at 48 x 48 pixels."""
    path = tmp_path / "fine.safetensors"
    save_file(_network(num_classes=3, img_size=48).state_dict(), path)
    return path


def test_classes_and_image_size_are_those_of_the_checkpoint(weights: Path) -> None:
    model = load_model(ARCHITECTURE, checkpoint=weights)
    assert len(model.classes) == 3
    assert model.input_size == (48, 48)
    assert model.layout.grid == (3, 3)
    assert model.name == ARCHITECTURE
    assert (model.weights, model.licence) == ("fine.safetensors", None)
    assert model.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_the_loaded_model_computes_what_the_saved_one_did(weights: Path) -> None:
    model = load_model(ARCHITECTURE, checkpoint=weights)
    pixels = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(model.module(pixels), _network(num_classes=3, img_size=48)(pixels))
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_torch_and_safetensors_files_give_the_same_model(weights: Path, tmp_path: Path) -> None:
    state = _network(num_classes=3, img_size=48).state_dict()
    torch.save({"state_dict_ema": state, "epoch": 1}, tmp_path / "a.pth")
    pixels = torch.randn(1, 3, 48, 48)
    one, other = (load_model(ARCHITECTURE, checkpoint=path).module for path in (weights, tmp_path / "a.pth"))
    with torch.no_grad():
        assert torch.equal(one(pixels), other(pixels))


def test_the_input_can_be_given_and_need_not_be_square(tmp_path: Path) -> None:
    save_file(_network(num_classes=3, img_size=(32, 64)).state_dict(), tmp_path / "wide.safetensors")
    model = load_model(ARCHITECTURE, checkpoint=tmp_path / "wide.safetensors", image_size=(32, 64))
    assert (model.input_size, model.layout.grid) == ((32, 64), (2, 4))
    assert model.preparation.config["input_size"] == (3, 32, 64)


def test_a_checkpoint_of_another_architecture_is_refused_with_names_and_shapes(tmp_path: Path) -> None:
    save_file(_network(num_classes=3, embed_dim=48, num_heads=2).state_dict(), tmp_path / "b.safetensors")
    with pytest.raises(SettingsError) as caught:
        load_model(ARCHITECTURE, checkpoint=tmp_path / "b.safetensors")
    said = str(caught.value)
    assert "b.safetensors does not fit the model" in said
    assert "cls_token is (1, 1, 48), the model has (1, 1, 64)" in said
    assert "is --model the architecture" in said


def test_labels_name_the_classes_and_must_fit(weights: Path, tmp_path: Path) -> None:
    labels = tmp_path / "names.txt"
    labels.write_text("ant\nbee\ncat\n")
    assert load_model(ARCHITECTURE, checkpoint=weights, labels=labels).classes.names == ("ant", "bee", "cat")
    labels.write_text("ant\nbee\n")
    with pytest.raises(SettingsError, match="2 names, the model has 3 classes"):
        load_model(ARCHITECTURE, checkpoint=weights, labels=labels)


def test_names_beside_the_checkpoint_are_found(weights: Path) -> None:
    weights.with_suffix(".json").write_text('{"label_names": ["ant", "bee", "cat"]}')
    assert load_model(ARCHITECTURE, checkpoint=weights).classes.names == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("name", "near"),
    [("deit_tinny_patch16_224", "deit_tiny_patch16_224"), ("vit_base_patch16_2244", "vit_base_patch16_224")],
)
def test_an_unknown_model_is_refused_with_the_nearest_name(name: str, near: str) -> None:
    with pytest.raises(SettingsError, match=rf"has no model '{name}'; did you mean '{near}'\?"):
        load_model(name)


def test_a_name_like_no_other_still_makes_a_sentence() -> None:
    with pytest.raises(SettingsError, match="has no model '§'; a timm name goes with --model"):
        load_model("§")


def test_unknown_weights_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match=r"no weights 'test_vit\.nosuch'.*known: test_vit\.r160_in1k"):
        load_model("test_vit.nosuch")


def test_the_hub_out_of_reach_names_the_ways_without_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SettingsError) as caught:
        load_model(ARCHITECTURE)
    said = str(caught.value)
    assert "weights of 'test_vit' cannot be had from the model hub" in said
    for way in ("--checkpoint FILE", "local-dir:FOLDER", "already in the cache"):
        assert way in said


def test_the_hub_is_near_where_its_name_resolves_or_a_proxy_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hub_is_near()
    monkeypatch.setenv("HTTPS_PROXY", "proxy")
    assert hub_is_near()
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [("found",)])
    assert hub_is_near()


def test_the_hubs_client_is_told_of_the_distance_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(KeyError), distance_noticed():
        assert constants.HF_HUB_OFFLINE
        raise KeyError
    assert not constants.HF_HUB_OFFLINE


def test_a_downloaded_hub_folder_is_loaded(tmp_path: Path) -> None:
    timm.models.save_for_hf(_network(num_classes=3), tmp_path, model_config={"label_names": ["x", "y", "z"]})
    model = load_model(f"local-dir:{tmp_path}")
    assert model.classes.names == ("x", "y", "z")
    assert model.weights == f"the folder {tmp_path.name}"
    pixels = torch.randn(1, 3, *model.input_size)
    with torch.no_grad():
        assert torch.equal(model.module(pixels), _network(num_classes=3)(pixels))


def test_a_model_of_one_input_size_says_so_when_given_another(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    with pytest.raises(SettingsError, match="test_resnet has one input size only"):
        from_checkpoint("test_resnet", weights, (64, 64))


@pytest.mark.parametrize("size", [(96, 96), (96, 160)])
def test_a_checkpoint_is_fitted_to_another_input_size(size: tuple[int, int], tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(_network(num_classes=3).state_dict(), weights)
    model = load_model(ARCHITECTURE, checkpoint=weights, image_size=size)
    assert model.input_size == size
    assert model.layout.grid == (size[0] // 16, size[1] // 16)
    assert model.module(torch.zeros(1, 3, *size)).shape == (1, 3)


def test_a_checkpoint_of_an_oblong_input_needs_its_size(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    oblong = timm.create_model(ARCHITECTURE, img_size=(96, 160), num_classes=3)
    save_file(oblong.state_dict(), weights)
    model = load_model(ARCHITECTURE, checkpoint=weights, image_size=(96, 160))
    assert torch.equal(model.module.pos_embed, oblong.pos_embed)


def test_a_backbone_without_its_head_has_no_classes(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model(ARCHITECTURE, num_classes=0).state_dict(), weights)
    model = load_model(ARCHITECTURE, checkpoint=weights)
    assert (len(model.classes), model.head) == (0, Head.NONE)


def test_an_architecture_is_loaded_without_its_weights() -> None:
    model = load_architecture(ARCHITECTURE)
    assert (model.weights, len(model.classes)) == ("random", 1000)
    with pytest.raises(SettingsError, match="did you mean 'test_vit'"):
        load_architecture("test_vitt")
