"""What has a name and parameters: a frozen dataclass whose fields are its parameters, each with its check."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from vitreport.errors import SettingsError, did_you_mean
from vitreport.settings import Parameter, TechniqueSpec, digest


@dataclass(frozen=True)
class Configurable:
    """Something registered under a name, with parameters that a user may set.

    Attributes:
        name: registry name.
        version: raised when its numbers change, so that stored results of the older kind are not reused.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            check = cast(ParameterCheck, field.metadata["check"])
            object.__setattr__(self, field.name, check.clean(f"{self.name}: {field.name}", given))

    @classmethod
    def from_spec(cls, spec: TechniqueSpec) -> Self:
        """Builds the technique with the parameters of `spec`.

        Raises:
            SettingsError: a parameter that it does not have, or a value that it cannot take.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name, _ in spec.parameters:
            if name not in known:
                allowed = ", ".join(known) if known else "none"
                hint = did_you_mean(name, known)
                raise SettingsError(f"{cls.name} has no parameter '{name}'{hint or ';'} it takes: {allowed}")
        return cls(**dict(spec.parameters))

    @classmethod
    def defaults(cls) -> dict[str, Parameter]:
        """Every parameter with its default."""
        return {field.name: cast(Parameter, field.default) for field in dataclasses.fields(cls)}

    @classmethod
    def parameter_help(cls) -> dict[str, str]:
        """What every parameter does."""
        return {field.name: str(field.metadata["check"]) for field in dataclasses.fields(cls)}

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Every parameter with its value."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def key(self) -> str:
        """Name and the parameters that differ from their defaults: ``attention_rollout:fusion=max``."""
        defaults = self.defaults()
        changed = {name: value for name, value in self.parameters.items() if value != defaults[name]}
        return str(TechniqueSpec(self.name, tuple(sorted(changed.items()))))

    @property
    def digest(self) -> str:
        """8 hex digits of name, version and all parameters."""
        return digest([self.name, self.version, self.parameters], 8)


@dataclass(frozen=True)
class ParameterCheck:
    """What a parameter may be.

    Attributes:
        help: what it does.
        choices: allowed words, or empty.
        low: smallest number.
        high: largest number, exclusive where `open` is set.
        whole: whether the number is an integer.
    """

    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    open: bool = False
    whole: bool = False

    def clean(self, where: str, value: Parameter) -> Parameter:
        """Returns the value as stored.

        Raises:
            SettingsError: it is not allowed.
        """
        if self.choices:
            if value not in self.choices:
                hint = did_you_mean(str(value), self.choices)
                raise SettingsError(f"{where} is '{value}'{hint or ';'} allowed: {', '.join(self.choices)}")
            return value
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, str | bool) or (self.whole and not whole):
            kind = "whole number" if self.whole else "number"
            raise SettingsError(f"{where} is '{value}'; it must be a {kind} {self._range()}")
        low = value != value or (self.low is not None and value < self.low)  # what is no number is too low
        above = self.high is not None and (value >= self.high if self.open else value > self.high)
        if low or above:
            raise SettingsError(f"{where} is {value}; it must lie {self._range()}")
        return int(value) if self.whole else float(value)

    def _range(self) -> str:
        low, high = (f"{end:,}" if self.whole else f"{end:g}" for end in (self.low, self.high))
        return f"in [{low}, {high}{')' if self.open else ']'}"

    def __str__(self) -> str:
        return f"{self.help} ({' | '.join(self.choices) if self.choices else self._range()})"


def choice(default: str, choices: tuple[str, ...], help: str) -> Any:
    """A parameter that is one of a few words."""
    return dataclasses.field(default=default, metadata={"check": ParameterCheck(help, choices)})


def number(default: float, low: float, high: float, help: str, *, open: bool = False) -> Any:
    """A parameter that is a number in [low, high], or in [low, high) where `open`."""
    check = ParameterCheck(help, low=low, high=high, open=open)
    return dataclasses.field(default=float(default), metadata={"check": check})


def count(default: int, low: int, high: int, help: str) -> Any:
    """A parameter that is an integer in [low, high]."""
    check = ParameterCheck(help, low=low, high=high, whole=True)
    return dataclasses.field(default=default, metadata={"check": check})
