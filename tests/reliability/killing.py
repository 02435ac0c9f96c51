"""Commands that end at a chosen moment, by a signal that nothing can catch.

A process of its own imports all that is slow to import, once, and forks for every command. In the fork an
audit hook counts what the command does to files, told apart by what they are; before the event that was
chosen it kills itself. Files come and go at no other moment, so every state that a kill can leave is
reached, however loaded the machine is; that of a file half written, by cutting short what was opened last.
Or a clock outside kills the command, wherever it is.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STAGES = {
    "images": r"(demo|\.demo\.writing)(/.*)?",
    "catalogue": r"\.?manifest\.json.*|data/\.?catalogue\..*|\.?timings\.json.*",
    "copy": r"publish/(data/.*|\.?manifest\.json.*|\.?publication\.json.*|\.?report\.json.*)",
    "site": r"publish/(\.report\.writing/)?report.*",
    "explain": r"data/(images|maps|activations)/.*",
    "score": r"data/scores/.*",
    "pages": r"\.report\.writing/report/.*|report/.*|\.?report\.json.*",
    "pdf": r"\.report\.writing/report\.pdf|report\.pdf",
    "maximize": r"optimized/.*",
    "difference": r"(assets/.*|\.?index\.html.*|\.?difference\..*)",
}
_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


@dataclass(frozen=True)
class Moment:
    """When to end: before the event of that number, from 0, of a stage."""

    stage: str
    number: int
    torn: bool = False


@dataclass(frozen=True)
class After:
    """When to end: so many seconds after the start, by a kill from outside."""

    seconds: float


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: of the exit, negative for a signal.
        events: how many each stage had.
        errors: what it said.
        seconds: that it took.
    """

    code: int
    events: Counter[str]
    errors: str
    seconds: float


class Commands:
    """Runs commands one after the other; `commands` makes one."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def __call__(self, *words: object, root: Path, at: Moment | After | None = None) -> Ended:
        """Runs one, and ends it `at` a moment, where one is given.

        Args:
            words: of the command line.
            root: the folder in which files are watched.
            at: when to end.
        """
        moment = [at.stage, at.number, at.torn] if isinstance(at, Moment) else None
        after = at.seconds if isinstance(at, After) else None
        request = {"words": [str(word) for word in words], "root": str(root), "at": moment, "after": after}
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        return Ended(answer["code"], Counter(answer["events"]), answer["errors"], answer["seconds"])


@contextmanager
def commands() -> Iterator[Commands]:
    """A process that is ready to fork for a command."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import killing; killing.serve()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as server:  # type: ignore[call-overload]
        try:
            yield Commands(server)
        finally:
            server.communicate(timeout=60)


def moments(chance: random.Random, counted: Counter[str], stages: Sequence[str]) -> list[Moment]:
    """One random moment of each stage; half of them tear a file."""
    return [Moment(stage, chance.randrange(counted[stage]), chance.random() < 0.5) for stage in stages]


def serve() -> None:
    """Answers one request a line."""
    import torch

    import vitreport.explainer
    import vitreport.optimized.maximize
    import vitreport.plan
    import vitreport.report.pdf_document
    import vitreport.report.run_reading
    import vitreport.scorer  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        began = time.perf_counter()
        told, tell = os.pipe()
        errors, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(write, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            _run(request["words"], Path(request["root"]), request["at"], tell)
        os.close(tell)
        os.close(write)
        clock = threading.Timer(request["after"] or 0, os.kill, (child, signal.SIGKILL))
        if request["after"] is not None:
            clock.start()
        said = _all(errors)  # ends with the command and all processes that it started
        events = _all(told)
        clock.cancel()
        if clock.ident is not None:
            clock.join()
        _, status = os.waitpid(child, 0)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "events": json.loads(events or "{}"),
            "errors": said,
            "seconds": time.perf_counter() - began,
        }
        print(json.dumps(answer), flush=True)


def _all(pipe: int) -> str:
    with os.fdopen(pipe) as file:
        return file.read()


def _run(words: list[str], root: Path, at: list[object] | None, tell: int) -> None:
    from vitreport.cli import main

    counted: Counter[str] = Counter()
    patterns = {stage: re.compile(pattern) for stage, pattern in STAGES.items()}
    inside = str(root.absolute()) + "/"
    mine = os.getpid()
    opened: str | None = None

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal opened
        if event not in _EVENTS or os.getpid() != mine:
            return
        if event == "open" and not int(given[2] or 0) & (os.O_WRONLY | os.O_RDWR):  # type: ignore[call-overload]
            return
        places = [
            str(Path.cwd() / os.fsdecode(one))
            for one in given[:2]
            if isinstance(one, str | bytes | os.PathLike)
        ]
        for place in places[: 2 if event == "os.rename" else 1]:
            if not place.startswith(inside):
                continue
            path = place.removeprefix(inside)
            stage = next((name for name, one in patterns.items() if one.fullmatch(path)), None)
            if stage is None:
                continue
            if at is not None and [stage, counted[stage]] == at[:2]:
                if at[2] and opened is not None and Path(opened).is_file():
                    os.truncate(opened, Path(opened).stat().st_size // 2)
                os.kill(mine, signal.SIGKILL)
            counted[stage] += 1
            opened = place if event == "open" else None
            return

    sys.addaudithook(watch)
    code: object = 0
    try:
        main(words)
    except SystemExit as end:
        code = end.code
    finally:
        os.write(tell, json.dumps(counted).encode())
    os._exit(int(code or 0))  # type: ignore[call-overload]
