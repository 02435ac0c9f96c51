"""Weights, configs and labels that were made to run code, to take all memory, or to be quietly wrong."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from model_bombs import BOMBS, Bomb, Greedy, in_script_code, saved
from safetensors.torch import save_file
from tiny_model import network

from vitreport.cli import main
from vitreport.errors import SettingsError, VitReportError
from vitreport.model.allowance import allowance
from vitreport.model.checkpoint import HEADER_LIMIT, read_checkpoint
from vitreport.model.load import load_model

MUTANTS = int(os.environ.get("VITREPORT_MUTANTS", "60"))
"""Spoilt checkpoints of each kind that are tried; raise it for a long run."""

ARCHITECTURE = "test_vit"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors", ""])
@pytest.mark.parametrize("way", BOMBS)
def test_a_malicious_pickle_is_refused_in_one_line_and_does_not_run(
    tmp_path: Path, way: str, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(BOMBS[way](Bomb(tmp_path / "canary")))
    with pytest.raises(SettingsError, match=r"refused|not a readable safetensors") as caught:
        read_checkpoint(path)
    assert not (tmp_path / "canary").exists()
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


def test_the_bombs_would_go_off_if_they_were_unpickled(tmp_path: Path) -> None:
    for number, way in enumerate(BOMBS):
        content = BOMBS[way](Bomb(tmp_path / str(number)))
        if way in ("bare pickle", "oldest pickle", "before the start"):
            pickle.loads(content)
        elif way != "tar":
            torch.load(io.BytesIO(content), weights_only=False)
        assert way == "tar" or (tmp_path / str(number)).is_dir(), way


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_compiled_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "script.pt").write_bytes(in_script_code())
    with pytest.raises(SettingsError, match="a TorchScript or tar archive, whose reading runs code"):
        read_checkpoint(tmp_path / "script.pt")


def test_the_command_line_says_it_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weights.pt").write_bytes(saved({"w": Bomb(tmp_path / "canary")}))
    (tmp_path / "a.png").write_bytes(b"no matter")
    words = ["explain", str(tmp_path / "a.png"), "-o", str(tmp_path / "run"), "--model", ARCHITECTURE]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--checkpoint", str(tmp_path / "weights.pt")])
    said = capfd.readouterr().err.strip()
    assert caught.value.code == 2
    assert "weights.pt is refused: it holds pickled objects" in said
    assert "Traceback" not in said and len(said.splitlines()) == 1
    assert not (tmp_path / "canary").exists()


def deflated(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in archive.namelist():
            small.writestr(name, archive.read(name))
    return buffer.getvalue()


WRONG_TENSORS: dict[str, tuple[Callable[[], object], str]] = {
    "a million million rows": (lambda: torch.ones(1).expand(2**40, 192), "has too few values"),
    "overlapping rows": (lambda: torch.ones(8).as_strided((5, 4), (1, 1)), "has too few values"),
    "no values": (lambda: torch.empty(5, 5, device="meta"), "sparse, quantised or without values"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "sparse, quantised or without values"),
    "complex": (lambda: torch.eye(3).to(torch.complex64), "complex numbers"),
    "empty": (lambda: torch.ones(2**40, 0), "is empty"),
    "memory": (Greedy, "asks for more memory than a file of its size may"),
}


@pytest.mark.parametrize("kind", WRONG_TENSORS)
def test_a_tensor_that_is_no_plain_numbers_is_refused_before_a_model_is_built(
    tmp_path: Path, kind: str
) -> None:
    make, said = WRONG_TENSORS[kind]
    (tmp_path / "a.pt").write_bytes(saved({"head.weight": make(), "w": torch.ones(1)}))
    with pytest.raises(SettingsError, match=said):
        load_model(ARCHITECTURE, checkpoint=tmp_path / "a.pt")


def test_a_checkpoint_that_grows_when_it_is_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(deflated(saved({"w": torch.zeros(1 << 22)})))
    assert (tmp_path / "a.pt").stat().st_size < 1 << 17
    with pytest.raises(SettingsError, match="would grow to 16,"):
        read_checkpoint(tmp_path / "a.pt")


def safetensors(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def one(dtype: str, shape: list[int], offsets: list[int]) -> dict[str, Any]:
    return {"head.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


HEADERS = {
    "absurd length": struct.pack("<Q", 2**63 - 1) + b"{}",
    "length beyond the limit": struct.pack("<Q", HEADER_LIMIT + 1) + b"{}" + b" " * HEADER_LIMIT,
    "no length": b"\0\0\0",
    "empty": b"",
    "empty header": safetensors(b""),
    "no JSON": safetensors(b"\xff" * 40),
    "deep JSON": safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "deep list": safetensors(b"[" * 100_000),
    "no tensor": safetensors({"__metadata__": {"format": "pt"}}),
    "negative shape": safetensors(one("F32", [-1, 4], [0, 16]), b"0" * 16),
    "huge shape": safetensors(one("F32", [2**33, 2**33], [0, 16]), b"0" * 16),
    "huge shape of nothing": safetensors(one("F32", [2**40, 0], [0, 0])),
    "shape of other data": safetensors(one("F32", [2**30], [0, 16]), b"0" * 16),
    "offsets beyond the file": safetensors(one("F32", [4], [0, 16]), b"0" * 8),
    "offsets backwards": safetensors(one("F32", [4], [16, 0]), b"0" * 16),
    "offsets of 2**64": safetensors(one("F32", [4], [0, 2**64]), b"0" * 16),
    "overlap": safetensors(
        {
            name: {"dtype": "F32", "shape": [4], "data_offsets": [at, at + 16]}
            for name, at in (("a", 0), ("b", 8))
        },
        b"0" * 24,
    ),
    "unknown dtype": safetensors(one("Z99", [4], [0, 16]), b"0" * 16),
    "data behind the tensors": safetensors(one("F32", [4], [0, 16]), b"0" * 99),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_safetensors_file_with_a_hostile_header_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(HEADERS[kind])
    with pytest.raises(
        SettingsError, match=r"a\.safetensors (is refused|is not a readable|holds no)"
    ) as caught:
        load_model(ARCHITECTURE, checkpoint=tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(timm.create_model(ARCHITECTURE, num_classes=3).state_dict())


@pytest.mark.parametrize("shape", [(2**20, 1), (2**22,)])
def test_a_head_of_another_width_does_not_decide_how_many_classes_are_built(
    tmp_path: Path, weights: dict[str, torch.Tensor], shape: tuple[int, ...]
) -> None:
    save_file({**weights, "head.weight": torch.zeros(shape)}, tmp_path / "a.safetensors")
    with pytest.raises(SettingsError, match=r"does not fit the model.*head\.weight is"):
        load_model(ARCHITECTURE, checkpoint=tmp_path / "a.safetensors")


def test_positions_of_another_width_do_not_decide_the_size_of_the_image(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    save_file({**weights, "pos_embed": torch.zeros(1, 1 + 1000**2, 1)}, tmp_path / "a.safetensors")
    with pytest.raises(SettingsError, match=r"does not fit the model.*pos_embed is"):
        load_model(ARCHITECTURE, checkpoint=tmp_path / "a.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_found_before_the_run_and_named(
    tmp_path: Path, weights: dict[str, torch.Tensor], value: float
) -> None:
    broken = weights["blocks.1.attn.qkv.weight"].clone()
    broken[0, :2] = value
    save_file({**weights, "blocks.1.attn.qkv.weight": broken}, tmp_path / "a.safetensors")
    said = r"^a\.safetensors: the tensor blocks\.1\.attn\.qkv\.weight has 2 values that are NaN or infinite;"
    with pytest.raises(SettingsError, match=said) as caught:
        load_model(ARCHITECTURE, checkpoint=tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


def folder_of(path: Path, weights: dict[str, torch.Tensor], config: object) -> str:
    path.mkdir()
    save_file(weights, path / "model.safetensors")
    text = config if isinstance(config, str) else json.dumps(config)
    (path / "config.json").write_text(text)
    return f"local-dir:{path}"


GOOD = {"architecture": ARCHITECTURE, "num_classes": 3, "pretrained_cfg": {"num_classes": 3}}

CONFIGS: dict[str, object] = {
    "no JSON": "{",
    "deep JSON": "[" * 100_000,
    "a list": [1, 2],
    "nothing": {},
    "no name": {**GOOD, "architecture": None},
    "a name that is none": {**GOOD, "architecture": "os.system"},
    "a name that is a place": {**GOOD, "architecture": "hf-hub:somebody/else"},
    "a path": {**GOOD, "architecture": "../../etc/passwd"},
    "arguments that are none": {**GOOD, "model_args": {"no_such_argument": 1}},
    "arguments twice": {**GOOD, "model_args": {"pretrained": False, "pretrained_cfg": {}}},
    "a list of arguments": {**GOOD, "model_args": [1]},
    "a layer that is none": {**GOOD, "model_args": {"norm_layer": "__import__('os').mkdir('canary')"}},
    "a wide model": {**GOOD, "model_args": {"embed_dim": 2**20}},
    "an endless model": {**GOOD, "model_args": {"depth": 10**9, "mlp_ratio": 2000}},
    "many classes": {**GOOD, "num_classes": 10**10},
    "less than no class": {**GOOD, "num_classes": -5},
    "a large image": {**GOOD, "model_args": {"img_size": 10**6}},
    "an image of text": {**GOOD, "model_args": {"img_size": "large"}},
    "colours that are none": {**GOOD, "pretrained_cfg": {"num_classes": 3, "mean": "grey"}},
    "another size": {**GOOD, "model_args": {"embed_dim": 32}},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_model_folder_with_a_hostile_config_is_refused_in_one_line(
    tmp_path: Path, weights: dict[str, torch.Tensor], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = folder_of(tmp_path / "model", weights, CONFIGS[kind])
    with pytest.raises(VitReportError) as caught:
        load_model(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_folder_that_is_sound_loads(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    assert len(load_model(folder_of(tmp_path / "model", weights, GOOD)).classes) == 3


@pytest.mark.parametrize("way", ["zip", "legacy", "beside tensors"])
def test_a_malicious_pickle_in_a_model_folder_does_not_run(tmp_path: Path, way: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(GOOD))
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(BOMBS[way](Bomb(tmp_path / "canary")))
    with pytest.raises(SettingsError, match="they hold pickled objects beside tensors"):
        load_model(f"local-dir:{tmp_path / 'model'}")
    assert not (tmp_path / "canary").exists()


def test_not_finite_weights_in_a_model_folder_are_named(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    name = folder_of(tmp_path / "model", {**weights, "head.bias": torch.full((3,), torch.nan)}, GOOD)
    with pytest.raises(SettingsError, match=r"the folder model: the tensor head\.bias has 3 values"):
        load_model(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[" * 200_000),
        ("a.json", b"{"),
        ("a.json", b'{"' + b"9" * 6000 + b'": "x"}'),
        ("a.json", '{"²": "x"}'.encode()),
        ("a.json", b'{"0": "x", "999999999": "y"}'),
        ("a.json", b"\xff\xfe\x00"),
        ("a.labels.txt", b"\xff\xfe\x00"),
        ("a.labels.txt", b""),
    ],
)
def test_labels_that_cannot_be_read_beside_a_checkpoint_are_left_out_or_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor], name: str, content: bytes
) -> None:
    save_file(weights, tmp_path / "a.safetensors")
    (tmp_path / name).write_bytes(content)
    try:
        assert len(load_model(ARCHITECTURE, checkpoint=tmp_path / "a.safetensors").classes) == 3
    except SettingsError as error:
        assert name in str(error) and "\n" not in str(error)


def test_labels_that_are_a_pipe_are_not_waited_for(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file(weights, tmp_path / "a.safetensors")
    os.mkfifo(tmp_path / "labels.txt")
    with pytest.raises(SettingsError, match="it is no file"):
        load_model(ARCHITECTURE, checkpoint=tmp_path / "a.safetensors", labels=tmp_path / "labels.txt")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux limits what is allocated")
def test_an_allowance_ends_with_its_block() -> None:
    with allowance(0), pytest.raises(MemoryError):
        bytearray(1 << 40)
    assert torch.empty(3 << 30, dtype=torch.uint8).numel() == 3 << 30


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_spoilt_checkpoint_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    state = {name: value[:2] for name, value in list(network("class_token").state_dict().items())[:6]}
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    if kind == "safetensors":
        save_file({name: value.contiguous().clone() for name, value in state.items()}, path)
    else:
        path.write_bytes(saved({name: value.clone() for name, value in state.items()}, zipped=kind == "zip"))
    whole, random = path.read_bytes(), np.random.default_rng(3)
    refused = 0
    for _ in range(MUTANTS):
        body = bytearray(whole)
        for _ in range(int(random.integers(1, 6))):
            place = int(len(body) * random.random() ** 2)
            body[place] = int(random.integers(0, 256))
        path.write_bytes(body)
        try:
            read_checkpoint(path)
        except SettingsError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused
