"""The Ray engine: the same workers as actors of Ray Data, on this machine or on a cluster.

Items and receipts travel between the processes, arrays do not: every worker writes its own results, so all
machines must see the run folder and the images under the same paths or URLs.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or it writes into the progress bar

import ray
from ray import cloudpickle
from ray.exceptions import RayError

from vitreport.engines.engine import Item, Receipt, Resources, Worker
from vitreport.errors import SettingsError, StoreError, VitReportError

RETRIES = 3
"""How often an item is tried again after a worker died of it; Ray itself would never give up."""


@dataclass(frozen=True)
class RayEngine:
    """Runs items on Ray Data; the cluster is that of ``RAY_ADDRESS``, or else one is started here.

    Attributes:
        workers: actors at a time; None takes as many as the cluster has room for.
        gpus: of each worker that needs one; 0.5 puts two workers on a GPU. None takes a whole one.
    """

    workers: int | None = None
    gpus: float | None = None

    def map(self, worker: Worker[Item], items: Sequence[Item], resources: Resources) -> Iterator[Receipt]:
        """Yields an item's receipts when the item is done; of workers that die, another takes the items.

        Raises:
            SettingsError: the cluster has no room for a worker.
            StoreError: workers died again and again of the same item, or Ray itself did.
        """
        if not items:
            return
        _connect()
        gpus = self.gpus or 1 if resources.gpus else 0
        actors = min(len(items), self.workers or _room(gpus, resources.threads or 1))
        _quieten()
        given = ray.put(cloudpickle.dumps(worker))
        rows = [{"number": number, "item": cloudpickle.dumps(item)} for number, item in enumerate(items)]
        attempts = ray.remote(num_cpus=0)(_Attempts).remote()
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Actor,
            fn_constructor_args=(given, attempts, resources.threads, str(Path.cwd())),
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
            num_cpus=0 if gpus else 1,
            num_gpus=gpus,
        )
        try:
            for row in data.iter_rows():
                yield from _received(row)
        except RayError as error:
            raise _known(error) from error


class _Attempts:
    """Counts how often each item was begun, across workers that die."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        self.begun[number] += 1
        return self.begun[number]


class _Actor(Generic[Item]):
    """A process of Ray's that has the worker."""

    def __init__(self, given: Any, attempts: Any, threads: int | None, folder: str) -> None:
        self.attempts = attempts
        try:
            os.chdir(folder)
        except OSError as error:
            raise StoreError(
                f"a Ray worker cannot enter {folder}: {error.strerror}; start vitreport in a folder that all "
                "machines of the cluster share, or, with images and run on URLs, in one that all have, as /"
            ) from error
        self.worker: Worker[Item] = cloudpickle.loads(ray.get(given))
        torch = sys.modules.get("torch")
        if torch is not None and threads is not None:
            torch.set_num_threads(threads)  # bits may depend on it, and Ray has a mind of its own

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Does an item; what a user can mend comes back as it is, without Ray's account of it."""
        result: object
        try:
            if ray.get(self.attempts.begin.remote(row["number"])) > 1 + RETRIES:
                raise StoreError(
                    f"{1 + RETRIES} Ray workers died of the same part, mostly for want of memory; what is "
                    "finished is kept: try a smaller --batch-size or fewer workers on a machine"
                )
            result = list(self.worker(cloudpickle.loads(row["item"])))
        except VitReportError as error:
            result = error
        return {"result": cloudpickle.dumps(result)}


def _received(row: dict[str, Any]) -> list[Receipt]:
    result: list[Receipt] | VitReportError = cloudpickle.loads(row["result"])
    if isinstance(result, VitReportError):
        raise result
    return result


def _connect() -> None:
    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"cannot reach Ray: {str(error).splitlines()[0]}; RAY_ADDRESS names a cluster, without it one is "
            "started on this machine"
        ) from error


def _quieten() -> None:
    """The run has a progress bar of its own."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _room(gpus: float, threads: int) -> int:
    """Workers that the cluster can have at a time."""
    total = ray.cluster_resources()
    if gpus:
        room = int(total.get("GPU", 0) / gpus)
        if not room:
            raise SettingsError(
                f"the Ray cluster has {total.get('GPU', 0):g} GPUs, and a worker needs {gpus:g}; "
                "take --device cpu or --engine ray:gpus=SHARE"
            )
        return room
    return max(1, int(total.get("CPU", 1)) // threads)


def _known(error: RayError) -> VitReportError | RayError:
    """One line for what Ray's own machinery does to a run; the rest is a bug and keeps its traceback."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, VitReportError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    if isinstance(error, ray.exceptions.RayTaskError):
        return error
    return StoreError(
        f"Ray gave up ({type(error).__name__}); what is finished is kept, and the same command goes on; with "
        "RAY_BACKEND_LOG_LEVEL=info Ray's logs say why"
    )
