"""The Ray engine does what the local one does, in other processes."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from command_line import MODEL, contents, write_checkpoint, write_pictures

from vitreport import RunSettings, build_report, explain, open_run
from vitreport.cli import main
from vitreport.engines import LocalEngine, Receipt, Resources, choose_engine
from vitreport.errors import SettingsError, StoreError
from vitreport.report.image_press import FEWEST_TOGETHER
from vitreport.settings import SHARD_SIZE

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}  # it would write into the home
ray = pytest.importorskip("ray", reason="Ray is not installed")
from vitreport.engines.ray_data import RayEngine  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its log files and processes open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # what Ray says to itself
]
TWO = RayEngine(workers=2)
IMAGES = SHARD_SIZE + 20


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """One small cluster; its workers know this module by value, as they cannot import it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        num_cpus=2, num_gpus=0, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False
    )  # fmt: skip
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Dying:
    """A worker that kills its own process: at the first of its items, or at each."""

    mark: Path
    always: bool = False

    def __call__(self, item: int) -> Iterator[Receipt]:
        if self.always or not self.mark.exists():
            self.mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        yield Receipt(item)


@dataclass(frozen=True)
class Interrupted:
    """A worker whose process dies once, after some receipts of its item."""

    worker: object
    mark: Path

    def __call__(self, item: int) -> Iterator[Receipt]:
        for receipt in self.worker(item):  # type: ignore[operator]
            if not self.mark.exists():
                self.mark.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            yield receipt


@dataclass(frozen=True)
class InterruptedRay:
    """Ray, of which an actor is killed in mid-run."""

    mark: Path

    def map(self, worker, items, resources):  # type: ignore[no-untyped-def]
        return TWO.map(Interrupted(worker, self.mark), items, resources)


@dataclass(frozen=True)
class Witness:
    """A worker that also says where it has its run folder, and in which process."""

    worker: object

    def __call__(self, item: int) -> Iterator[Receipt]:
        yield from self.worker(item)  # type: ignore[operator]
        yield Receipt(0, notice=f"{self.worker.folder.root} {os.getpid()}")  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Noting:
    """Ray, of which it is noted what every `Witness` says."""

    told: list[tuple[str, int]]

    def map(self, worker, items, resources):  # type: ignore[no-untyped-def]
        for receipt in TWO.map(Witness(worker), items, resources):
            if receipt.notice is None:
                yield receipt
            else:
                root, process = receipt.notice.split()
                self.told.append((root, int(process)))


def halves(item: int) -> Iterator[Receipt]:
    yield Receipt(item)
    yield Receipt(0)


def refuse_three(item: int) -> Iterator[Receipt]:
    yield Receipt(1)
    if item == 3:
        raise StoreError("item 3: no space left")


