"""What an optimised picture is made for: a class, a unit of an MLP, an attention head, or a channel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Self

from vitreport.errors import SettingsError, did_you_mean
from vitreport.explanation import ClassNames

HOW = (
    "write class:243 (or a class name), unit:BLOCK:UNIT, head:BLOCK:HEAD, head:BLOCK:HEAD:CHANNEL "
    "or channel:BLOCK:CHANNEL; blocks count from 0"
)


class Kind(Enum):
    """A part of a model that can be maximized."""

    CLASS = "class"
    UNIT = "unit"
    HEAD = "head"
    CHANNEL = "channel"


@dataclass(frozen=True)
class Target:
    """One number of a model.

    Attributes:
        kind: of which part. ``class``: a logit. ``unit``: of a block's MLP after its activation, averaged
            over the patch tokens. ``head``: the length of an attention head's output, averaged over the
            patch tokens. ``channel``: of the residual stream after a block, averaged over the patch tokens.
        index: of the class, unit, head or channel, from 0.
        block: from 0; None of a class.
        part: one channel of a head's output in place of its length, from 0, or None.
    """

    kind: Kind
    index: int
    block: int | None = None
    part: int | None = None

    @property
    def key(self) -> str:
        """``class:243``, ``unit:8:17``, ``head:5:2``, ``head:5:2:40``, ``channel:11:40``."""
        numbers = (self.block, self.index, self.part)
        return ":".join([self.kind.value, *(str(number) for number in numbers if number is not None)])

    @property
    def slug(self) -> str:
        """The key as it stands in file names: ``unit-8-17``."""
        return self.key.replace(":", "-")

    def title(self, classes: ClassNames) -> str:
        """The target in words."""
        if self.kind is Kind.CLASS:
            return f"class {self.index}: {classes[self.index]}"
        if self.part is not None:
            return f"channel {self.part} of head {self.index} of block {self.block}"
        return f"{self.kind.value} {self.index} of block {self.block}"

    @classmethod
    def parse(cls, text: str, classes: ClassNames) -> Self:
        """Reads what the user asked for; whether the model has it, `reading.check` says.

        Raises:
            SettingsError: it is no target, or no class of the model.
        """
        word, _, tail = text.strip().partition(":")
        kind = next((kind for kind in Kind if kind.value == word and tail), None)
        if kind is None or kind is Kind.CLASS:
            return cls(Kind.CLASS, _class(text.strip() if kind is None else tail.strip(), classes))
        if not re.fullmatch(r"\d+:\d+(:\d+)?" if kind is Kind.HEAD else r"\d+:\d+", tail):
            raise SettingsError(f"target '{text}' cannot be read; {HOW}")
        block, index, *part = map(int, tail.split(":"))
        return cls(kind, index, block, part[0] if part else None)


def _class(text: str, classes: ClassNames) -> int:
    if not len(classes):
        raise SettingsError(f"'{text}' would be a class, but the model has no classifier; {HOW}")
    if not re.fullmatch(r"[+-]?\d+", text):
        found = classes.index_of(text)
        if found is None:
            near = did_you_mean(text, [*(kind.value for kind in Kind), *classes.names])
            raise SettingsError(f"the model has no class '{text}'{near or ';'} {HOW}")
        return found
    if not 0 <= int(text) < len(classes):
        raise SettingsError(f"the model has no class {text}; classes are 0 to {len(classes) - 1}")
    return int(text)
