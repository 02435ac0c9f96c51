"""The files below a URL, through fsspec: each is there whole, or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from vitreport.errors import SettingsError, StoreError
from vitreport.store.folder import HALF_WRITTEN, WRITING, Told
from vitreport.url import file_system, reason, without_secrets

_AT_ONCE = 16
"""Files that are sent or fetched at a time, where the file system can do that."""

_STORES = frozenset({"abfs", "abfss", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a", "tos"})
"""Protocols that put a file whole or not at all; on all others it is written beside its place and moved."""

_LEFT = timedelta(hours=1)
"""Age of a half-written file that nobody writes any more."""

Answer = TypeVar("Answer")


def is_inside(path: str) -> bool:
    """False for a path that leads out of a run."""
    return not {"", ".", ".."}.intersection(path.split("/"))


class Objects:
    """What lies below a URL, by path."""

    def __init__(self, url: str) -> None:
        """Opens the file system; nothing is read yet.

        Raises:
            SettingsError: fsspec or the package that it needs is missing, or the URL names no folder.
        """
        self._shown = without_secrets(url)
        self._system, base = file_system(url)
        self._base = base.rstrip("/")
        if not self._base:
            raise SettingsError(f"'{self._shown}' names no folder; add the name of one")
        protocol = self._system.protocol
        self._is_store = not _STORES.isdisjoint({protocol} if isinstance(protocol, str) else protocol)

    def is_file(self) -> bool:
        """True where a file lies at the URL itself."""
        return self._asked(lambda: bool(self._system.isfile(self._base)))

    def names(self) -> set[str]:
        """Names of all files and folders right below the URL."""
        return {path.partition("/")[0] for path in self._below("", self._system.ls, detail=False)}

    def paths(self, room: str) -> set[str]:
        """Paths of all files in a folder and below it, or the path itself where it is that of a file."""
        inside = f"{room}/" if room else ""
        found = self._below(room, self._system.find)
        return {path for path in found if (path.startswith(inside) or path == room) and is_inside(path)}

    def get(self, path: str) -> bytes | None:
        """Content of the file at `path`; None where there is none.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            content: bytes = self._system.cat_file(self._place(path))
        except FileNotFoundError:
            return None
        except Exception as error:  # every file system has errors of its own
            raise StoreError(f"cannot read {self._shown}/{path}: {reason(error)}") from error
        return content

    def put(self, path: str, content: bytes) -> None:
        """Writes the file at `path`, all of it or nothing.

        Raises:
            StoreError: it cannot be written.
        """
        try:
            if self._is_store:
                self._system.pipe_file(self._place(path), content)
            else:
                self._move_in(self._place(path), content)
        except Exception as error:
            raise StoreError(
                f"cannot write {self._shown}/{path}: {reason(error)}; what is finished is kept, and the same "
                "command goes on from there"
            ) from error

    def remove(self, path: str) -> None:
        """Removes the file at `path`, where there is one.

        Raises:
            StoreError: it cannot be removed.
        """
        try:
            self._system.rm_file(self._place(path))
        except FileNotFoundError:
            pass
        except Exception as error:
            raise StoreError(f"cannot remove {self._shown}/{path}: {reason(error)}; remove it") from error

    def has_around(self, name: str) -> bool:
        """True where a folder around the URL has a file of that name, as far as they may be read."""
        around = self._base
        while (around := around.rpartition("/")[0].rstrip("/")) and not around.endswith(":"):
            with suppress(Exception):
                if self._system.isfile(f"{around}/{name}"):
                    return True
        return False

    def sweep(self) -> None:
        """Removes what a killed process has left half-written, and nothing that another may be writing.

        Where the file system does not tell how old a file is, it stays; it is never taken for a part.
        """
        if not self._is_store:
            for path in self.paths(""):
                if HALF_WRITTEN.fullmatch(path.rpartition("/")[2]) and self._is_left(path):
                    self.remove(path)

    def each(self, work: Callable[[str], None], paths: Iterable[str], told: Told | None = None) -> None:
        """Does some work for each path, for several at a time where the file system allows it.

        Args:
            work: gets or puts a file.
            paths: of the files.
            told: how many of how many are done.

        Raises:
            StoreError: of the first file whose work fails; what is not begun by then is left.
        """
        listed = list(paths)
        with ThreadPoolExecutor(_AT_ONCE if self._system.async_impl else 1) as pool:
            try:
                for done, _ in enumerate(pool.map(work, listed), start=1):
                    if told:
                        told(done, len(listed))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _place(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    def _is_left(self, path: str) -> bool:
        try:
            age = datetime.now(UTC) - self._system.modified(self._place(path))
        except Exception:  # it is gone, or nobody can tell
            return False
        return bool(age > _LEFT)

    def _move_in(self, place: str, content: bytes) -> None:
        folder, _, name = place.rpartition("/")
        writing = f"{folder}/.{name}.{secrets.token_hex(4)}{WRITING}"
        self._system.makedirs(folder, exist_ok=True)
        try:
            self._system.pipe_file(writing, content)
            self._system.mv(writing, place)
        except BaseException:
            with suppress(Exception):
                self._system.rm_file(writing)
            raise

    def _below(self, room: str, listing: Callable[..., Iterable[str]], **options: object) -> set[str]:
        def listed() -> list[str]:
            self._system.invalidate_cache()
            try:
                return list(listing(self._place(room), **options))
            except FileNotFoundError:
                return []

        start = f"{self._base}/"
        found = (path.rstrip("/") for path in self._asked(listed))
        return {path.removeprefix(start) for path in found if path.startswith(start)}

    def _asked(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except Exception as error:
            raise StoreError(f"cannot read {self._shown}: {reason(error)}") from error
