"""Which free text of a run may be published: none that names a file, a folder, a person or a machine."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable
from pathlib import PurePath, PureWindowsPath

WITHHELD = "withheld in the published copy"

_SHORTEST = 3
"""Letters of a name; what is shorter stands in any text."""

_ANYBODY = frozenset({"root", "user", "admin", "ubuntu", "nobody", "localhost"})
"""Names of people and machines that tell nothing."""

_WORD = re.compile(r"[^\s'\"`,:;()<>\[\]{}=|/\\]+")
_PLACE = re.compile(r"(?<![\w:/.])~?/[^\s/]+/|\b[A-Za-z]:\\|\\\\")
"""The beginning of an absolute path; an address on the web is none."""


class Discretion:
    """Knows the names of a run that stay private."""

    def __init__(self, paths: Iterable[str], private: Iterable[str] = ()) -> None:
        """Takes paths of files and folders, and further private texts."""
        files: set[str] = set()
        parts: set[str] = set()
        for path in paths:
            for pure in (PurePath(path), PureWindowsPath(path)):
                parts |= {*pure.parts, pure.stem}
                files |= {pure.name} if pure.suffix else set()
        own = {_user(), socket.gethostname(), socket.gethostname().partition(".")[0]} - _ANYBODY
        self._telling = _names(files | own)
        self._any = self._telling | _names(parts)
        self._private = tuple(text for text in set(private) if len(text) >= _SHORTEST)

    def tool_text(self, text: str) -> str:
        """A reason or note of the tool's own making; of an error its kind stays, where its words do not."""
        words = _names(_WORD.findall(text))
        told = words & self._any or any(private in text for private in self._private)
        if not told and "/" not in text and "\\" not in text:
            return text
        kind = re.match(r"[A-Z][A-Za-z]+(?=: )", text)
        return f"{kind.group()}: {WITHHELD}" if kind and not _names([kind.group()]) & self._any else WITHHELD

    def card(self, value: object) -> object:
        """What a person wrote for readers of the report, as JSON: a text that names a file is withheld."""
        if isinstance(value, str):
            return WITHHELD if _PLACE.search(value) or _names(_WORD.findall(value)) & self._telling else value
        if isinstance(value, dict):
            return {name: self.card(inner) for name, inner in value.items()}
        return [self.card(inner) for inner in value] if isinstance(value, list | tuple) else value


def _names(words: Iterable[str]) -> set[str]:
    """The words without the full stop of a sentence, as they are compared."""
    return {word.strip(".!?").casefold() for word in words if len(word.strip(".!?")) >= _SHORTEST}


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return ""  # a user without a name has none to tell
