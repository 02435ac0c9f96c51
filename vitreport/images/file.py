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


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file for reading; anything else (a pipe, a device, a folder) is never opened.

    Raises:
        ImageError: why it cannot be opened; the reason does not name the file.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ImageError(_KINDS.get(stat.S_IFMT(mode), "not a regular file"))
        return path.open("rb")
    except FileNotFoundError:
        raise ImageError("a link to nothing" if path.is_symlink() else "no such file") from None
    except OSError as error:
        raise ImageError(system_reason(error)) from None
    except ValueError:
        raise ImageError("its name is not a valid file name") from None


def system_reason(error: OSError) -> str:
    """What the system says went wrong, in lower case and without the file's name."""
    return (error.strerror or "it cannot be read").lower()


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that any terminal, page and store can take, with ``/`` between its parts.

    Bytes that are not UTF-8, and control characters, are written as ``\\xff``.
    """
    text = Path(path).as_posix().translate(_UNPRINTABLE)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
