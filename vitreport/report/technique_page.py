"""What the page of a technique says: view dataclasses, the same for the site and the PDF.

`vitreport.report.reading` fills them from a run."""

from __future__ import annotations

from dataclasses import dataclass

from vitreport.figures.scale import Scale
from vitreport.report.pages import Fact, range_text
from vitreport.report.trust_page import TechniqueScore
from vitreport.report.wording import count
from vitreport.store import TechniqueRecord


@dataclass(frozen=True)
class ParameterView:
    """One parameter of a technique, with the value used."""

    name: str
    value: str
    default: str
    help: str


@dataclass(frozen=True)
class Failures:
    """Where a technique, or one setting of it, gave an error instead of a result.

    Attributes:
        images: how many images have such an error.
        results: how many maps or observations are missing.
        reason: the error; of several the commonest.
        others: how many further errors there are.
    """

    images: int
    results: int
    reason: str
    others: int

    @property
    def words(self) -> str:
        """``failed on 3 images``."""
        return f"failed on {count(self.images, 'image')}"

    @property
    def cause(self) -> str:
        """``The error: …`` or ``Most often: …``."""
        return f"{'Most often' if self.others else 'The error'}: {self.reason}"


@dataclass(frozen=True)
class SettingView:
    """One setting of a technique as it stands in the run.

    Attributes:
        key: how the run refers to it.
        words: its parameters in words, or ``no parameters``.
        scale: the fixed scale of its maps over the whole run; None for observations and without maps.
        failures: what it could not do, or None.
    """

    key: str
    words: str
    record: TechniqueRecord
    parameters: tuple[ParameterView, ...]
    scale: Scale | None
    failures: Failures | None

    @property
    def outcome(self) -> str:
        """``ran``, ``failed on 3 images`` or ``did not run: …``."""
        if self.record.skipped:
            return f"did not run: {self.record.skipped}"
        return self.failures.words if self.failures else "ran"

    @property
    def scale_text(self) -> str:
        """``0.001 to 0.08``, or empty."""
        return "" if self.scale is None else range_text(self.scale)


@dataclass(frozen=True)
class TechniquePage:
    """A technique with all its settings in the run.

    Attributes:
        kind: ``map`` or ``observation``.
        skipped: why this model cannot have it, or None where at least one setting ran.
        failures: what its settings together could not do, or None.
        scores: of every setting, by every metric.
    """

    name: str
    title: str
    family: str
    tier: str
    kind: str
    class_specific: bool
    signed: bool
    source: str
    shows: str
    does_not_show: str
    differs: str | None
    licence_note: str | None
    skipped: str | None
    failures: Failures | None
    facts: tuple[Fact, ...]
    settings: tuple[SettingView, ...]
    scores: tuple[TechniqueScore, ...]

    @property
    def parameters(self) -> tuple[ParameterView, ...]:
        """The parameters that every setting has; the values are the first setting's."""
        return self.settings[0].parameters

    @property
    def uneven(self) -> bool:
        """Whether some setting did not run, or not on every image."""
        return any(setting.outcome != "ran" for setting in self.settings)

    @property
    def sampled(self) -> bool:
        """Whether a fixed scale comes from a sample of the values."""
        return any(setting.scale is not None and setting.scale.sampled for setting in self.settings)
