"""The explain wing, from settings to a finished run: plan, explain, score, close."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vitreport.engines import EXPLAIN, SCORE, Engine, Receipt, Resources
from vitreport.explainer import Explainer
from vitreport.model.memory import SHORT_OF_MEMORY
from vitreport.plan import make_plan
from vitreport.progress import Progress, of_stage
from vitreport.score_notices import score_notices
from vitreport.scorer import Scorer
from vitreport.settings import RunSettings
from vitreport.store import Manifest, Run, RunFolder, open_run
from vitreport.store import folder as paths
from vitreport.store.closing import check_same_run, close, discard_damaged, said_of_damage
from vitreport.store.schema import catalogue_table


def explain_into(
    folder: RunFolder,
    settings: RunSettings,
    engine: Engine,
    progress: Progress | None,
    expect: Progress | None,
    notice: Callable[[str], None] | None,
) -> Run:
    """Does what is pending of a run and closes it; see `vitreport.explain`.

    Args:
        folder: the run folder, claimed and kept from others.
        settings: what to do.
        engine: where the work runs.
        progress: told how far each stage is.
        expect: told of a long stage before it starts: the seconds that it will take, and its units.
        notice: told in a sentence of what a user should know meanwhile.
    """
    began = time.perf_counter()
    before = folder.claim()
    batch_size = None
    if before is not None:
        batch_size = before.bound["batch size"]
        settings = _continued(settings, before.settings, folder)
    plan = make_plan(settings, batch_size, of_stage(progress, "hash"), folder.root)
    manifest = plan.manifest(folder.root)
    damaged: list[str] = []
    if before is not None:
        check_same_run(folder, before, manifest)
        earlier = [text for text in before.data.notices if text.startswith(SHORT_OF_MEMORY)]
        manifest = _with_notices(manifest, earlier)
        damaged = discard_damaged(folder, before)
        if damaged and notice:
            notice(said_of_damage(damaged))
    explainer = Explainer(folder, plan)
    work = [shard for shard in plan.shards if not explainer.is_done(shard)]
    if before is not None and before.complete and not (work or damaged) and before.asked == manifest.asked:
        return open_run(folder)
    folder.commit_manifest(manifest)
    folder.write_table(paths.CATALOGUE, catalogue_table(plan.catalogue.refs))
    ready = time.perf_counter()
    totals = explainer.amounts(work)
    done = dict.fromkeys(totals, 0.0)
    resources = Resources(threads=torch.get_num_threads(), gpus=plan.device == "cuda")

    def note(receipt: Receipt) -> None:
        nonlocal manifest
        if receipt.notice and receipt.notice not in manifest.data.notices:
            manifest = _with_notices(manifest, [receipt.notice])
            folder.commit_manifest(manifest)  # at once: a run that is stopped now has to say it too
            if notice:
                notice(receipt.notice)

    for receipt in engine.map(explainer, work, resources):
        done[receipt.stage] += receipt.done
        if progress:
            progress(receipt.stage, round(done[receipt.stage], 6), totals[receipt.stage])
        note(receipt)
    folder.look()
    explained = time.perf_counter()
    scorer = Scorer(folder, plan)
    estimates = _score(scorer, engine, resources, progress, expect, note)
    folder.look()
    scored = time.perf_counter()
    manifest = _with_notices(manifest, score_notices(scorer))
    folder.commit_manifest(close(folder, manifest, of_stage(progress, "digest")))
    seconds = {
        "prepare": ready - began,
        "explain": explained - ready,
        "score": scored - explained,
        "digest": time.perf_counter() - scored,
    }
    _write_timings(folder, totals[EXPLAIN], seconds, estimates)
    return open_run(folder)


def _continued(settings: RunSettings, before: Mapping[str, Any], folder: RunFolder) -> RunSettings:
    """Settings with what the run was asked for earlier, which belongs to it."""
    sample, pixels = settings.score_images, settings.pixel_maps
    return dataclasses.replace(
        settings,
        techniques=_joined(before["techniques"], settings.techniques),
        metrics=_joined(before.get("metrics", ()), settings.metrics) or ("none",),
        score_images=before.get("score_images", sample) if sample == "auto" else sample,
        masks=settings.masks or _at(before.get("masks"), folder),
        inspect=before.get("inspect") if settings.inspect is None else settings.inspect,
        pixel_maps=before.get("pixel_maps", pixels) if pixels == "none" else pixels,
    )


def _joined(before: Iterable[str], now: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*before, *now]))


def _with_notices(manifest: Manifest, notices: Sequence[str]) -> Manifest:
    data = dataclasses.replace(manifest.data, notices=(*manifest.data.notices, *notices))
    return dataclasses.replace(manifest, data=data)


def _at(recorded: str | None, folder: RunFolder) -> str | None:
    """Where a path of a manifest leads: ``RUN/`` is the run folder, if there is nothing of that name."""
    if recorded is None or not recorded.startswith("RUN/") or Path(recorded).exists():
        return recorded
    return str(folder.root / recorded.removeprefix("RUN/"))


def _score(
    scorer: Scorer,
    engine: Engine,
    resources: Resources,
    progress: Progress | None,
    expect: Progress | None,
    note: Callable[[Receipt], None],
) -> dict[str, float]:
    """The second stage: scores the maps of the images that are drawn for it.

    Returns:
        How many seconds it was expected to take, before it began and after a tenth of it.
    """
    work = [part for part in scorer.parts if scorer.pending(part)] if scorer.plan.metrics else []
    if not work:
        return {}
    images, total, done = scorer.images, sum(map(scorer.passes, work)), 0.0
    estimates = {"before": total * scorer.seconds_a_pass()}
    if expect:
        expect(SCORE, estimates["before"], images)
    began = time.perf_counter()
    for receipt in engine.map(scorer, work, resources):
        done += receipt.done
        note(receipt)
        if receipt.seconds_left is not None:
            passed = time.perf_counter() - began
            estimates.setdefault("after a tenth", passed + receipt.seconds_left)
        if progress:
            progress(receipt.stage, round(images * done / total, 6), images)
    return estimates


def _write_timings(
    folder: RunFolder, images: int, seconds: dict[str, float], estimates: dict[str, float]
) -> None:
    """Dates and durations live apart from the manifest, so that equal runs stay equal."""
    body = {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "explained_images": images,
        "seconds": {stage: round(passed, 3) for stage, passed in seconds.items()},
        "expected_seconds_of_scoring": {moment: round(value, 3) for moment, value in estimates.items()},
    }
    folder.write_json(paths.TIMINGS, json.dumps(body, indent=1) + "\n")
