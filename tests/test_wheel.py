from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from synthetic_run import write_run

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(PROJECT)],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_templates_models_licence_and_type_marker_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    templates = {path.relative_to(PROJECT / "templates").as_posix() for path in files(PROJECT / "templates")}
    assert {f"vitreport/templates/{name}" for name in templates} <= set(names)
    models = files(PROJECT / "vitreport" / "demo" / "models")
    assert len(models) == 6 and {path.relative_to(PROJECT).as_posix() for path in models} <= set(names)
    assert "vitreport/py.typed" in names
    assert any(name.endswith("licenses/vitreport/LICENSE") for name in names)
    assert not [name for name in names if "test" in name]


@pytest.mark.slow
def test_an_installed_wheel_writes_a_report_far_from_the_checkout(wheel, tmp_path):
    write_run(tmp_path / "run")
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True
    )
    purelib = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done = subprocess.run(
        [str(home / "bin" / "vitreport"), "report", "run"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert (tmp_path / "run" / "report.pdf").is_file()
    done = subprocess.run(
        [str(home / "bin" / "vitreport"), "demo", "--images", "2", "-o", "demo"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("explained 2 of 2 images\n")
    where = subprocess.run(
        [str(python), "-c", "import vitreport; print(vitreport.__file__)"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert str(home) in where


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
