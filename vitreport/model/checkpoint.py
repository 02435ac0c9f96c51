"""Weights files: safetensors, and torch files read as bare tensors. Nothing is ever unpickled beyond that."""

from __future__ import annotations

import hashlib
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vitreport.errors import SettingsError
from vitreport.model.allowance import allowance

State = dict[str, Tensor]
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN = 5
_COMPILED = (
    "is refused: it is a TorchScript or tar archive, whose reading runs code; "
    "save the model's state_dict(), best as safetensors"
)
_GREEDY = "is refused: it asks for more memory than a file of its size may"
HEADER_LIMIT = 10_000_000
"""Bytes of the longest header of a safetensors file; those of the largest models have about one million."""


def read_checkpoint(path: Path) -> State:
    """Reads the tensors of a weights file, by name.

    Averaged weights are taken where a training checkpoint has them; prefixes that wrappers add are removed.
    Every tensor is plain numbers, and the file has as many of them as its shape says.

    Raises:
        SettingsError: there is no such file, or it holds more than tensors, or others than these.
    """
    if not path.is_file():
        raise SettingsError(f"no checkpoint at {path}")
    with allowance(path.stat().st_size):
        state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for name, tensor in state.items():
        problem = _problem(tensor)
        if problem:
            raise SettingsError(f"{path} is refused: its tensor {name[:80]!r} {problem}")
    return _strip(state)


def _read_torch(path: Path) -> State:
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise SettingsError(
            f"{path} is refused: it asks for more memory than a file of its size may"
        ) from error
    except Exception as error:  # torch's readers fail on damaged bytes in every way there is
        raise SettingsError(f"{path} {_failure(error)}") from error
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping):
        raise SettingsError(f"{path} holds a {type(content).__name__}, not a state_dict of tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise SettingsError(f"{path} holds no tensors")
    return tensors


def _check_archive(path: Path) -> None:
    """Torch stores its files in archives uncompressed, so one that would grow when read is not of torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, NotImplementedError):
        return  # the older format, or torch says what is wrong
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        raise SettingsError(f"{path} {_COMPILED}")
    if size > path.stat().st_size:
        raise SettingsError(
            f"{path} is refused: its {path.stat().st_size:,} bytes would grow to {size:,}, and torch "
            "does not compress; save the model's state_dict() anew, best as safetensors"
        )


def _failure(error: Exception) -> str:
    """What is wrong with a torch file, in our words: torch's own advise to unpickle it all the same."""
    text = str(error)
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return _GREEDY
    asked = re.search(r"GLOBAL ([\w.]{1,80})", text)
    if isinstance(error, pickle.UnpicklingError) and ("Unsupported" in text or asked):
        objects = f"pickled objects ({asked[1]})" if asked else "pickled objects"
        return (
            f"is refused: it holds {objects} beside its tensors, and unpickling runs code; "
            "save the model's state_dict() alone, best as safetensors"
        )
    if "TorchScript" in text or ".tar" in text:
        return _COMPILED
    reason = "" if "weights_only" in text else " ".join(text.split()).partition(". ")[0][:120]
    return f"is not a torch checkpoint, or it is damaged ({reason or type(error).__name__})"


def _problem(tensor: Tensor) -> str | None:
    """Why a tensor cannot be weights, or None."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return "is sparse, quantised or without values; save it as plain numbers"
    if tensor.is_complex():
        return "has complex numbers; weights are real"
    if not tensor.numel():
        return f"has the shape {tuple(tensor.shape)}, so it is empty"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has the shape {tuple(tensor.shape)}, for which the file has too few values"
    return None


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > HEADER_LIMIT:
        raise SettingsError(
            f"{path} is refused: its header claims {header:,} bytes; those of more than {HEADER_LIMIT:,} are "
            "not read"
        )
    try:
        state: State = load_file(path)
    except MemoryError as error:
        raise SettingsError(
            f"{path} is refused: it asks for more memory than a file of its size may"
        ) from error
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SettingsError(f"{path} is not a readable safetensors file: {reason}") from error
    if not state:
        raise SettingsError(f"{path} holds no tensors")
    return state


def _strip(state: State) -> State:
    """Removes prefixes that every name has, in whatever order wrappers were put around the model."""
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return _strip({name.removeprefix(prefix): value for name, value in state.items()})
    return state


def fits(module: nn.Module, state: State) -> bool:
    """True where `state` has every tensor of `module`, in its shape, and no other."""
    own = module.state_dict()
    return own.keys() == state.keys() and all(own[name].shape == state[name].shape for name in own)


def load_into(module: nn.Module, state: State, where: str) -> None:
    """Loads every tensor of `state` into `module`, strictly.

    Raises:
        SettingsError: a tensor is missing, unknown, or of another shape; the message names them.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, the model has {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = [
        f"{title}: {_some(names)}"
        for title, names in (("missing", missing), ("not in the model", unknown), ("other shapes", shapes))
        if names
    ]
    if problems:
        raise SettingsError(
            f"{where} does not fit the model ({'; '.join(problems)}); "
            "is --model the architecture that it was trained with?"
        )
    module.load_state_dict(state)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def classes_in(state: State, classifier: str, module: nn.Module) -> int | None:
    """Number of classes that a checkpoint's classifier has, or None where it is no classifier of `module`."""
    weight, own = state.get(f"{classifier}.weight"), module.state_dict().get(f"{classifier}.weight")
    if weight is None or weight.dim() < 2:
        return None
    width = int(module.num_features) if own is None else own[0].numel()  # type: ignore[arg-type]
    return int(weight.shape[0]) if weight[0].numel() == width else None


def square_image_size(state: State, module: nn.Module) -> tuple[int, int] | None:
    """(height, width) in pixels of the square input that a checkpoint's position embedding was trained for.

    None where it is that of `module`, or cannot be told.
    """
    own, given = getattr(module, "pos_embed", None), state.get("pos_embed")
    if own is None or given is None or own.shape == given.shape or own.dim() != 3 or given.dim() != 3:
        return None
    if given.shape[0] != 1 or given.shape[2] != own.shape[2]:
        return None
    embed = module.patch_embed
    prefix = own.shape[1] - int(embed.num_patches)  # type: ignore[arg-type,union-attr]
    side = math.isqrt(max(given.shape[1] - prefix, 0))
    square = side > 0 and side * side + prefix == given.shape[1]
    if not square:
        return None
    height, width = embed.patch_size  # type: ignore[misc,union-attr]
    return side * int(height), side * int(width)


def tensors_sha256(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all tensors of a model, sorted by name; hex."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().cpu().contiguous()
        total.update(f"{name} {flat.dtype} {tuple(flat.shape)}\n".encode())
        total.update(flat.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def check_finite(module: nn.Module, where: str) -> None:
    """Finds weights that are not finite before anything is explained with them.

    Raises:
        SettingsError: it names the first such tensor.
    """
    broken = {
        name: int((~tensor.isfinite()).sum())
        for name, tensor in module.state_dict().items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    }
    if broken:
        name, count = next(iter(broken.items()))
        more = f", and {len(broken) - 1} more tensors have such values" if len(broken) > 1 else ""
        raise SettingsError(
            f"{where}: the tensor {name} has {count:,} values that are NaN or infinite{more}; "
            "such a model explains nothing; take a checkpoint from before its training failed"
        )
