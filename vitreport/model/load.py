"""Loading a model: a timm name with hub weights, or with a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_data_config
from torch import nn

from vitreport.errors import UnsupportedModelError
from vitreport.explanation import ClassNames
from vitreport.model.checkpoint import tensors_sha256
from vitreport.model.class_names import class_names
from vitreport.model.create import LOCAL, from_checkpoint, from_hub, own_size
from vitreport.model.embedded import EMBEDDED
from vitreport.model.layout import TokenLayout, layout_of
from vitreport.model.preparation import Preparation
from vitreport.model.probe import probe


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
        name: a timm architecture, or ``hf-hub:`` / ``local-dir:`` and a place, or ``embedded:`` and a name.
        checkpoint: weights; None takes those of the hub.
        labels: file with class names.
        image_size: (height, width) of the input, where it is not the model's own.
        device: torch device.

    Raises:
        SettingsError: unknown name, weights that cannot be had or do not fit, class names that do not fit.
        UnsupportedModelError: the attention of this model cannot be read.
    """
    module = from_checkpoint(name, checkpoint, image_size) if checkpoint else from_hub(name, image_size)
    cfg: dict[str, Any] = {} if checkpoint else vars(module)["pretrained_cfg"]
    tag = cfg.get("tag")
    return as_vision_model(
        module.to(device),
        name=f"{name}.{tag}" if tag and "." not in name else name,
        names=lambda classes: class_names(classes, labels, checkpoint, cfg),
        image_size=image_size,
        weights=_origin(name, checkpoint),
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
    size = image_size or own_size(module)
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


def _origin(name: str, checkpoint: Path | None) -> str:
    if checkpoint is not None:
        return checkpoint.name
    if name.startswith(EMBEDDED):
        return "embedded in vitreport"
    if name.startswith(LOCAL):
        return f"the folder {Path(name.removeprefix(LOCAL)).name}"
    return "the model hub"


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
