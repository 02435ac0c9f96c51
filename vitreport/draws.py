"""Random draws that depend on the run's seed, an image and a name alone, never on what else is in a run."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, image_id: str, draw: str) -> np.random.Generator:
    """A generator of random numbers for one draw for one image."""
    digest = hashlib.sha256(f"{seed} {image_id} {draw}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
