"""Is this machine ready? What a run needs, looked at one by one."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        title: what was looked at.
        good: whether it is as it should be.
        finding: what was found, and what to do about it.
        needed: whether a run cannot do without it.
    """

    title: str
    good: bool
    finding: str
    needed: bool = True


def checks() -> Iterator[Check]:
    """Looks at Python, torch and its device, timm, the model hub, the PDF library and the disk."""
    yield Check("Python", sys.version_info >= (3, 11), platform.python_version())
    yield from (_guarded(title, look) for title, look in _LOOKS.items())


def _guarded(title: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except (ImportError, OSError, PackageNotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        return Check(title, False, f"not usable ({reason})", needed=title in ("torch", "timm"))


def _torch() -> Check:
    import torch

    return Check("torch", True, f"{torch.__version__}, {torch.get_num_threads()} CPU threads")


def _gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("GPU", False, "none that torch can use; runs use the CPU", needed=False)
    free, total = torch.cuda.mem_get_info()
    return Check("GPU", True, f"{torch.cuda.get_device_name()}, {free >> 20} of {total >> 20} MiB free")


def _timm() -> Check:
    import timm

    count = len(timm.list_models("*vit*"))
    return Check("timm", True, f"{timm.__version__}, {count} architectures with ViT in their name")


def _hub() -> Check:
    from vitreport.model.hub import hub_is_near

    near = hub_is_near()
    finding = "its name resolves" if near else "out of reach; use --checkpoint or weights in the cache"
    return Check("model hub", near, finding, needed=False)


def _pdf() -> Check:
    import weasyprint
    from weasyprint.text.ffi import pango

    pango_version = pango.pango_version()
    shown = ".".join(str(pango_version // scale % 100) for scale in (10000, 100, 1))
    return Check("PDF", True, f"WeasyPrint {weasyprint.__version__}, Pango {shown}", needed=False)


def _disk() -> Check:
    free = shutil.disk_usage(".").free
    return Check("disk", free > 1 << 30, f"{free >> 30} GiB free here", needed=False)


def _store() -> Check:
    return Check("pyarrow", True, version("pyarrow"))


_LOOKS: dict[str, Callable[[], Check]] = {
    "torch": _torch,
    "GPU": _gpu,
    "timm": _timm,
    "pyarrow": _store,
    "model hub": _hub,
    "PDF": _pdf,
    "disk": _disk,
}
