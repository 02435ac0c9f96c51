"""One process at a time in a folder.

The lock is the kernel's, on a file in the folder, so it ends with its process, however that ends: nothing has
to be cleaned up after a crash. What the file says is only for the message that the second process gets.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vitreport.errors import StoreError

LOCK = ".lock"
"""The file's name; it is there while a process is at work, and after a crash."""

_held: set[tuple[Path, int]] = set()
"""Folders, each with the thread of this process that holds its lock."""


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made where it is missing, and goes again if it stays empty.

    A thread that holds it already holds it once more.

    Raises:
        StoreError: another process holds it; the message says which. Or the folder cannot be written.
    """
    mine = (root.resolve(), threading.get_ident())
    if sys.platform == "win32" or mine in _held:
        yield  # Windows has no flock
        return
    made = [place for place in (root, *root.parents) if not place.exists()]
    file = _acquired(root)
    _held.add(mine)
    try:
        yield
    finally:
        _held.discard(mine)
        with suppress(OSError):
            (root / LOCK).unlink()
        os.close(file)
        with suppress(OSError):
            for place in made:
                place.rmdir()


def check_idle(root: Path) -> None:
    """Makes sure that no process is at work in a folder; nothing is written.

    Raises:
        StoreError: one is; the message says which.
    """
    if sys.platform == "win32" or (root.resolve(), threading.get_ident()) in _held:
        return
    import fcntl

    try:
        file = os.open(root / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(f"{root} is in use by {_said(file)}; wait until that is done") from None
    except OSError:
        return
    finally:
        os.close(file)


def _acquired(root: Path) -> int:
    """An open file that holds the lock."""
    import fcntl

    place = root / LOCK
    while True:
        try:
            root.mkdir(parents=True, exist_ok=True)
            file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StoreError(f"cannot write to {root}: {error.strerror}; choose another folder") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(file, place):
                os.truncate(file, 0)
                os.write(file, json.dumps(_holder()).encode())
                return file
        except BlockingIOError:
            said = _said(file)
            os.close(file)
            raise StoreError(f"{root} is in use by {said}; wait until that is done") from None
        except OSError as error:
            os.close(file)
            raise StoreError(
                f"cannot lock {root}: {error.strerror}; choose a folder on another disk"
            ) from error
        os.close(file)  # its last holder has removed it in the meantime


def _is(file: int, place: Path) -> bool:
    """True where the open file is still the one at `place`."""
    try:
        return os.path.samestat(os.fstat(file), place.stat())
    except OSError:
        return False


def _holder() -> dict[str, object]:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since}


def _said(file: int) -> str:
    try:
        told = json.loads(os.pread(file, 4096, 0))
        return (
            f"process {int(told['process'])} on {told['host']!r} since {' '.join(str(told['since']).split())}"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
