import shutil
from pathlib import Path

import pytest
import torch

from tests.benchmarks import (
    audit_cost,
    decode_pace,
    explain_cost,
    explain_memory,
    gpu,
    libra_gain,
    localization,
    maximize,
    pdf_cost,
    peers,
    published_protocol,
    ray_cost,
    report_cost,
    score_cost,
    separation,
    table_filter,
    whole_run,
)
from tests.benchmarks.models import seeded_model
from tests.synthetic_run import write_run
from vitreport.faithfulness.metric import Case, select
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.model.layout import patch_sums
from vitreport.techniques.maps import maps_of
from vitreport.techniques.technique import Technique
from vitreport.techniques.technique import select as select_explainables


def test_the_cost_benchmark_prints_a_ratio_for_every_technique():
    lines: list[str] = []
    ratio = explain_cost.main(["--batch", "2", "--rounds", "1"], lines.append)
    assert ratio > 1
    assert any("attention_rollout" in line for line in lines)
    assert lines[-1].startswith("all of it: ")


def test_the_memory_benchmark_prints_a_ratio():
    lines: list[str] = []
    ratio = explain_memory.main(["--small", "2", "--large", "3"], lines.append)
    assert 0.5 < ratio < 2
    assert len(lines) == 3


def test_the_localization_benchmark_prints_a_row_a_technique_for_both_models():
    lines: list[str] = []
    localization.main(["--scenes", "6"], lines.append)
    for name in ("honest", "shortcut"):
        assert any(line.startswith(f"{name}: 6 held-out scenes") for line in lines)
    for key in ("gradient_rollout", "libra_full_grad", "legrad", "centre", "random"):
        assert sum(line.split()[0] == key for line in lines) == 2


def test_the_separation_benchmark_prints_a_row_a_technique(shared: Path):
    lines: list[str] = []
    separation.main(["--technique", "grad_cam", "centre", "--shared", str(shared)], lines.append)
    assert [line.split()[0] for line in lines] == ["technique", "grad_cam", "centre"]


def test_the_scoring_cost_benchmark_prints_both_ratios():
    lines: list[str] = []
    tiny = ["--batch", "2", "--rounds", "1", "--alone", "1", "--threads", "1"]
    ratio = score_cost.main([*tiny, "--metric", "relevance_gain:steps=2"], lines.append)
    assert ratio > 0
    counted, most = (float(word) for word in lines[-3].split() if word[0].isdigit())
    assert lines[-3].startswith("forwards counted: ") and 1 < counted <= most
    assert lines[-2].startswith("relevance_gain:steps=2: ")
    assert lines[-1].startswith("one picture at a time: ")


@pytest.mark.parametrize(("setting", "least"), [("", 9.9), (",occluder=blur", 19.9)])
def test_scoring_takes_no_more_forwards_than_its_bound(setting: str, least: float):
    model = seeded_model("deit_tiny_patch16_224", "cpu", depth=1)
    (metric,) = select([f"relevance_gain:steps=10{setting}"])
    assert isinstance(metric, RelevanceGain)
    case = Case(model, torch.zeros(2, 3, 224, 224), torch.tensor([3, 5]), ("a", "b"), seed=0)
    counted = score_cost.count_forwards(case, metric, torch.rand(2, 14, 14))
    assert least < counted <= score_cost.most_forwards(case, metric) < 1.2 * metric.passes(model, [None])


def test_scoring_one_picture_at_a_time_gives_the_curves_of_the_metric():
    model = seeded_model("deit_tiny_patch16_224", "cpu", depth=2)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, 224, 224, generator=generator)
    maps = torch.rand(2, 14, 14, generator=generator)
    case = Case(model, pixels, torch.tensor([3, 5]), ("a", "b"), seed=0)
    alone = score_cost.one_at_a_time(case, maps, 4, 2)
    for image, row in enumerate(RelevanceGain(steps=4).score(case, {"map": maps})["map"]):
        assert alone[image, 0].tolist() == pytest.approx(row["most_first"], rel=1e-4)
        assert alone[image, 1].tolist() == pytest.approx(row["least_first"], rel=1e-4)


