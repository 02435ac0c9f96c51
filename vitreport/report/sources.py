"""What a page is made from: the digests that decide whether it has to be drawn again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable

from vitreport.report.template_files import site_files, used_files
from vitreport.store import Run
from vitreport.store.folder import MANIFEST
from vitreport.store.optimized import ROOM

LIBRARIES = (
    "fonttools",
    "jinja2",
    "markupsafe",
    "matplotlib",
    "numpy",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "weasyprint",
)
"""Packages whose version may show in a report."""


@dataclass(frozen=True)
class Sources:
    """All that decides a report's bytes, as digests.

    Attributes:
        code: of this package and of what it draws with.
        manifest: of the run's manifest, which has the digest of every file of the store.
        optimized: of the optimised pictures, which the manifest does not list.
        options: what was asked for beyond the run.
    """

    code: str
    manifest: str
    optimized: str
    options: str = ""

    @classmethod
    def of(cls, run: Run, options: str = "") -> Sources:
        """Those of a run."""
        folder = run.folder
        optimized = digest(part for path in folder.files_below(ROOM) for part in (path, folder.read(path)))
        return cls(code_digest(), run.folder.sha256(MANIFEST), optimized, options)

    @property
    def of_images(self) -> Sources:
        """Those of the pages of images, which show no optimised picture."""
        return replace(self, optimized="")

    @property
    def site(self) -> str:
        """Digest of a whole site: where it is the same, no page has changed."""
        return self.page(*site_files())

    def page(self, *templates: str, settings: object = "") -> str:
        """Digest of a page.

        Args:
            templates: that it starts from; all that they use counts.
            settings: what it is told beyond the run; its ``repr`` counts.
        """
        used = {name: text for template in templates for name, text in used_files(template).items()}
        texts = (part for pair in sorted(used.items()) for part in pair)
        own = (self.code, self.manifest, self.optimized, self.options, repr(settings))
        return digest([*own, *texts])[:16]


def digest(parts: Iterable[str | bytes]) -> str:
    """SHA-256 over `parts` with their lengths, hex."""
    made = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        made.update(f"{len(content)}:".encode() + content)
    return made.hexdigest()


@cache
def code_digest() -> str:
    """Digest of every module of this package, and of the versions of `LIBRARIES`."""
    modules = sorted(_modules(files("vitreport"), ""))
    versions = (f"{name} {_version(name)}" for name in LIBRARIES)
    return digest([*versions, *(part for module in modules for part in module)])


def _modules(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.name.endswith(".py"):
            yield f"{path}/{entry.name}", entry.read_bytes()
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _modules(entry, f"{path}/{entry.name}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
