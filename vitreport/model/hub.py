"""Is the model hub within reach?"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants

_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def hub_is_near() -> bool:
    """True where the hub's name resolves, or a proxy stands between."""
    if any(os.environ.get(name) for name in _PROXIES):
        return True
    host = re.sub(r"^\w+://|[:/].*$", "", constants.ENDPOINT)
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


@contextmanager
def distance_noticed() -> Iterator[None]:
    """Tells the hub's client where it is out of reach; it would else retry for most of a minute."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not hub_is_near()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
