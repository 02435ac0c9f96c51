"""What a reviewer should know of a run first: findings with their evidence, the most severe first."""

from __future__ import annotations

from vitreport.analysis.audit import Audit
from vitreport.analysis.finding import KINDS, Finding
from vitreport.analysis.map_findings import (
    border_findings,
    outlier_findings,
    shortcut_findings,
    strategy_findings,
)
from vitreport.analysis.prediction_findings import (
    emergence_findings,
    head_findings,
    review_findings,
    slice_findings,
)


def findings(found: Audit) -> tuple[Finding, ...]:
    """All that an audit flags, the most severe first; empty where there is no evidence of anything."""
    everything = [
        *shortcut_findings(found),
        *slice_findings(found),
        *emergence_findings(found),
        *strategy_findings(found),
        *border_findings(found),
        *outlier_findings(found),
        *review_findings(found),
        *head_findings(found),
    ]
    return tuple(
        sorted(everything, key=lambda one: (-one.severity, KINDS.index(one.kind), -one.effect, one.subject))
    )
