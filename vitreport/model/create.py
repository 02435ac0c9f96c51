"""Building a timm network: its weights from a checkpoint, or from the model hub."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import timm
from torch import nn

from vitreport.errors import SettingsError, did_you_mean
from vitreport.model.allowance import allowance
from vitreport.model.checkpoint import (
    State,
    classes_in,
    fits,
    load_into,
    read_checkpoint,
    square_image_size,
)
from vitreport.model.embedded import EMBEDDED, embedded_folder
from vitreport.model.hub import distance_noticed

LOCAL = "local-dir:"
_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")
_PLACES = (LOCAL, EMBEDDED, "hf-hub:", "hf_hub:", "timm/")


def from_checkpoint(name: str, checkpoint: Path, image_size: tuple[int, int] | None) -> nn.Module:
    """Builds `name` with the weights of a file.

    The number of classes and the input size are those of the checkpoint; where `image_size` is another
    one, the model is fitted to it after loading, its position embedding interpolated.

    Raises:
        SettingsError: the name is unknown, or the weights cannot be read or do not fit.
    """
    _check_name(name)
    if name.startswith(EMBEDDED):
        raise SettingsError(f"{name} brings its own weights; leave --checkpoint out")
    state = read_checkpoint(checkpoint)
    with allowance(checkpoint.stat().st_size):
        module = _sized_like(name, state, image_size)
    load_into(module, state, str(checkpoint))
    if image_size is not None and image_size != own_size(module):
        if not hasattr(module, "set_input_size"):
            raise SettingsError(f"{name} has one input size only; leave --image-size out")
        module.set_input_size(img_size=image_size)  # type: ignore[operator]
    return module


def from_hub(name: str, image_size: tuple[int, int] | None) -> nn.Module:
    """Builds `name` with the weights of the model hub, its cache, a downloaded folder or the package.

    Raises:
        SettingsError: the name is unknown, or the weights cannot be had.
    """
    _check_name(name)
    options: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    if name.startswith(EMBEDDED):
        return _build(f"{LOCAL}{embedded_folder(name)}", options, pretrained=True)
    if name.startswith(LOCAL):
        return _from_folder(name, options)
    try:
        with distance_noticed():
            return _build(name, options, pretrained=True)
    except SettingsError:
        raise
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        _refuse_pickled(name, error)
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"the weights of '{name}' cannot be had from the model hub ({reason}); "
            "without network: --checkpoint FILE takes a safetensors or torch file, "
            "--model local-dir:FOLDER a downloaded hub folder, and weights already in the cache are found"
        ) from error


def _refuse_pickled(name: str, error: Exception) -> None:
    """Says so where torch refused to unpickle; timm wraps that and advises to do it all the same."""
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        raise SettingsError(
            f"the weights of '{name}' are refused: they hold pickled objects beside tensors, and unpickling "
            "runs code; use safetensors"
        ) from error


def _from_folder(name: str, options: dict[str, Any]) -> nn.Module:
    """Builds what the config of a downloaded folder says, with the weights in it, and trusts neither."""
    folder = Path(name.removeprefix(LOCAL))
    if not (folder / "config.json").is_file():
        raise SettingsError(
            f"no config.json in {folder}; --model local-dir:FOLDER takes a downloaded hub folder"
        )
    size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())
    try:
        with allowance(size):
            return _build(name, options, pretrained=True)
    except (SettingsError, KeyboardInterrupt):
        raise
    except Exception as error:  # a config can be wrong in every way there is
        _refuse_pickled(name, error)
        reason = " ".join(str(error).split())[:160]
        raise SettingsError(
            f"the folder {folder} cannot be used: its config.json or its weights are not those of a timm "
            f"model ({type(error).__name__}: {reason})"
        ) from error


def without_weights(name: str) -> nn.Module:
    """Builds `name` with random weights, which is enough to see what can be read of it; fetches nothing.

    Raises:
        SettingsError: the name is unknown, or names a place and no architecture.
    """
    _check_name(name)
    if name.startswith(_PLACES):
        raise SettingsError(f"{name} names a place, no architecture")
    return _build(name, {})


def own_size(module: nn.Module) -> tuple[int, int]:
    """(height, width) in pixels of the input that a model is built for."""
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    if size is None:
        size = timm.data.resolve_data_config({}, model=module)["input_size"][1:]
    return int(size[0]), int(size[1])


def _sized_like(name: str, state: State, image_size: tuple[int, int] | None) -> nn.Module:
    """The network, without weights yet, with the classes and the input size of a checkpoint."""
    plain = _build(name, {})
    classifier = vars(plain)["pretrained_cfg"].get("classifier")
    head = classifier if isinstance(classifier, str) or not classifier else classifier[0]
    classes = classes_in(state, head or "head", plain)
    options: dict[str, Any] = {}
    if classes is None and head and f"{head}.weight" not in state:
        classes = 0  # a backbone without its head
    if classes is not None and classes != getattr(plain, "num_classes", None):
        options["num_classes"] = classes
        plain = _build(name, options)
    for size in (image_size, square_image_size(state, plain)):
        if size is not None and not fits(plain, state):
            sized = _build(name, {**options, "img_size": size})
            if fits(sized, state):
                return sized
    return plain


def _check_name(name: str) -> None:
    if name.startswith(_PLACES):
        return
    known = timm.list_models()
    architecture = name.partition(".")[0]
    if architecture not in known:
        raise SettingsError(
            f"timm {timm.__version__} has no model '{name}'{did_you_mean(name, known) or ';'} "
            "a timm name goes with --model, for example deit_tiny_patch16_224"
        )
    tagged = timm.list_pretrained(f"{architecture}.*")
    if "." in name and name not in tagged:
        raise SettingsError(
            f"timm has no weights '{name}'{did_you_mean(name, tagged) or ';'} "
            f"known: {', '.join(tagged) or 'none, give a --checkpoint'}"
        )


def _build(name: str, options: dict[str, Any], *, pretrained: bool = False) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **options)  # type: ignore[no-any-return]
    except TypeError as error:
        if "img_size" in options and "img_size" in str(error):
            raise SettingsError(f"{name} has one input size only; leave --image-size out") from error
        raise