def test_the_published_protocol_prints_a_row_a_technique_and_one_for_random(pictures: Path):
    lines: list[str] = []
    given = ["--images", str(pictures), "--model", "embedded:honest", "--limit", "4", "--threads", "1"]
    table = published_protocol.main([*given, "--technique", "grad_cam", "raw_attention"], lines.append)
    assert list(table) == ["grad_cam", "raw_attention", "random", "grad_cam, cut at 0"]
    assert [line[:48].rstrip() for line in lines[1:]] == ["technique", *table]
    assert all(0 <= share <= 100 for row in table.values() for share in row)
    assert "4 photos" in lines[0]


def test_the_libra_gain_benchmark_prints_both_tables(pictures: Path):
    lines: list[str] = []
    given = ["--images", str(pictures), "--model", "embedded:honest", "--steps", "2", "--threads", "1"]
    gains = libra_gain.main(given, lines.append)
    assert list(gains) == list(libra_gain.PAIRS)
    heads = [line for line in lines if "interval " in line]
    assert [line.split()[0] for line in heads] == ["SRG", "deletion"]
    for libra, plain in libra_gain.PAIRS:
        found = [line.split() for line in lines if line.startswith(f"{libra} ")]
        assert len(found) == 2
        assert float(found[0][3]) == pytest.approx(100 * gains[libra, plain], abs=0.006)
        assert float(found[0][1]) - float(found[0][2]) == pytest.approx(float(found[0][3]), abs=0.02)


def test_the_maximize_benchmark_prints_gates_seams_and_seconds(pictures: Path):
    lines: list[str] = []
    given = ["--images", str(pictures), "--model", "embedded:honest", "--threads", "1", "--target", "0", "3"]
    ratio = maximize.main([*given, "--steps", "3", "--seeds", "2", "--timed-steps", "1"], lines.append)
    for parametrisation in ("fourier", "maco", "pixels"):
        rows = [line for line in lines if line.startswith(f"{parametrisation} class:")]
        assert [row.split()[1] for row in rows] == ["class:0", "class:3"]
    assert sum(line.startswith("noise for class:") for line in lines) == 2
    assert sum(line.startswith("pictures judged for another class: ") for line in lines) == 1
    assert sum(line.startswith("seam ratio, ") for line in lines) == 5
    assert 0 < ratio < 5
    assert f"ratio {ratio:.2f}" in lines[-1]


def test_the_audit_benchmark_prints_seconds_and_memory():
    lines: list[str] = []
    assert audit_cost.main(["--images", "300", "--techniques", "3"], lines.append) > 0
    assert lines[0].startswith("300 images, 3 techniques, 14 x 14 patches: ") and "peak memory" in lines[0]


def select_techniques(names: list[str]) -> list[Technique]:
    return [one for one in select_explainables(names) if isinstance(one, Technique)]


@pytest.mark.filterwarnings("ignore")
def test_the_peers_benchmark_prints_eight_maps_and_a_ratio():
    lines: list[str] = []
    ratio = peers.main(["--batch", "2", "--rounds", "1", "--pictures", "1"], lines.append)
    assert ratio > 0
    assert [line.split()[0] for line in lines[2:-3]] == list(peers.OURS)
    assert f"ratio {ratio:.1f}" in lines[-1]


