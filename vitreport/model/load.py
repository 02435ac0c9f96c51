"""Loading a model: a timm name with hub weights, or with a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from torch import nn

from vitreport.errors import SettingsError, UnsupportedModelError, did_you_mean
from vitreport.explanation import ClassNames
from vitreport.model.checkpoint import (
    State,
    classes_in,
    load_into,
    read_checkpoint,
    square_image_size,
    tensors_sha256,
)
from vitreport.model.class_names import class_names
from vitreport.model.hub import distance_noticed
from vitreport.model.layout import TokenLayout, layout_of
from vitreport.model.preparation import Preparation
from vitreport.model.probe import probe

_HUB_PREFIXES = ("hf-hub:", "hf_hub:", "local-dir:", "timm/")


@dataclass(frozen=True)
class VisionModel:
    """A model that is ready to be explained.

    Attributes:
        name: as timm knows it.
        module: the network, in eval mode, on its device, without gradients.
        layout: where its tokens lie and how the head reads them.
        preparation: its evaluation transform.
        classes: names of its classes.
        blocks: number of blocks.
        heads: attention heads a block (of the first).
        weights: the weights' origin, in words.
        weights_sha256: of the weights file, or of the tensors.
        licence: as the weights' source states it, or None.
    """

    name: str
    module: nn.Module
    layout: TokenLayout
    preparation: Preparation
    classes: ClassNames
    blocks: int
    heads: int
    weights: str
    weights_sha256: str
    licence: str | None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the input in pixels."""
        _, height, width = self.preparation.config["input_size"]
        return height, width

    @property
    def width(self) -> int:
        """Channels of a token."""
        return int(self.module.num_features)  # type: ignore[arg-type]


def load_model(
    name: str,
    *,
    checkpoint: Path | None = None,
    labels: Path | None = None,
    image_size: tuple[int, int] | None = None,
    device: str = "cpu",
) -> VisionModel:
    """Loads a model and makes sure that its attention can be read.

    Args:
        name: a timm architecture, or ``hf-hub:`` / ``local-dir:`` and a place.
        checkpoint: weights; None takes those of the hub.
        labels: file with class names.
        image_size: (height, width) of the input, where it is not the model's own.
        device: torch device.

    Raises:
        SettingsError: unknown name, weights that cannot be had or do not fit, class names that do not fit.
        UnsupportedModelError: the attention of this model cannot be read.
    """
    state = read_checkpoint(checkpoint) if checkpoint else None
    module = _create(name, state, image_size)
    if checkpoint and state is not None:
        load_into(module, state, str(checkpoint))
    cfg: dict[str, Any] = {} if checkpoint else vars(module)["pretrained_cfg"]
    tag = cfg.get("tag")
    return as_vision_model(
        module.to(device),
        name=f"{name}.{tag}" if tag and "." not in name else name,
        names=lambda classes: class_names(classes, labels, checkpoint),
        image_size=image_size,
        weights=checkpoint.name if checkpoint else "from the model hub",
        weights_sha256=_file_sha256(checkpoint) if checkpoint else None,
        licence=cfg.get("license"),
    )


def as_vision_model(
    module: nn.Module,
    *,
    name: str,
    names: Callable[[int], ClassNames],
    image_size: tuple[int, int] | None = None,
    weights: str = "in memory",
    weights_sha256: str | None = None,
    licence: str | None = None,
) -> VisionModel:
    """Makes sure that a timm model can be explained, and describes it.

    Args:
        module: the network; it is put in eval mode, and its parameters ask for no gradient any more.
        name: as timm knows it.
        names: gives the class names for a number of classes.
        image_size: (height, width) of the input, where it is not the model's own.
        weights: the weights' origin, in words.
        weights_sha256: of the weights file; None hashes the tensors.
        licence: of the weights.

    Raises:
        UnsupportedModelError: the attention of this model cannot be read.
    """
    module.eval().requires_grad_(False)
    classes = int(getattr(module, "num_classes", 0) or 0)
    if not classes:
        raise UnsupportedModelError(
            f"{name} has no classifier (num_classes is 0), so there is no class to explain; "
            "give a checkpoint of a classifier"
        )
    size = image_size or _own_size(module)
    layout = layout_of(module, size)
    shown = probe(module, layout, size)
    return VisionModel(
        name=name,
        module=module,
        layout=layout,
        preparation=Preparation(resolve_data_config({"input_size": (3, *size)}, model=module)),
        classes=names(classes),
        blocks=shown.blocks,
        heads=shown.heads,
        weights=weights,
        weights_sha256=weights_sha256 or tensors_sha256(module),
        licence=licence,
    )


def _create(name: str, state: State | None, image_size: tuple[int, int] | None) -> nn.Module:
    if not name.startswith(_HUB_PREFIXES):
        _check_name(name)
    options: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    if state is None:
        return _fetch(name, options)
    module = _build(name, options)
    classifier = module.pretrained_cfg.get("classifier") or "head"  # type: ignore[operator,union-attr]
    first = classifier if isinstance(classifier, str) else classifier[0]
    classes = classes_in(state, first)
    if classes is not None and classes != getattr(module, "num_classes", None):
        options["num_classes"] = classes
    side = square_image_size(state, module) if image_size is None else None
    if side is not None:
        options["img_size"] = side
    return _build(name, options) if "num_classes" in options or side is not None else module


def _check_name(name: str) -> None:
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        raise SettingsError(
            f"timm {timm.__version__} has no model '{name}'{did_you_mean(name, known) or ';'} "
            "a timm name goes with --model, for example deit_tiny_patch16_224"
        )
    tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
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


def _fetch(name: str, options: dict[str, Any]) -> nn.Module:
    try:
        with distance_noticed():
            return _build(name, options, pretrained=True)
    except SettingsError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"the weights of '{name}' cannot be fetched from the model hub ({reason}); "
            "without network: --checkpoint FILE takes a safetensors or torch file, "
            "--model local-dir:FOLDER a downloaded hub folder, and weights already in the cache are found"
        ) from error


def _own_size(module: nn.Module) -> tuple[int, int]:
    size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    if size is None:
        size = resolve_data_config({}, model=module)["input_size"][1:]
    return int(size[0]), int(size[1])


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
