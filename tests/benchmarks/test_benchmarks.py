from pathlib import Path

from tests.benchmarks import explain_cost, explain_memory, localization, separation


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
