"""What is kept of a batch in which something is wrong."""

from __future__ import annotations

import torch
from tiny_model import context, every_technique, noise, vision_model

from vitreport.explanation import Explanation, ImageRef
from vitreport.findings import Findings
from vitreport.store import TechniqueRecord
from vitreport.techniques.technique import Technique


def test_an_image_on_which_the_model_gives_no_numbers_has_no_map_of_any_technique() -> None:
    model = vision_model("class_token")
    pixels = noise(model, 3)
    pixels[1] = torch.nan
    findings = Findings(model.layout.grid)
    for name in ("image0", "image1", "image2"):
        findings.explanations.append(Explanation(ImageRef(name, name, 1, name)))
    for technique in every_technique():
        if not isinstance(technique, Technique):
            continue
        known = context(model, pixels, [0, 1, 2], backward=technique.backward)
        findings.add(known, [technique], [0, 1, 2], first=True)
        table = findings.table(TechniqueRecord(**technique.describe())).to_pylist()
        assert [(row["id"], row["error"]) for row in table] == [("image0", None), ("image2", None)]
