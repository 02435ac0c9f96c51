from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_model import network
from torch import Tensor, nn

from vitreport.errors import SettingsError
from vitreport.model.checkpoint import (
    classes_in,
    load_into,
    read_checkpoint,
    square_image_size,
    tensors_sha256,
)

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}
AVERAGED = {name: tensor + 1 for name, tensor in STATE.items()}


def _same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_safetensors_and_torch_files_give_the_same_tensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "a.pth")
    torch.save(STATE, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "a.pth", "old.bin"):
        assert _same(read_checkpoint(tmp_path / name), STATE)


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model.module."],
)
def test_prefixes_of_wrappers_are_removed_in_any_order(prefix: str, tmp_path: Path) -> None:
    torch.save({prefix + name: tensor for name, tensor in STATE.items()}, tmp_path / "a.pt")
    assert _same(read_checkpoint(tmp_path / "a.pt"), STATE)


def test_a_prefix_that_not_all_names_have_stays(tmp_path: Path) -> None:
    mixed = {"model.a": torch.ones(1), "loss.b": torch.ones(1)}
    torch.save(mixed, tmp_path / "a.pt")
    assert _same(read_checkpoint(tmp_path / "a.pt"), mixed)


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict"])
def test_weights_inside_a_training_checkpoint_are_found(name: str, tmp_path: Path) -> None:
    torch.save({"epoch": 3, name: STATE, "optimizer": {"lr": 0.1}}, tmp_path / "a.pt")
    assert _same(read_checkpoint(tmp_path / "a.pt"), STATE)


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema"])
def test_averaged_weights_are_preferred(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "model": STATE, name: AVERAGED}, tmp_path / "a.pt")
    assert _same(read_checkpoint(tmp_path / "a.pt"), AVERAGED)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("nested", [True, False], ids=["beside", "alone"])
def test_a_malicious_checkpoint_is_refused_and_its_code_does_not_run(
    zipped: bool, nested: bool, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    content = {"model": STATE, "args": Trap(marker)} if nested else Trap(marker)
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        SettingsError, match=r"refused: it holds pickled objects.*unpickling runs code.*safetensors"
    ):
        read_checkpoint(tmp_path / "evil.pt")
    assert not marker.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert marker.exists(), "the trap is no trap"


def test_a_pickle_named_safetensors_is_not_unpickled(tmp_path: Path) -> None:
    torch.save(Trap(tmp_path / "marker"), tmp_path / "evil.safetensors")
    with pytest.raises(SettingsError, match="refused: its header claims"):
        read_checkpoint(tmp_path / "evil.safetensors")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list, not a state_dict"),
        ({"epoch": 1}, "holds no tensors"),
        (torch.ones(2), "a Tensor"),
    ],
)
def test_what_holds_no_named_tensors_is_refused(content: object, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(SettingsError, match=said):
        read_checkpoint(tmp_path / "a.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no checkpoint at .*nowhere\.pt"):
        read_checkpoint(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint_cut_anywhere_is_refused(zipped: bool, tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.save({"model": STATE}, whole, _use_new_zipfile_serialization=zipped)
    content = whole.getvalue()
    for length in range(0, len(content) - 64, max(1, len(content) // 40)):
        (tmp_path / "a.pt").write_bytes(content[:length])
        with pytest.raises(SettingsError, match=r"a\.pt"):
            read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"\x80\x02", b"PK\x03\x04", b"import os\n" * 9, bytes(99)]
)
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_a_file_of_something_else_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match="a\\."):
        read_checkpoint(tmp_path / name)


def test_missing_unknown_and_misshaped_tensors_are_all_named() -> None:
    module = nn.Linear(3, 2)
    state = {"weight": torch.zeros(2, 4), "gamma": torch.zeros(1)}
    before = tensors_sha256(module)
    with pytest.raises(SettingsError) as caught:
        load_into(module, state, "weights.pt")
    said = str(caught.value)
    assert "weights.pt does not fit the model" in said
    assert "missing: bias" in said
    assert "not in the model: gamma" in said
    assert "other shapes: weight is (2, 4), the model has (2, 3)" in said
    assert tensors_sha256(module) == before


def test_many_unfit_tensors_are_counted() -> None:
    with pytest.raises(SettingsError, match="t0, t1, t2, t3, t4 and 7 more"):
        load_into(nn.Identity(), {f"t{number}": torch.zeros(1) for number in range(12)}, "weights.pt")


def test_the_number_of_classes_and_the_image_size_come_from_the_tensors() -> None:
    module = network("registers")
    state = dict(module.state_dict())
    assert classes_in(state, "head", module) == 5
    assert classes_in(state, "classifier", module) is None
    assert square_image_size(state, module) is None
    state["pos_embed"] = torch.zeros(1, 36 + module.pos_embed.shape[1] - 16, 24)  # type: ignore[union-attr,operator]
    assert square_image_size(state, module) == (48, 48)
    state["pos_embed"] = torch.zeros(1, 42, 24)
    assert square_image_size(state, module) is None


def test_the_digest_of_tensors_changes_with_any_value_and_not_with_their_order() -> None:
    one, other = network("class_token"), network("class_token")
    assert tensors_sha256(one) == tensors_sha256(other)
    with torch.no_grad():
        other.norm.bias[3] += 1e-6  # type: ignore[index,union-attr,operator]
    assert tensors_sha256(one) != tensors_sha256(other)
