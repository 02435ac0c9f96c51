"""Which classes of an image are explained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from vitreport.errors import SettingsError, did_you_mean
from vitreport.explanation import ClassNames

PREDICTED, LABEL = "predicted", "label"
_TOP = re.compile(r"top(\d+)")


@dataclass(frozen=True)
class Targets:
    """The targets that a run explains, resolved against a model's classes.

    Attributes:
        specs: ``predicted``, ``label``, the number of ``top<k>`` as a negative integer, or a class index,
            in the order asked for.
    """

    specs: tuple[str | int, ...]

    @classmethod
    def parse(cls, texts: Sequence[str], classes: ClassNames, *, labels: bool = True) -> Self:
        """Reads what the user asked for.

        Args:
            texts: the targets, each a word, a class index or a class name.
            classes: of the model; of one without a classifier, which has none, nothing but ``predicted``
                can be asked for, and it gives no target.
            labels: whether an image's label can be one of these classes.

        Raises:
            SettingsError: a word that is no target, or a class that the model does not have.
        """
        specs: list[str | int] = []
        for text in texts:
            if not len(classes) and text != PREDICTED:
                raise SettingsError(
                    f"target '{text}' is asked for, but the model has no classifier, so there is no class to "
                    "explain; leave --target out: the techniques that need no class run"
                )
            if text == LABEL and not labels:
                raise SettingsError(
                    "target 'label' is asked for, but labels are no outputs of this model; "
                    "'predicted', an index or a name explains an output"
                )
            top = _TOP.fullmatch(text)
            if text in (PREDICTED, LABEL):
                specs.append(text)
            elif top:
                specs.append(-min(max(int(top[1]), 1), len(classes)))
            else:
                specs.append(_class(text, classes))
        return cls(tuple(specs))

    @property
    def needs_labels(self) -> bool:
        """True where nothing but the label is asked for."""
        return set(self.specs) == {LABEL}

    @property
    def most(self) -> int:
        """The most targets that one image can have."""
        return sum(-spec if isinstance(spec, int) and spec < 0 else 1 for spec in self.specs)

    def of_image(self, ranking: Sequence[int], label: int | None) -> tuple[int, ...]:
        """Returns the classes to explain, each once.

        Args:
            ranking: classes by falling logit.
            label: ground truth, or None, where a target ``label`` is left out.
        """
        chosen: dict[int, None] = {}
        for spec in self.specs:
            if spec == LABEL:
                chosen |= {} if label is None else {label: None}
            elif isinstance(spec, int) and spec >= 0:
                chosen[spec] = None
            else:
                chosen |= dict.fromkeys(ranking[: -spec if isinstance(spec, int) else 1])
        return tuple(chosen)


def _class(text: str, classes: ClassNames) -> int:
    if re.fullmatch(r"[+-]?\d+", text):
        index = int(text)
        if not 0 <= index < len(classes):
            raise SettingsError(
                f"target {index} is no class of this model; classes are 0 to {len(classes) - 1}"
            )
        return index
    found = classes.index_of(text)
    if found is None:
        words = [PREDICTED, LABEL, "top2", *classes.names]
        raise SettingsError(
            f"unknown target '{text}'{did_you_mean(text, words) or ';'} "
            "allowed: predicted, label, top2, a class index, or a class name"
        )
    return found
