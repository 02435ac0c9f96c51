"""Checkpoints that run code, or ask for all memory, where they are unpickled."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


class Greedy:
    """Asks for memory where it is unpickled, by what torch allows."""

    def __reduce__(self) -> Any:
        return bytearray, (1 << 40,)


def saved(content: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def in_tar(bomb: Bomb) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            body = pickle.dumps(bomb)
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def in_legacy_start(bomb: Bomb) -> bytes:
    """In place of the numbers that an older file starts with."""
    return pickle.dumps(bomb, 2) + saved({"w": torch.ones(2)}, zipped=False)


def in_script_code() -> bytes:
    buffer = io.BytesIO()
    with torch.random.fork_rng():
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), buffer)
    return buffer.getvalue()


BOMBS: dict[str, Callable[[Bomb], bytes]] = {
    "zip": lambda bomb: saved({"w": bomb}),
    "legacy": lambda bomb: saved({"w": bomb}, zipped=False),
    "bare pickle": pickle.dumps,
    "oldest pickle": lambda bomb: pickle.dumps(bomb, 0),
    "beside tensors": lambda bomb: saved({"state_dict": {"w": torch.ones(2)}, "epoch": [{"x": (bomb,)}]}),
    "as a key": lambda bomb: saved({bomb: torch.ones(2)}),
    "in an ordered dict": lambda bomb: saved(OrderedDict(w=torch.ones(2), x=OrderedDict(y=bomb))),
    "on a parameter": lambda bomb: saved({"w": torch.nn.Parameter(torch.ones(2)), "hooks": [bomb]}),
    "legacy, nested": lambda bomb: saved({"w": torch.ones(2), "m": [[[bomb]]]}, zipped=False),
    "tar": in_tar,
    "before the start": in_legacy_start,
}
