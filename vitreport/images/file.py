"""One file that somebody else made: opened without harm, named without harm."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from vitreport.errors import ImageError

_KINDS = {
    stat.S_IFDIR: "a folder, not a file",
    stat.S_IFIFO: "a named pipe, not a file",
    stat.S_IFSOCK: "a socket, not a file",
    stat.S_IFCHR: "a device, not a file",
    stat.S_IFBLK: "a device, not a file",
}
# A byte that is not UTF-8 is in a str as one of the surrogates U+DC80 to U+DCFF.
_UNPRINTABLE = {
    code: f"\\x{code & 0xFF:02x}" for code in (*range(0x20), *range(0x7F, 0xA0), *range(0xDC80, 0xDD00))
}


# A file that became a pipe in the meantime is opened without waiting for the pipe's other end.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

FILE_LIMIT = 1 << 29
"""Bytes of the largest file that is read: 512 MiB, what the largest picture takes with 16 bits a channel."""


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file for reading; anything else (a pipe, a device, a folder) is never opened.

    Nor are files that are empty, or say that they are, as those of ``/proc`` do, which may never end.

    Raises:
        ImageError: why it cannot be opened; the reason does not name the file.
    """
    try:
        _check(path.stat())
        file = os.fdopen(os.open(path, _READ), "rb")
    except FileNotFoundError:
        raise ImageError("a link to nothing" if path.is_symlink() else "no such file") from None
    except OSError as error:
        raise ImageError(system_reason(error)) from None
    except ValueError:
        raise ImageError("its name is not a valid file name") from None
    try:
        _check(os.fstat(file.fileno()))
    except ImageError:
        file.close()
        raise
    return file


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(_KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file"))
    if not status.st_size:
        raise ImageError("the file is empty")
    if status.st_size > FILE_LIMIT:
        raise ImageError(
            f"the file has {status.st_size / 2**30:,.1f} GiB; files of more than {FILE_LIMIT >> 20} MiB "
            "are not read"
        )


def system_reason(error: OSError) -> str:
    """What the system says went wrong, in lower case and without the file's name."""
    return (error.strerror or "it cannot be read").lower()


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that any terminal, page and store can take, with ``/`` between its parts.

    Bytes that are not UTF-8, and control characters, are written as ``\\xff``.
    """
    return printable_text(Path(path).as_posix())


def printable_text(text: str) -> str:
    """As `printable`, of what is no path."""
    return text.translate(_UNPRINTABLE).encode("utf-8", "backslashreplace").decode("utf-8")


def relative(path: Path, home: Path | None) -> Path | None:
    """The path below `home`, where it lies there; else None."""
    if home is None:
        return None
    try:
        return path.absolute().relative_to(home.absolute())
    except ValueError:
        return None
