from __future__ import annotations

import json
import socket

import pytest
from click.testing import CliRunner, Result
from command_line import contents, finish, process

from vitreport import open_run
from vitreport.cli import main
from vitreport.demo.shape import CLASSES


def demo(*words: object) -> Result:
    return CliRunner().invoke(main, ["demo", *map(str, words)], catch_exceptions=False)


def test_the_demonstration_does_the_main_job_without_a_network(tmp_path, monkeypatch):
    asked: list[object] = []

    def refuse(*where: object, **_: object) -> None:
        asked.append(where)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    result = demo("-o", tmp_path / "run", "--images", 17)
    assert result.exit_code == 0, result.output
    assert not asked
    *_, where, last = result.stdout.splitlines()
    assert where.startswith("report: ") and where.endswith("report.pdf")
    assert last == "explained 17 of 17 images"
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert (tmp_path / "run" / "report.pdf").read_bytes().startswith(b"%PDF")
    run = open_run(tmp_path / "run")
    assert run.manifest.model.name == "embedded:honest"
    assert run.manifest.model.class_names == CLASSES
    assert "held-out" in json.dumps(dict(run.manifest.model.card))
    assert "--model embedded:honest" in run.manifest.command


def test_two_objects_are_explained_for_both_and_a_wrong_label_too(tmp_path):
    assert demo("-o", tmp_path, "--images", 17, "--model", "shortcut", "--no-pdf").exit_code == 0
    rows = {row["uri"].rpartition("/")[2]: row for row in open_run(tmp_path).images.to_pylist()}
    assert rows["0002-car-fish.png"]["label"] is None
    assert len(rows["0002-car-fish.png"]["targets"]) == 2
    marked = [row for row in rows.values() if row["group"] == "one object, marked"]
    assert len(marked) == 6
    house = CLASSES.index("house")
    fooled = [row for row in marked if row["top_index"][0] == house and row["label"] != house]
    assert len(fooled) >= 4, "the mark is taken for a house"
    assert all(row["label"] in row["targets"] for row in marked)


def test_a_demonstration_is_made_once_and_elsewhere_with_the_same_bytes(tmp_path, monkeypatch):
    made = []
    for place in ("a", "a", "b"):
        (tmp_path / place).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / place)
        assert demo("-o", "run", "--images", 3).exit_code == 0
        made.append(contents(tmp_path / place / "run"))
    assert made[0] == made[1] == made[2]


def test_24_images_are_shown_unless_told_otherwise(tmp_path):
    assert demo("-o", tmp_path, "-t", "centre", "--no-pdf", "-q").stdout == ""
    run = open_run(tmp_path)
    assert run.manifest.data.images == 24 and run.manifest.model.name == "embedded:honest"


@pytest.mark.parametrize(
    ("more", "words"),
    [(("--images", 4), "other images than the 4 asked for"), (("--model", "shortcut"), "model")],
)
def test_another_demonstration_needs_another_folder(tmp_path, more, words):
    assert demo("-o", tmp_path, "--images", 3, "--no-pdf").exit_code == 0
    before = contents(tmp_path)
    result = demo("-o", tmp_path, "--images", 3, "--no-pdf", *more)
    assert result.exit_code == 3 and words in result.stderr
    assert contents(tmp_path) == before


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    result = demo("-o", tmp_path)
    assert result.exit_code == 3 and "thesis.txt" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_another_run_in_the_folder_is_left_alone(tmp_path):
    assert demo("-o", tmp_path / "demo", "--images", 1, "--no-pdf").exit_code == 0
    images, output = tmp_path / "demo" / "demo" / "images", tmp_path / "other"
    words = ["explain", images, "--model", "embedded:honest", "-t", "raw_attention", "-o", output]
    assert CliRunner().invoke(main, [str(word) for word in words]).exit_code == 0
    before = contents(output)
    result = demo("-o", output)
    assert result.exit_code == 3 and "another run" in result.stderr
    assert contents(output) == before


def test_a_folder_called_demo_is_not_taken_for_the_demonstration(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    assert demo("-o", tmp_path).exit_code == 3
    assert len(list(tmp_path.rglob("*"))) == 2


def test_a_technique_that_does_not_exist_leaves_no_folder(tmp_path):
    assert demo("-o", tmp_path / "run", "-t", "rolout").exit_code == 2
    assert not (tmp_path / "run").exists()


def test_techniques_are_passed_on_and_can_be_added_later(tmp_path):
    for spec in ("raw_attention", "centre"):
        assert demo("-o", tmp_path, "--images", 2, "--no-pdf", "-t", spec).exit_code == 0
    assert [record.key for record in open_run(tmp_path).techniques] == ["raw_attention", "centre"]


def test_an_embedded_model_explains_any_images(tmp_path):
    assert demo("-o", tmp_path / "demo", "--images", 2, "--no-pdf").exit_code == 0
    code, _, err = finish(
        process(
            *("explain", str(tmp_path / "demo" / "demo" / "images"), "--model", "embedded:honest"),
            *("-t", "raw_attention", "-o", str(tmp_path / "run")),
        )
    )
    assert code == 0, err
