"""What computed a run: versions, device, and the switches that numbers depend on."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch

from vitreport import __version__
from vitreport.errors import SettingsError

_PACKAGES = ("torch", "timm", "numpy", "pillow", "pyarrow")


def choose_device(wanted: str) -> str:
    """Resolves ``auto``; returns ``cpu`` or ``cuda``.

    Raises:
        SettingsError: CUDA is asked for, and there is none.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device is 'cuda', but torch finds no GPU here; 'vitreport doctor' looks further")
    return wanted


def device_name(device: str) -> str:
    """The device as a person knows it: ``cpu``, or the name of the GPU."""
    return str(torch.cuda.get_device_name()) if device == "cuda" else "cpu"


@contextmanager
def exact_float32() -> Iterator[None]:
    """GPUs take float32 for what it is meanwhile: TF32, torch's default in convolutions, has 13 bits less."""
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = False
        yield
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed


def environment(device: str) -> dict[str, Any]:
    """Versions and switches, without anything that names the machine or the moment."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "vitreport": __version__,
        **{package: version(package) for package in _PACKAGES},
        "device": device_name(device),
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "tf32": False,  # see `exact_float32`
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }
