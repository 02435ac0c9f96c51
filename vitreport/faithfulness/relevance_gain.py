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
        orders = {key: most_relevant_first(values, case.image_ids, case.seed) for key, values in maps.items()}
        stacked = torch.stack([order for one in orders.values() for order in (one, one.flip(1))], 1)
        with case.evaluating(), self._hiding(case) as run:
            curves, kept = self._curves(case, stacked, hidden, run)
        share = torch.tensor(hidden, dtype=torch.float64) / total
        areas = torch.trapezoid(curves.double(), share)
        rows: dict[str, list[Row]] = {}
        for number, (key, values) in enumerate(maps.items()):
            defined = is_defined(values).tolist()
            most, least = 2 * number, 2 * number + 1
            rows[key] = [
                {
                    "value": float(areas[image, least] - areas[image, most]) if defined[image] else None,
                    "hidden": share.tolist(),
                    "most_first": curves[image, most].tolist(),
                    "least_first": curves[image, least].tolist(),
                    "most_first_kept": kept[image, most].tolist(),
                    "least_first_kept": kept[image, least].tolist(),
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

    def _curves(self, case: Case, orders: Tensor, hidden: list[int], run: Run) -> tuple[Tensor, Tensor]:
        """The target's score, and whether the target is still the likeliest class.

        Args:
            case: the batch.
            orders: of several techniques and directions, ``(batch, orders, patches)``.
            hidden: patches hidden at each step.
            run: gives the logits of pictures, ``(chunk,)``, with only some patches shown, ``(chunk, shown)``.

        Returns:
            Twice ``(batch, orders, steps)``.
        """
        batch, several, total = orders.shape
        prefix = case.model.layout.num_prefix_tokens
        scores, kept = [], []
        for count_hidden in hidden:
            shown = orders[:, :, count_hidden:].flatten(0, 1)
            images = torch.arange(batch, device=orders.device).repeat_interleave(several)
            if count_hidden in (0, total):  # the same for every order
                images, shown = images[::several], shown[::several]
            room = case.chunk * (prefix + total) // max(1, prefix + shown.shape[1])
            size = room if self.occluder == "token_drop" else case.chunk
            logits = torch.cat(
                [
                    run(some, patches)
                    for some, patches in zip(torch.split(images, size), torch.split(shown, size), strict=True)
                ]
            )
            targets = case.targets[images]
            score = case.model.head.scores(logits.float()).gather(1, targets[:, None]).view(batch, -1)
            best = (logits.argmax(1) == targets).view(batch, -1)
            scores.append(score.expand(-1, several))
            kept.append(best.expand(-1, several))
        return torch.stack(scores, 2).cpu(), torch.stack(kept, 2).cpu().to(torch.int8)

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
