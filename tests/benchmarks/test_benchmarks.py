from tests.benchmarks import explain_cost, explain_memory


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
