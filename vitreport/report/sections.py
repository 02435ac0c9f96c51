"""How the maps of a technique are laid out side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from vitreport.report.image_page import MapFigure, MapSection, MapView
from vitreport.settings import Parameter

FUSIONS = ("mean", "min", "max")


def map_section(views: Sequence[MapView]) -> MapSection:
    """All maps of one technique, at least one; attention rollout with the figures of the 2020 study."""
    record = views[0].record
    figures: list[MapFigure] = []
    rest = list(views)
    if record.name == "attention_rollout":
        figures += filter(None, (_fusion(views), _discard(views)))
        shown = {view.record.key for figure in figures for view in figure.maps}
        rest = [view for view in views if view.record.key not in shown]
    if rest:
        figures.append(MapFigure("Other settings" if figures else "", "", tuple(rest)))
    return MapSection(record.name, record.title, record.family, record.shows, tuple(figures))


def _fusion(views: Sequence[MapView]) -> MapFigure | None:
    """Mean, min and max at equal other parameters: of several sets the fullest, then the least discard."""
    best = _fullest(views, "fusion", lambda view: float(view.record.parameters.get("discard_ratio", 0)))
    if best is None:
        return None
    order = {name: position for position, name in enumerate(FUSIONS)}
    best.sort(key=lambda view: order.get(str(view.record.parameters["fusion"]), len(order)))
    ratio = best[0].record.parameters.get("discard_ratio", 0)
    return MapFigure(
        "Head fusion: mean, min, max",
        f"How the heads of a block become one: their mean, the least, or the greatest attention. "
        f"Discard ratio {float(ratio):g}.",
        tuple(replace(view, title=str(view.record.parameters["fusion"])) for view in best),
    )


def _discard(views: Sequence[MapView]) -> MapFigure | None:
    """Rising discard ratios at equal other parameters: of several such sets the fullest, then max fusion."""
    best = _fullest(views, "discard_ratio", lambda view: view.record.parameters.get("fusion") != "max")
    if best is None:
        return None
    best.sort(key=lambda view: float(view.record.parameters["discard_ratio"]))
    fusion = best[0].record.parameters.get("fusion", "")
    return MapFigure(
        "Discard sweep: " + ", ".join(_ratio(view) for view in best),
        f"The weakest attentions are set to zero before they are multiplied through. Fusion: {fusion}.",
        tuple(replace(view, title=f"discard {_ratio(view)}") for view in best),
    )


def _ratio(view: MapView) -> str:
    return f"{float(view.record.parameters['discard_ratio']):g}"


def _fullest(
    views: Sequence[MapView], varied: str, preference: Callable[[MapView], float]
) -> list[MapView] | None:
    """The largest set of at least two settings that differ in `varied` alone; ties by least `preference`."""
    sets: dict[tuple[tuple[str, Parameter], ...], list[MapView]] = defaultdict(list)
    for view in views:
        if varied in view.record.parameters:
            others = tuple(sorted(pair for pair in view.record.parameters.items() if pair[0] != varied))
            sets[others].append(view)
    candidates = [members for members in sets.values() if len(members) > 1]
    return min(candidates, key=lambda members: (-len(members), preference(members[0])), default=None)
