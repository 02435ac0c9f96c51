"""What kind of numbers a model's head gives, and what is said of them."""

from __future__ import annotations

from enum import Enum

from torch import Tensor

from vitreport.errors import SettingsError


class Head(Enum):
    """How the outputs of a model are to be read."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    REGRESSION = "regression"
    NONE = "none"

    @classmethod
    def of(cls, asked: str, outputs: int) -> Head:
        """Returns the kind of a head.

        Args:
            asked: what the user says: ``softmax``, ``sigmoid`` or ``regression``; ``auto`` takes one output
                for a sigmoid and several for a softmax.
            outputs: of the head; 0 is no head at all.

        Raises:
            SettingsError: the outputs cannot be read that way.
        """
        if outputs == 0 and asked != "auto":
            raise SettingsError(f"the model has no head that could be read as {asked}; leave --head out")
        if outputs == 1 and asked == "softmax":
            raise SettingsError(
                "the model has one output, whose softmax is always 1; --head takes sigmoid or regression here"
            )
        if asked != "auto":
            return cls(asked)
        if outputs == 0:
            return cls.NONE
        return cls.SIGMOID if outputs == 1 else cls.SOFTMAX

    def scores(self, logits: Tensor) -> Tensor:
        """What a reader is told of each output, ``(…, outputs)``: a probability or a value."""
        if self is Head.SOFTMAX:
            return logits.softmax(-1)
        return logits.sigmoid() if self is Head.SIGMOID else logits

    def explained(self, outputs: int) -> str:
        """The scalar that class-specific techniques explain, in words."""
        if self is Head.NONE:
            return "no output: the model has no classifier, so only techniques that need no class ran"
        if self is Head.REGRESSION:
            return "the target output, as the model gives it"
        if self is Head.SIGMOID and outputs == 1:
            return "the model's one logit, before the sigmoid: what is positive speaks for the class"
        return f"the logit of the target class, before the {self.value}"
