"""Commands that say what there is: techniques, metrics, and whether the machine is ready."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vitreport.cli.console import say
from vitreport.cli.group import NOTHING, main

if TYPE_CHECKING:
    from vitreport.techniques.technique import Explainable


@main.command()
@click.option("--model", help="Say which of them this model can have, and why not the others.")
@click.option("--json", "as_json", is_flag=True, help="All that is known of each, as JSON.")
def techniques(model: str | None, as_json: bool) -> None:
    """List the techniques: what each shows, and what it does not."""
    from vitreport.techniques.technique import TECHNIQUES

    known = [cls() for cls in TECHNIQUES.values()]
    if model is not None:
        _techniques_for(model, known, as_json)
        return
    if as_json:
        _as_json([technique.describe() for technique in known])
        return
    for technique in known:
        about = {
            "shows": technique.shows,
            "does not show": technique.does_not_show,
            "source": technique.source,
            "costs": technique.describe()["cost"],
        }
        _entry(technique.name, f"{technique.title} · {_tier(technique)}", about, technique.parameter_help())


def _as_json(described: Sequence[Mapping[str, Any]]) -> None:
    click.echo(json.dumps(described, indent=1, ensure_ascii=False))


def _entry(name: str, title: str, about: Mapping[str, str], parameters: Mapping[str, str]) -> None:
    """One of a list: its name, what is to be said of it, and its parameters."""
    click.echo(click.style(name, bold=True) + f"  {title}")
    for topic, text in {**about, **{f"{key}=": text for key, text in parameters.items()}}.items():
        click.echo(click.wrap_text(f"{topic}: {text}", 100, "    ", "      "))
    click.echo()


def _tier(technique: Explainable) -> str:
    return "opt-in" if technique.opt_in else f"{technique.tier} tier"


def _techniques_for(model: str, known: Sequence[Explainable], as_json: bool) -> None:
    """Says which techniques a model can have, and why not the others."""
    from vitreport.model.load import load_architecture

    loaded = load_architecture(model)
    reasons = {technique.name: technique.supports(loaded) for technique in known}
    if as_json:
        _as_json([{**technique.describe(), "skipped": reasons[technique.name]} for technique in known])
        return
    fitting = [technique for technique in known if reasons[technique.name] is None]
    say(f"{model} can have {len(fitting)} of {len(known)} techniques:")
    for technique in fitting:
        click.echo(f"    {technique.name:24}{technique.title} · {_tier(technique)}")
    for reason in dict.fromkeys(filter(None, reasons.values())):
        others = [name for name, given in reasons.items() if given == reason]
        click.echo(click.wrap_text(f"not {', '.join(others)}: {reason}", 100, "", "    "))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="All that is known of each, as JSON.")
def metrics(as_json: bool) -> None:
    """List the metrics: what each measures, and what it does not."""
    from vitreport.faithfulness.metric import METRICS

    known = [cls() for cls in METRICS.values()]
    if as_json:
        _as_json([metric.describe() for metric in known])
        return
    for metric in known:
        about = {
            "measures": metric.measures,
            "does not measure": metric.does_not_measure,
            "source": metric.source,
        }
        _entry(metric.name, f"{metric.title} · {metric.tier}", about, metric.parameter_help())


@main.command()
def doctor() -> None:
    """Check whether this machine is ready: device, model hub, PDF, disk."""
    from vitreport.doctor import checks

    ready = True
    for check in checks():
        ready = ready and (check.good or not check.needed)
        mark = click.style("ok", fg="green") if check.good else click.style("no", fg="red", bold=True)
        click.echo(f"{mark}  {check.title}: {check.finding}")
    sys.exit(0 if ready else NOTHING)
