"""Models to measure: real architectures with seeded random weights, which cost what trained ones cost."""

from __future__ import annotations

import timm
import torch

from vitreport.explanation import ClassNames
from vitreport.model.load import VisionModel, as_vision_model


def seeded_model(name: str, device: str, **options: object) -> VisionModel:
    """A model of timm with random weights; from then on a GPU computes in float32, never in TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False, **options).to(device)
    return as_vision_model(
        module,
        name=name,
        names=lambda classes: ClassNames(tuple(f"class {index}" for index in range(classes))),
    )
