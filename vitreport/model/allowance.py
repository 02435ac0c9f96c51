"""How much memory may be taken while a model's files are read: in proportion to what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TIMES = 4
_BASE = 2 << 30
_STATUS = Path("/proc/self/status")


@contextmanager
def allowance(size: int) -> Iterator[None]:
    """Lets this process take four times `size` and 2 GiB more than it has; beyond that, allocating fails.

    A file whose header or config asks for more than the file is worth then ends in an error and not in a
    machine without memory. Only Linux knows such a limit; elsewhere nothing is limited.

    Args:
        size: of the files that are read, in bytes.
    """
    taken = re.search(r"VmData:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    if taken is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(taken[1]) * 1024 + _TIMES * size + _BASE
    ends = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([wanted, *ends]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