def test_the_public_ways_without_a_package_give_our_maps():
    model = seeded_model("deit_tiny_patch16_224", "cpu", depth=2)
    picture = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    target = [model.module(picture).argmax(1)]
    names = [name for name in peers.OURS if "discard" not in name]  # there the share is taken of all entries
    (ours,) = maps_of(model, select_techniques(names), picture, target, ["a"], 0, 1)
    ways = peers.peers_of(model.module, model.layout.grid)
    for technique in select_techniques(names):
        way, whose = ways[technique.key]
        if whose != "captum" and whose != "grad-cam":
            found = torch.as_tensor(way(picture))
            expected = ours[technique.key][0]
            if technique.key in ("grad_cam", "layer_cam"):
                expected = expected.clamp(min=0)  # the public way ends there
            found = patch_sums(found, (14, 14))[0] if found.dim() == 3 else found.reshape(14, 14)
            assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max())), technique.key


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium on this machine")
def test_the_table_benchmark_prints_milliseconds():
    lines: list[str] = []
    assert table_filter.main(["--images", "2100"], lines.append) > 0
    assert lines[0] == "2,100 images, index.html and 2 data scripts"
    assert len(lines) == 3


@pytest.mark.slow
@pytest.mark.pdf
def test_the_whole_run_benchmark_prints_a_row_a_size_and_the_ratios():
    lines: list[str] = []
    ratios = whole_run.main(["--images", "2", "3", "--threads", "1", "--volumes"], lines.append)
    assert list(ratios) == ["explain", "report"] and all(0.5 < ratio < 2 for ratio in ratios.values())
    rows = [line for line in lines if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["2", "3"]
    assert len({row.count("|") for row in rows}) == 1
    assert "not measured" not in rows[-1]
    assert lines[-1].startswith("3 to 2 images: peak of explain ")


@pytest.mark.slow
def test_the_whole_run_benchmark_explains_without_a_report():
    lines: list[str] = []
    ratios = whole_run.main(["--images", "2", "3", "--threads", "1", "--only-explain"], lines.append)
    assert list(ratios) == ["explain"] and 0.5 < ratios["explain"] < 2
    assert [line.split()[0] for line in lines] == ["2", "3", "3"]
    assert "% of the pace of decoding alone; the cpu is at work for " in lines[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_gpu_benchmark_prints_a_line_a_check():
    lines: list[str] = []
    tiny = ["--device", "cpu", "--batch", "2", "--images", "3", "--rounds", "1"]
    held = gpu.main([*tiny, "--large", "deit_tiny_patch16_224"], lines.append)
    assert len(held) == 5 and held["maps against the CPU's, deit_tiny_patch16_224"]
    assert [line.partition(": ")[0] for line in lines[1:]] == list(held)
    assert all("Error" not in line for line in lines)
    assert 0 < int(lines[4].partition(": ")[2].split()[0]) <= 100


def test_the_decoding_benchmark_prints_a_line_for_every_number_of_decoders():
    lines: list[str] = []
    paces = decode_pace.main(["--images", "3", "--decoders", "1", "2"], lines.append)
    assert len(paces) == 2 and min(paces) > 0
    assert [line.split(":")[0] for line in lines] == ["1 at a time", "2 at a time"]
    assert lines[0].endswith("1.00 x the first")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_ray_benchmark_prints_both_engines_and_what_starting_takes():
    pytest.importorskip("ray", reason="Ray is not installed")
    lines: list[str] = []
    ratio = ray_cost.main(["--images", "2", "--workers", "1"], lines.append)
    assert f"without the start: {ratio:.2f}" in lines[-1]
    assert lines[0].startswith("local, one process: ") and lines[0].endswith(" for 2 images")


def test_the_report_cost_benchmark_prints_a_line_a_size(tmp_path: Path):
    lines: list[str] = []
    run = write_run(tmp_path / "run", 3, quarantined=1)
    small, large = report_cost.main([str(run), "--images", "2", "4", "--processes", "1"], lines.append)
    assert 0 < small.size < large.size and small.cpu > 0
    assert [line.split(":")[0] for line in lines] == ["2 images", "4 images", "one more image"]


def test_the_pdf_benchmark_prints_processor_time_and_memory():
    lines: list[str] = []
    cost = pdf_cost.main(["--images", "3", "--sheets", "1", "--processes", "1"], lines.append)
    assert cost.documents == 2 and cost.processor > 0 and cost.main_peak > 1e7
    assert lines[0].startswith("3 images, 2 documents, in 1 at a time: ") and "peak memory" in lines[0]
