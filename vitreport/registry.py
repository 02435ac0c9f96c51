"""One generic registry: names to classes, with the nearest name in every error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from vitreport.errors import SettingsError, did_you_mean

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """An ordered mapping from a public name to what it stands for.

    Args:
        noun: what is registered, for messages ("technique").
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Registers `entry` under `name`; a name can be taken once."""
        if name in self._entries:
            raise ValueError(f"{self.noun} '{name}' is registered twice")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> Entry:
        """Returns the entry.

        Raises:
            SettingsError: nothing is registered under `name`; the message has the nearest name.
        """
        if name not in self._entries:
            hint = did_you_mean(name, self._entries) or ";"
            raise SettingsError(f"unknown {self.noun} '{name}'{hint} 'vitreport {self.noun}s' lists them")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> Iterator[Entry]:
        """Entries in the order of registration."""
        return iter(self._entries.values())
