"""What the tests of the command line share: a small checkpoint, small pictures, and fresh processes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

MODEL = "vit_tiny_patch16_224"
SIZE = 48
CLASSES = ("disc", "square", "triangle", "star", "cross")


def write_checkpoint(path: Path, classes: int = len(CLASSES)) -> Path:
    """Seeded weights of `MODEL` for a 48 px input, with class names beside them."""
    torch.manual_seed(0)
    module = timm.create_model(MODEL, img_size=SIZE, num_classes=classes)
    with torch.no_grad():
        module.head.weight.normal_(std=0.2)
    save_file(module.state_dict(), path)
    path.with_suffix(".labels.txt").write_text("\n".join(CLASSES[:classes]) + "\n")
    return path


def write_pictures(folder: Path, count: int, seed: int = 0) -> Path:
    """Distinct small JPEGs."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
        picture = Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC)
        picture.save(folder / f"picture_{number:03d}.jpg")
    return folder


def options(checkpoint: Path) -> list[str]:
    """The model, as options; without scores, which are tested elsewhere and take longer than all else."""
    return ["--model", MODEL, "--checkpoint", str(checkpoint), "--device", "cpu", "--metric", "none"]


def process(*words: str, before: str = "") -> subprocess.Popen[str]:
    """Starts the command line in a fresh process, after running `before` there.

    It can be interrupted even where the tests run in the background of a shell that ignores interrupts.
    """
    before += "\nimport signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{before}\nimport sys\nfrom vitreport.cli import main\nmain(sys.argv[1:], prog_name='vitreport')"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(started: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = started.communicate(timeout=300)
    return started.returncode, out, err


def contents(root: Path) -> dict[str, str]:
    """SHA-256 of every file of a run, timings apart."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "timings.json"
    }
