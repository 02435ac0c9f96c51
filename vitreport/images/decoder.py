"""Decoding in processes of their own: a file that crashes, hangs or swells its decoder costs only itself.

A decoder is a fresh process without torch, which reads one request a line and answers with pixels or a
reason. What it may use of memory and computing time is limited by the system, so a limit is the same on a
busy machine as on an idle one. Where the system knows no such limits (Windows), the decoders' own remain.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin

from vitreport.errors import ImageError, VitReportError
from vitreport.images.decode import PIXEL_LIMIT, Admit, Classes, Pixels, decode, decode_mask

Result = TypeVar("Result")

MEMORY_LIMIT = 2 << 30
"""Bytes that one decoder may use."""

SECONDS_LIMIT = 60
"""Seconds of computing that one image may take; the largest ones take about ten."""

_START = "from vitreport.images.decoder import serve; serve()"
_READERS: Mapping[str, Callable[[Path, Admit], npt.NDArray[Any]]] = {"image": decode, "mask": decode_mask}


def decoded(path: Path, use: Callable[[Pixels], Result]) -> Result:
    """Decodes an image, as `vitreport.images.decode.decode`, and hands its pixels to `use`.

    Several threads may do so at once; all that they hold meanwhile is, in pixels, at most one image of the
    largest size, so `use` should make the image smaller.

    Raises:
        ImageError: the reason, without the path; or one that `use` raises.
    """
    return _apart("image", path, use)


def decoded_mask(path: Path) -> Classes:
    """Decodes a mask, as `vitreport.images.decode.decode_mask`.

    Raises:
        ImageError: the reason, without the path.
    """
    return _apart("mask", path, lambda classes: classes)


def _apart(kind: str, path: Path, use: Callable[[Any], Result]) -> Result:
    with _room.held() as admit:
        decoder = _pool.take()
        try:
            array = decoder.read(kind, path, admit)
        except ImageError:
            _pool.give(decoder)
            raise
        except (EOFError, OSError, ValueError):
            raise ImageError(decoder.fate()) from None
        except BaseException:
            decoder.kill()
            raise
        _pool.give(decoder)
        return use(array)


class _Room:
    """How many pixels all threads of this process may hold decoded at once."""

    def __init__(self) -> None:
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def held(self) -> Iterator[Admit]:
        """Gives what waits until there is room for so many pixels, once; they are held until the end."""
        mine = 0

        def admit(pixels: int) -> None:
            nonlocal mine
            with self._changed:
                self._changed.wait_for(lambda: self._taken + pixels <= PIXEL_LIMIT)
                self._taken += pixels
                mine = pixels

        try:
            yield admit
        finally:
            with self._changed:
                self._taken -= mine
                self._changed.notify_all()


class _Decoder:
    """A decoding process, seen from outside."""

    def __init__(self) -> None:
        paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
            process_group=None if os.name == "nt" else 0,  # Ctrl-C is for the run to handle
        )
        if self._process.stdin is None or self._process.stdout is None or not self._process.stdout.readline():
            self.kill()
            raise VitReportError(
                f"cannot start a process that decodes images; '{sys.executable} -c \"{_START}\"' says why"
            )
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def read(self, kind: str, path: Path, admit: Admit) -> npt.NDArray[Any]:
        """Has an image or a mask decoded; EOFError or OSError where the process did not survive it."""
        self._say({"kind": kind, "path": str(path.absolute()), "seconds": SECONDS_LIMIT})
        answer = self._hear()
        if "pixels" in answer:
            admit(int(answer["pixels"]))
            self._say({})
            answer = self._hear()
        if "reason" in answer:
            raise ImageError(str(answer["reason"]))
        array = np.empty(answer["shape"], np.dtype(answer["dtype"]))
        rest = array.reshape(-1).view(np.uint8).data
        while rest:
            count = self._answers.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            rest = rest[count:]
        return array

    def fate(self) -> str:
        """What became of a process that answers no more."""
        self._close()
        code = self._process.wait()
        if code == -getattr(signal, "SIGXCPU", 0):
            return f"it takes more than {SECONDS_LIMIT} seconds of computing, as if to exhaust the machine"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"it ends the process that decodes it ({name})"

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._close()
        self._process.wait()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _say(self, message: dict[str, Any]) -> None:
        self._requests.write(json.dumps(message).encode() + b"\n")
        self._requests.flush()

    def _hear(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise EOFError
        message: dict[str, Any] = json.loads(line)
        return message


class _Pool:
    """Decoders that wait for work. There are as many as threads ever decoded at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._idle: list[_Decoder] = []
        self._others: list[_Decoder] = []
        atexit.register(self.close)

    def take(self) -> _Decoder:
        with self._lock:
            if self._owner != os.getpid():  # a fork must not share pipes with its parent
                self._owner, self._others, self._idle = os.getpid(), self._idle, []
            if self._idle:
                return self._idle.pop()
        return _Decoder()

    def give(self, decoder: _Decoder) -> None:
        with self._lock:
            self._idle.append(decoder)

    def close(self) -> None:
        while self._owner == os.getpid() and self._idle:
            self._idle.pop().kill()


_room = _Room()
_pool = _Pool()


def serve() -> None:
    """The decoding process: answers requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not garble the answers
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_DATA", MEMORY_LIMIT)

    def say(message: dict[str, Any], body: bytes | memoryview = b"") -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.write(body)
        answers.flush()

    def admit(pixels: int) -> None:
        say({"pixels": pixels})
        if not requests.readline():
            raise SystemExit

    say({})
    for line in requests:
        request = json.loads(line)
        _limit("RLIMIT_CPU", math.ceil(time.process_time()) + request["seconds"])
        try:
            array = _READERS[request["kind"]](Path(request["path"]), admit)
        except ImageError as error:
            say({"reason": str(error)})
            continue
        say({"shape": array.shape, "dtype": array.dtype.str}, array.reshape(-1).view(np.uint8).data)
        del array


def _limit(name: str, soft: int) -> None:
    """Sets a limit of this process, where the system knows such limits."""
    try:
        import resource
    except ImportError:
        return
    what = getattr(resource, name)
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
