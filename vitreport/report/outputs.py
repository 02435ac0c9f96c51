"""How the outputs of a model are spoken of: as classes with probabilities, as values, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

from vitreport.report.wording import number, percent
from vitreport.store import ModelRecord

EVEN = 0.5
"""From this probability on the only class of a model counts as seen."""


@dataclass(frozen=True)
class Outputs:
    """What a model's head gives.

    Attributes:
        head: ``softmax``, ``sigmoid``, ``regression`` or ``none``.
        count: how many outputs there are.
        judged: whether an image's label is right or wrong of them.
    """

    head: str
    count: int
    judged: bool

    @classmethod
    def of(cls, model: ModelRecord) -> Outputs:
        """Those of a run's model."""
        return cls(model.head, len(model.class_names), model.tells_classes)

    @property
    def are_values(self) -> bool:
        """Whether they are plain numbers and no probabilities."""
        return self.head == "regression"

    @property
    def noun(self) -> str:
        """``class`` or ``output``."""
        return "output" if self.are_values else "class"

    @property
    def score(self) -> str:
        """What the number of an output is: ``probability`` or ``value``."""
        return "value" if self.are_values else "probability"

    @property
    def first(self) -> str:
        """What the output that stands first is: ``predicted``, or of values the ``largest``."""
        return "largest" if self.are_values else "predicted"

    @property
    def ahead(self) -> str:
        """What of several outputs the first one is: ``likeliest`` or ``largest``."""
        return "largest" if self.are_values else "likeliest"

    def text(self, score: float | None) -> str:
        """``37.2 %``, ``3.42``; empty without a number."""
        if score is None:
            return ""
        return number(score) if self.are_values else percent(score)

    def predicted(self, name: str, score: float | None) -> str:
        """What a table says of the first prediction: a class, ``not`` a class; empty where it is no news."""
        if self.count > 1 or score is None:
            return name
        if self.are_values:
            return ""
        return name if score >= EVEN else f"not {name}"

    def sentence(self, name: str, score: float | None) -> str:
        """The first prediction, without a full stop."""
        text = self.text(score)
        if self.are_values:
            largest = f"The largest of {self.count} values is that of {name}"
            return f"{largest} ({text})" if self.count > 1 else f"The model gives {name} the value {text}"
        if self.count == 1:
            return f"The model gives {name} a probability of {text}"
        return f"The {'likeliest class is' if self.head == 'sigmoid' else 'model says'} {name} ({text})"

    @property
    def nothing(self) -> str:
        """Why nothing is predicted, as a sentence."""
        if self.count:
            return "There is no prediction."
        return "The model has no classifier, so nothing is predicted."

    @property
    def fact(self) -> str:
        """The head in a few words."""
        if not self.count:
            return "none: the model has no classifier"
        if self.are_values:
            return "one value (regression)" if self.count == 1 else f"{self.count:,} values (regression)"
        if self.count == 1:
            return "one class, there or not (sigmoid)"
        if self.head == "sigmoid":
            return f"any of {self.count:,} classes (a sigmoid each)"
        return f"one of {self.count:,} classes (softmax)"

    @property
    def caveat(self) -> str:
        """How its numbers are to be taken, for the notes on method; empty without numbers."""
        if not self.count:
            return ""
        if self.are_values:
            return "Values are what the model gives, in the unit that it was trained for."
        if self.head == "sigmoid":
            alone = "" if self.count == 1 else ", of each class for itself, so they need not sum to 100 %"
            return (
                f"Probabilities are the sigmoid of the model's logits{alone}. They are not calibrated here."
            )
        return "Probabilities are the softmax of the model's logits. They are not calibrated here."
