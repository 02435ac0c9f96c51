from __future__ import annotations

import hashlib
import io
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from synthetic_run import write_run, write_scores

from vitreport.cli import main
from vitreport.errors import StoreError
from vitreport.report.build import build_report
from vitreport.store import RunFolder, open_run
from vitreport.store.optimized import (
    CONTROLS,
    Audited,
    CrossControl,
    Look,
    OptimizedPicture,
    OptimizedRecord,
    picture_path,
    record_path,
)
from vitreport.verification import verify


def write_pictures(root: Path) -> None:
    """One target's optimised pictures, and a cross control."""
    folder, digest = RunFolder(root), "01234567"
    pictures, looks = [], dict.fromkeys(("clean", "shifted", "blurred"), Look(1.0, 1, None, None))
    for name in ("seed 0", "noise"):
        encoded = io.BytesIO()
        Image.new("RGB", (16, 16), (20, 120, 220)).save(encoded, "PNG")
        path = picture_path("unit-1-2", digest, name)
        folder.write(path, encoded.getvalue())
        pictures.append(OptimizedPicture(name, path, 1.0, None, looks, (), folder.sha256(path)))
    record = OptimizedRecord(
        target="unit:1:2",
        title="unit 2 of block 1",
        kind="unit",
        index=2,
        block=1,
        digest=digest,
        parametrisation="fourier",
        recipe={"steps": 2},
        weights_sha256="0" * 64,
        device="cpu",
        statistics="measured on 5 audited images",
        audited=Audited(0, 0, None, None, None, None, "nothing to exceed"),
        pictures=(pictures[0],),
        noise=pictures[1],
        gates=(),
        feature_cosine=None,
    )
    folder.write_json(record_path("unit-1-2", digest), record.to_json())
    folder.write_json(CONTROLS, CrossControl(digest, (), (), ()).to_json())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all that a run can have."""
    root = write_scores(write_run(tmp_path_factory.mktemp("whole") / "run", images=4))
    write_pictures(root)
    folder = RunFolder(root)
    folder.write_json("timings.json", '{\n "finished": "2026-01-01T00:00:00Z"\n}\n')
    folder.write("demo/images.csv", b"path\nimages/a.png\n")
    folder.write("demo/images/a.png", b"a picture")
    manifest = folder.manifest()
    demo = {path: folder.sha256(path) for path in folder.files_below("demo")}
    folder.commit_manifest(replace(manifest, files={**manifest.files, **demo}))
    build_report(root, pdf=True, pdf_images=1, processes=1)
    return root


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def files_of(root: Path) -> list[str]:
    return sorted(place.relative_to(root).as_posix() for place in root.rglob("*") if place.is_file())


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_whole_run_is_verified_in_one_line(whole: Path) -> None:
    found = verify(whole)
    assert found.faults == ()
    assert found.files == len(files_of(whole))
    result = call("verify", whole)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert f"all {found.files} files of {whole} are as they were written" in line
    assert hashlib.sha256((whole / "manifest.json").read_bytes()).hexdigest() in line
    assert call("verify", whole, "-q").stdout == ""


def test_a_flipped_bit_in_any_file_is_found_and_the_file_is_named(whole: Path) -> None:
    moments = random.Random(0)
    for path in files_of(whole):
        place = whole / path
        content = place.read_bytes()
        bit = moments.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        place.write_bytes(changed)
        try:
            faults = verify(whole).faults
            assert faults, f"bit {bit} of {path}"
            assert any(path in fault for fault in faults), f"bit {bit} of {path}: {faults}"
        finally:
            place.write_bytes(content)
    assert verify(whole).faults == ()


def test_every_bit_of_the_manifest_is_vouched_for(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", images=1, quarantined=0)
    content = (root / "manifest.json").read_bytes()
    for place in range(0, len(content), max(1, len(content) // 60)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            (root / "manifest.json").write_bytes(changed)
            with pytest.raises(StoreError, match=r"manifest\.json"):
                open_run(root)


def test_a_missing_file_is_named_with_what_to_do(run: Path) -> None:
    for path, command in (
        ("data/catalogue.parquet", "explain"),
        ("report/index.html", "report"),
        ("report.pdf", "report"),
        ("optimized/unit-1-2-01234567-noise.png", "maximize"),
    ):
        (run / path).unlink()
        result = call("verify", run)
        assert result.exit_code == 1
        assert f"vitreport: {run / path} is missing; run the same 'vitreport {command}'" in result.stderr
        assert result.stdout == ""


def test_what_nothing_lists_is_named(run: Path) -> None:
    for path in ("data/maps/extra.parquet", "optimized/extra.png", "demo/extra.txt"):
        (run / path).write_bytes(b"who wrote me?")
    faults = verify(run).faults
    assert len(faults) == 3
    assert all("is in no list of the run" in fault for fault in faults)
    (run / "report" / "CNAME").write_text("example.org")
    assert len(verify(run).faults) == 3  # a site may have files of its host


def test_a_report_of_an_earlier_state_is_said(run: Path) -> None:
    folder = RunFolder(run)
    folder.commit_manifest(replace(folder.manifest(), command="another command"))
    (fault,) = verify(run).faults
    assert "is that of an earlier state" in fault


def test_a_report_without_its_list_is_said(run: Path) -> None:
    (run / "report.json").unlink()
    faults = verify(run).faults
    assert [fault.partition(" has no report.json")[0] for fault in faults] == [
        str(run / "report"),
        str(run / "report.pdf"),
    ]


def test_an_unfinished_run_is_said_and_its_parts_are_still_checked(run: Path) -> None:
    folder = RunFolder(run)
    shutil.rmtree(run / "demo")
    folder.commit_manifest(replace(folder.manifest(), complete=False, files={}))
    part = next((run / "data" / "maps").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    faults = verify(run).faults
    assert any("is not finished" in fault for fault in faults)
    assert any(f"{part} is not as it was written" in fault for fault in faults)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    result = call("verify", tmp_path)
    assert result.exit_code == 3
    assert "is not a run" in result.stderr


def test_verifying_needs_no_torch(whole: Path) -> None:
    code = (
        "import sys\nfor name in ('torch', 'timm', 'torchvision'): sys.modules[name] = None\n"
        "from vitreport.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code, "verify", str(whole)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
