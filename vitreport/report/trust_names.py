"""What techniques and metrics are called where scores are spoken of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from vitreport.analysis.trust import Trust
from vitreport.report.pages import Fact
from vitreport.report.wording import changed
from vitreport.store import Check, MetricRecord, Run


@dataclass(frozen=True)
class Names:
    """The names of all that was scored in a run."""

    run: Run
    trust: Trust

    def subject(self, key: str) -> str:
        """A technique with its setting, as it stands in a sentence."""
        return with_setting(self.trust.records[key].title, self.setting(key))

    def setting(self, key: str) -> str:
        """What tells a setting from the defaults; of the random control, how often it was drawn."""
        draws = len(self.trust.random)
        if key in self.trust.random and draws > 1:
            return f"mean of {draws} draws"
        return changed(self.trust.records[key])

    @cached_property
    def in_sentences(self) -> dict[str, str]:
        """By key, without the word that a control is one."""
        names = {key: self.subject(key).replace(" (control)", "") for key in self.trust.records}
        return names | dict.fromkeys(self.trust.random, "random maps")

    def head(self, record: MetricRecord) -> Fact:
        """A metric at the head of a column, and which way it points."""
        directions = {True: "higher is better", False: "lower is better", None: "describes"}
        words = directions[record.higher_is_better]
        if record.check is not None:
            words = f"a check: {below(record.check)}"
        return Fact(", ".join(filter(None, (record.short, changed(record)))), words)

    def page_of(self, key: str) -> str:
        """The name of a technique's page; empty for controls that are no technique of the run."""
        name = self.trust.records[key].name
        return name if name in self._pages else ""

    @cached_property
    def _pages(self) -> frozenset[str]:
        return frozenset(record.name for record in self.run.techniques)


def with_setting(title: str, words: str) -> str:
    """``Attention rollout (fusion max)``; the title alone without words."""
    if not words:
        return title
    return f"{title}, {words}" if title.endswith(")") else f"{title} ({words})"


def below(check: Check) -> str:
    """What a mean must stay below: ``below 0.9``, ``below chance + 0.1``."""
    return f"below {check.above} + {check.limit:g}" if check.above else f"below {check.limit:g}"


def metric_title(record: MetricRecord) -> str:
    """A metric's title, with the parameters that differ from their defaults."""
    return with_setting(record.title, changed(record))
