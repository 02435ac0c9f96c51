"""Loading a model: a timm name with hub weights, or with a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_data_config
from torch import nn

from vitreport.explanation import ClassNames
from vitreport.model.anatomy import Anatomy
from vitreport.model.checkpoint import check_finite, tensors_sha256
from vitreport.model.class_names import class_names
from vitreport.model.create import LOCAL, from_checkpoint, from_hub, own_size, without_weights
from vitreport.model.embedded import EMBEDDED
from vitreport.model.head import Head
from vitreport.model.layout import TokenLayout
from vitreport.model.preparation import Preparation
from vitreport.model.probe import libra_gap, probe
from vitreport.model.trace import Backward, Need
from vitreport.model.tracer import Tracer, traced


@dataclass(frozen=True)
class VisionModel:
    """A model that is ready to be explained.

    Attributes:
        name: as timm knows it.
        module: the network, in eval mode, on its device, without gradients.
        preparation: its evaluation transform.
        classes: names of its classes.
        anatomy: where the parts are that techniques read.
        head: what kind of numbers its head gives.
        heads: attention heads of the first block; 0 where attention cannot be read.
        lacks: what techniques cannot read of it, and why.
        weights: the weights' origin, in words.
        weights_sha256: of the weights file, or of the tensors.
        licence: as the weights' source states it, or None.
    """

    name: str
    module: nn.Module
    anatomy: Anatomy
    preparation: Preparation
    classes: ClassNames
    head: Head
    heads: int
    lacks: Mapping[Need, str]
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

    @property
    def layout(self) -> TokenLayout:
        """Where its tokens lie and how the head reads them."""
        return self.anatomy.layout

    @property
    def blocks(self) -> int:
        """Number of blocks; 0 where the model is no plain sequence of them."""
        return len(self.anatomy.blocks)

    @cached_property
    def libra_gap(self) -> float:
        """How far the Libra terms are from summing to a logit; see `vitreport.model.probe.libra_gap`."""
        return libra_gap(self.module, self.anatomy, self.input_size)

    def traced(self, needs: Need, backward: Backward = Backward.PLAIN) -> AbstractContextManager[Tracer]:
        """Opens the model for tracing; see `vitreport.model.tracer.traced`."""
        return traced(self.module, self.anatomy, needs, backward)


def load_model(
    name: str,
    *,
    checkpoint: Path | None = None,
    labels: Path | None = None,
    image_size: tuple[int, int] | None = None,
    device: str = "cpu",
    head: str = "auto",
) -> VisionModel:
    """Loads a model and finds out what can be read of it.

    Args:
        name: a timm architecture, or ``hf-hub:`` / ``local-dir:`` and a place, or ``embedded:`` and a name.
        checkpoint: weights; None takes those of the hub.
        labels: file with class names.
        image_size: (height, width) of the input, where it is not the model's own.
        device: torch device.
        head: ``auto``, ``softmax``, ``sigmoid`` or ``regression``; see `Head.of`.

    Raises:
        SettingsError: unknown name, weights that cannot be had or do not fit, class names that do not fit.
        UnsupportedModelError: nothing of this model can be explained.
    """
    module = from_checkpoint(name, checkpoint, image_size) if checkpoint else from_hub(name, image_size)
    cfg: dict[str, Any] = {} if checkpoint else vars(module)["pretrained_cfg"]
    tag = cfg.get("tag")
    return as_vision_model(
        module.to(device),
        name=f"{name}.{tag}" if tag and "." not in name else name,
        names=lambda classes: class_names(
            classes, labels, checkpoint, cfg, noun="output" if head == "regression" else "class"
        ),
        image_size=image_size,
        weights=_origin(name, checkpoint),
        weights_sha256=_file_sha256(checkpoint) if checkpoint else None,
        licence=cfg.get("license"),
        head=head,
    )


def load_architecture(name: str) -> VisionModel:
    """Loads a model to see what can be read of it: a timm name without its weights, any other with them.

    Raises:
        SettingsError: as `load_model`.
        UnsupportedModelError: as `load_model`.
    """
    if ":" in name or "/" in name:
        return load_model(name)
    module = without_weights(name)
    cfg: dict[str, Any] = vars(module)["pretrained_cfg"]
    names = partial(class_names, labels=None, checkpoint=None, config=cfg)
    return as_vision_model(module, name=name, names=names, weights="random")


def as_vision_model(
    module: nn.Module,
    *,
    name: str,
    names: Callable[[int], ClassNames],
    image_size: tuple[int, int] | None = None,
    weights: str = "in memory",
    weights_sha256: str | None = None,
    licence: str | None = None,
    head: str = "auto",
) -> VisionModel:
    """Finds out what can be read of a timm model, and describes it.

    Args:
        module: the network; it is put in eval mode, and its parameters ask for no gradient any more.
        name: as timm knows it.
        names: gives the class names for a number of classes.
        image_size: (height, width) of the input, where it is not the model's own.
        weights: the weights' origin, in words.
        weights_sha256: of the weights file; None hashes the tensors.
        licence: of the weights.
        head: see `load_model`.

    Raises:
        SettingsError: it has weights that are not finite.
        UnsupportedModelError: nothing of this model can be explained.
    """
    module.eval().requires_grad_(False)
    check_finite(module, f"the weights of {name}" if weights == "in memory" else weights)
    outputs = int(getattr(module, "num_classes", 0) or 0)
    size = image_size or own_size(module)
    shown = probe(module, size)
    return VisionModel(
        name=name,
        module=module,
        anatomy=shown.anatomy,
        preparation=Preparation(resolve_data_config({"input_size": (3, *size)}, model=module)),
        classes=names(outputs),
        head=Head.of(head, outputs),
        heads=shown.heads,
        lacks=shown.lacks,
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
