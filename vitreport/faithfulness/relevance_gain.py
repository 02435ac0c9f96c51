"""Symmetric relevance gain: deletion and insertion along a map's order of patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vitreport.configurable import choice, count
from vitreport.faithfulness.metric import Case, Metric, Row, register
from vitreport.faithfulness.ranking import is_defined, most_relevant_first
from vitreport.masking import black, blurred, hide, mean_colour, token_drop, why_no_token_drop
from vitreport.model.layout import Readout
from vitreport.model.load import VisionModel
from vitreport.techniques.technique import Technique

BLUR = 0.05
"""Standard deviation of the blur, as a share of the shorter side."""
Run = Callable[[Tensor, Tensor], Tensor]


@register
@dataclass(frozen=True)
class RelevanceGain(Metric):
    """Area between the curves of hiding the least and the most relevant patches first.

    A curve is the target's score (a softmax's or sigmoid's probability) against the share of patches that is
    hidden, from none to all. Its area is taken by the trapezoid rule. The value lies in [-1, 1]: 0 is a map
    of chance, and the reversed order has the negative. Where the head averages patches one of them stays.

    Source:
        Blücher et al. 2024, Decoupling Pixel Flipping and Occlusion Strategy, arXiv:2401.06654, equation 4;
        tokens left out as in Jain et al. 2022, Missingness Bias, arXiv:2204.08945.
    """

    name = "relevance_gain"
    title = "Symmetric relevance gain (SRG)"
    short = "SRG"
    source = (
        "Blücher et al., Decoupling Pixel Flipping and Occlusion Strategy, 2024, arXiv:2401.06654, "
        "equation 4; tokens left out as in Jain et al., 2022, arXiv:2204.08945"
    )
    measures = (
        "Whether the patches that a map calls relevant are those that the model's score hangs on: hiding "
        "them first must cost more than hiding them last."
    )
    does_not_measure = (
        "Whether the map is what a person would point at. The value depends on what stands in for a hidden "
        "patch."
    )
    columns: ClassVar[Mapping[str, str]] = {
        "hidden": "list<float>",
        "most_first": "list<float>",
        "least_first": "list<float>",
        "most_first_kept": "list<int8>",
        "least_first_kept": "list<int8>",
    }

    tier = "core"

    occluder: str = choice(
        "token_drop", ("token_drop", "blur", "mean", "black"), "what stands in for a hidden patch"
    )
    steps: int = count(10, 1, 1000, "steps from the whole picture to none of it")

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`; sequences of which tokens are dropped cost half on average."""
        return 2 * self.steps * (0.5 if self.occluder == "token_drop" else 1) * len(techniques)

    def supports(self, model: VisionModel) -> str | None:
        """See `Metric.supports`."""
        if not len(model.classes):
            return "the model has no classifier, so there is no score to lose"
        why = why_no_token_drop(model) if self.occluder == "token_drop" else None
        return f"{why}; --metric relevance_gain:occluder=blur blurs patches instead" if why else None

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        hidden = self._hidden(case.model)
        total = case.model.layout.num_patches
        share = torch.tensor(hidden, dtype=torch.float64) / total
        rows: dict[str, list[Row]] = {}
        with case.evaluating(), self._hiding(case) as run:
            ends = self._ends(case, hidden, run)
            for key, values in maps.items():
                order = most_relevant_first(values, case.image_ids, case.seed)
                both = torch.stack([order, order.flip(1)], 1)
                curves, kept = self._curves(case, both, hidden, run, ends)
                areas = torch.trapezoid(curves.double(), share)
                defined = is_defined(values).tolist()
                rows[key] = [
                    {
                        "value": float(areas[image, 1] - areas[image, 0]) if defined[image] else None,
                        "hidden": share.tolist(),
                        "most_first": curves[image, 0].tolist(),
                        "least_first": curves[image, 1].tolist(),
                        "most_first_kept": kept[image, 0].tolist(),
                        "least_first_kept": kept[image, 1].tolist(),
                    }
                    for image in range(len(case.targets))
                ]
        return rows

    def _hidden(self, model: VisionModel) -> list[int]:
        """How many patches are hidden at each step."""
        total = model.layout.num_patches
        reads_prefix = model.layout.readout in (Readout.CLASS_TOKEN, Readout.CLASS_DISTILLATION_MEAN)
        most = total if reads_prefix else total - 1
        return [min(most, round(total * step / self.steps)) for step in range(self.steps + 1)]

    def _ends(self, case: Case, hidden: list[int], run: Run) -> dict[int, Tensor]:
        """Logits of the whole pictures and of nothing of them, where these are steps."""
        total = case.model.layout.num_patches
        images = torch.arange(len(case.targets), device=case.pixels.device)
        patches = torch.arange(total, device=images.device).expand(len(images), -1)
        return {
            step: self._logits(case, images, patches[:, step:], run)
            for step in {0, total}.intersection(hidden)
        }

    def _curves(
        self, case: Case, orders: Tensor, hidden: list[int], run: Run, ends: Mapping[int, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The target's score, and whether the target is still the likeliest class.

        One technique at a time: what passes through the model together decides the last digits, and a
        technique's score must not depend on which others are scored with it.

        Args:
            case: the batch.
            orders: of both directions, ``(batch, 2, patches)``.
            hidden: patches hidden at each step.
            run: gives the logits of pictures, ``(chunk,)``, with only some patches shown, ``(chunk, shown)``.
            ends: logits by patches hidden, ``(batch, classes)``, as of `_ends`.

        Returns:
            Twice ``(batch, 2, steps)``.
        """
        images = torch.arange(len(orders), device=orders.device).repeat_interleave(2)
        scores, kept = [], []
        for step in hidden:
            if step in ends:
                logits = ends[step].repeat_interleave(2, 0)
            else:
                logits = self._logits(case, images, orders[:, :, step:].flatten(0, 1), run)
            targets = case.targets[images]
            score = case.model.head.scores(logits.float()).gather(1, targets[:, None])
            scores.append(score.view(-1, 2))
            kept.append((logits.argmax(1) == targets).view(-1, 2))
        return torch.stack(scores, 2).cpu(), torch.stack(kept, 2).cpu().to(torch.int8)

    def _logits(self, case: Case, images: Tensor, shown: Tensor, run: Run) -> Tensor:
        """Logits ``(pictures, classes)`` of pictures with only some patches shown, ``(pictures, shown)``."""
        prefix, total = case.model.layout.num_prefix_tokens, case.model.layout.num_patches
        room = case.chunk * (prefix + total) // max(1, prefix + shown.shape[1])
        size = room if self.occluder == "token_drop" else case.chunk
        parts = zip(torch.split(images, size), torch.split(shown, size), strict=True)
        return torch.cat([run(some, patches) for some, patches in parts])

    @contextmanager
    def _hiding(self, case: Case) -> Iterator[Run]:
        pixels, model = case.pixels, case.model
        if self.occluder == "token_drop":
            with token_drop(model) as run:
                yield lambda images, shown: run(pixels[images], shown)
            return
        fillings = {
            "blur": lambda: blurred(pixels, BLUR),
            "mean": lambda: mean_colour(pixels),
            "black": lambda: black(pixels, model),
        }
        filling = fillings[self.occluder]()
        rows, cols = model.layout.grid

        def run_filled(images: Tensor, shown: Tensor) -> Tensor:
            hidden = torch.ones(len(images), rows * cols, dtype=torch.bool, device=pixels.device)
            hidden.scatter_(1, shown, False)
            pictures = hide(pixels[images], hidden.view(-1, rows, cols), filling[images])
            logits: Tensor = model.module(pictures)
            return logits

        yield run_filled
