"""Weights files: safetensors, and torch files read as bare tensors. Nothing is ever unpickled beyond that."""

from __future__ import annotations

import hashlib
import math
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vitreport.errors import SettingsError

State = dict[str, Tensor]
_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN = 5


def read_checkpoint(path: Path) -> State:
    """Reads the tensors of a weights file, by name.

    Averaged weights are taken where a training checkpoint has them; prefixes that wrappers add are removed.

    Raises:
        SettingsError: there is no such file, or it holds more than tensors.
    """
    if not path.is_file():
        raise SettingsError(f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        return _strip(_read_safetensors(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SettingsError(
            f"{path} is refused: it holds pickled objects beside its tensors, and unpickling runs code; "
            "save the model's state_dict() alone, best as safetensors"
        ) from error
    except Exception as error:  # torch's readers fail on damaged bytes in every way there is
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SettingsError(f"{path} is not a torch checkpoint, or it is damaged: {reason}") from error
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping):
        raise SettingsError(f"{path} holds a {type(content).__name__}, not a state_dict of tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise SettingsError(f"{path} holds no tensors")
    return _strip(tensors)


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SettingsError(f"{path} is not a readable safetensors file: {error}") from error
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


def classes_in(state: State, classifier: str) -> int | None:
    """Number of classes that a checkpoint's classifier has, or None."""
    weight = state.get(f"{classifier}.weight")
    return None if weight is None else int(weight.shape[0])


def square_image_size(state: State, module: nn.Module) -> tuple[int, int] | None:
    """(height, width) in pixels of the square input that a checkpoint's position embedding was trained for.

    None where it is that of `module`, or cannot be told.
    """
    own, given = getattr(module, "pos_embed", None), state.get("pos_embed")
    if own is None or given is None or own.shape == given.shape or own.dim() != 3:
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