def break_down(item: int) -> Iterator[Receipt]:
    yield Receipt(1 // (item - 3))


def threads(_item: int) -> Iterator[Receipt]:
    yield Receipt(torch.get_num_threads())


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    """A run of two shards, the second short, with one image that cannot be read."""
    place = tmp_path_factory.mktemp("place")
    pictures = write_pictures(place / "pictures", IMAGES - 1)
    (pictures / "broken.jpg").write_bytes(b"no picture")
    return RunSettings(
        images=(str(pictures),),
        model=MODEL,
        checkpoint=str(write_checkpoint(place / "tiny.safetensors")),
        techniques=("raw_attention", "gradient_rollout", "saliency", "token_norms"),
        metrics=("relevance_gain",),
        score_images=4,
        batch_size=32,
        device="cpu",
    )


@pytest.fixture(scope="module")
def local(settings: RunSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("local") / "run"
    explain(settings, root)
    return root


def test_every_receipt_of_every_item_comes() -> None:
    receipts = list(TWO.map(halves, [1, 2, 3], Resources()))
    assert sorted(receipt.done for receipt in receipts) == [0, 0, 0, 1, 2, 3]
    assert list(TWO.map(halves, [], Resources())) == []


def test_workers_have_the_threads_that_are_asked_for() -> None:
    assert [receipt.done for receipt in TWO.map(threads, [0], Resources(threads=2))] == [2]


def test_an_error_of_a_worker_comes_through_as_it_is() -> None:
    with pytest.raises(StoreError, match=r"^item 3: no space left$"):
        list(TWO.map(refuse_three, [1, 2, 3, 4], Resources()))


def test_a_bug_of_a_worker_keeps_its_name() -> None:
    with pytest.raises(Exception, match="ZeroDivisionError"):
        list(TWO.map(break_down, [3], Resources()))


def test_an_item_of_a_worker_that_dies_is_done_by_another(tmp_path: Path) -> None:
    receipts = list(TWO.map(Dying(tmp_path / "died"), [1, 2, 3], Resources()))
    assert sorted(receipt.done for receipt in receipts) == [1, 2, 3]
    assert (tmp_path / "died").read_text() != str(os.getpid())


def test_workers_that_die_of_an_item_again_and_again_end_the_run_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^4 Ray workers died of the same part[^\n]*$"):
        list(TWO.map(Dying(tmp_path / "died", always=True), [1], Resources()))


def test_a_worker_that_needs_a_gpu_is_refused_where_there_is_none() -> None:
    with pytest.raises(SettingsError, match=r"has 0 GPUs, and a worker needs 0\.5; take --device cpu"):
        list(RayEngine(gpus=0.5).map(halves, [1], Resources(gpus=True)))


def test_two_actors_that_the_command_line_asks_for_write_the_same_bytes_as_this_process(
    settings: RunSettings, local: Path, tmp_path: Path
) -> None:
    words = ["explain", *settings.images, "--model", MODEL, "--checkpoint", str(settings.checkpoint)]
    words += [word for name in settings.techniques for word in ("-t", name)]
    words += ["--metric", *settings.metrics, "--score-images", str(settings.score_images)]
    words += ["--batch-size", str(settings.batch_size), "--device", settings.device]
    result = CliRunner().invoke(main, [*words, "--engine", "ray:workers=2", "-o", str(tmp_path / "run")])
    assert result.exit_code == 1, result.output
    assert result.stdout.splitlines()[-1].startswith(f"explained {IMAGES - 1} of {IMAGES} images; 1 quar")
    assert contents(tmp_path / "run") == contents(local)


def test_two_actors_that_share_nothing_but_a_url_write_the_same_bytes(
    settings: RunSettings, local: Path, tmp_path: Path
) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    url, told = f"file://{tmp_path}/run", []
    run = explain(settings, url, engine=Noting(told))
    assert run.folder.place() == url
    assert contents(tmp_path / "run") == contents(local)
    assert {place for place, _ in told} == {os.devnull}, "an actor has the working copy of this process"
    assert os.getpid() not in {process for _, process in told}


def test_a_run_survives_an_actor_that_is_killed_in_the_middle(
    settings: RunSettings, local: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "died"
    run = explain(replace(settings, metrics=("none",)), tmp_path / "run", engine=InterruptedRay(mark))
    assert int(mark.read_text()) != os.getpid()
    expected = open_run(local).manifest.files
    assert run.manifest.files == {
        path: sha256 for path, sha256 in expected.items() if not path.startswith("data/scores/")
    }


def test_pages_drawn_by_actors_have_the_same_bytes(settings: RunSettings, tmp_path: Path) -> None:
    few = replace(settings, limit=FEWEST_TOGETHER + 2, metrics=("none",), techniques=("raw_attention",))
    explain(few, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    for name, engine in (("one", LocalEngine()), ("other", TWO)):
        build_report(tmp_path / name, pdf=False, engine=engine)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_pages_of_a_run_on_a_url_are_drawn_by_actors_that_share_nothing_else(
    settings: RunSettings, tmp_path: Path
) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    few = replace(settings, limit=FEWEST_TOGETHER + 2, metrics=("none",), techniques=("raw_attention",))
    explain(few, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    left = tmp_path / "other/.report.writing/report/images/left.html"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a report that was killed")
    build_report(tmp_path / "one", pdf=False)
    told: list[tuple[str, int]] = []
    build_report(f"file://{tmp_path}/other", pdf=False, engine=Noting(told))
    assert {place for place, _ in told} == {os.devnull}
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_workers_and_shares_of_gpus_are_read() -> None:
    assert choose_engine("ray") == RayEngine()
    assert choose_engine("ray:workers=4,gpus=0.5") == RayEngine(4, 0.5)
