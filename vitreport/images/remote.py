"""Images under a URL that fsspec can open: ``s3://``, ``gs://``, ``https://``, ``memory://`` …"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ClassNames
from vitreport.images.file import printable_text
from vitreport.images.folder import SUFFIXES
from vitreport.images.item import SourceItem, class_of
from vitreport.images.place import PIECE
from vitreport.url import file_system, reason, without_secrets


@dataclass(frozen=True)
class RemoteFile:
    """A file under a URL.

    Attributes:
        url: what opens it, with the secrets that it may hold; `shown` leaves them out.
    """

    url: str

    def pieces(self) -> Iterator[bytes]:
        """See `Stored.pieces`."""
        import fsspec

        try:
            with fsspec.open(self.url, "rb") as file:
                while piece := file.read(PIECE):
                    yield piece
        except FileNotFoundError:
            raise ImageError("no such file") from None
        except Exception as error:  # every file system has errors of its own
            raise ImageError(f"it cannot be fetched ({type(error).__name__})") from None


def read_url(url: str, classes: ClassNames) -> tuple[list[SourceItem], list[str]]:
    """Lists the image under a URL, or all images below it, sorted; and what the user should know of them.

    The first folder below the URL is the label where all are classes of the model, and else the folder is
    the group, as in a folder on this machine.

    Raises:
        SettingsError: fsspec or what it needs is missing, the URL cannot be read, or no image is there.
    """
    system, root = file_system(url)
    if url.lower().endswith((".csv", ".tar")):
        raise SettingsError(
            f"'{shown(url)}': tables and archives are read from this machine only; download it first"
        )
    try:
        paths = _paths(system, root)
    except Exception as error:  # a name, a right: every file system has its own
        raise SettingsError(f"cannot read '{shown(url)}': {reason(error)}") from None
    if not paths:
        raise SettingsError(
            f"no image at '{shown(url)}' or below it; looked for names ending in {' '.join(SUFFIXES)}"
        )
    return _items(system, root, paths, url, classes)


def _paths(system: Any, root: str) -> list[str]:
    if system.isfile(root):
        return [root]
    if not system.exists(root):
        raise FileNotFoundError("there is nothing")
    found: list[str] = system.find(root)
    below = ((path, PurePosixPath(path[len(root) :].lstrip("/")).parts) for path in found)
    return sorted(
        path
        for path, parts in below
        if path.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in parts)
    )


def _items(
    system: Any, root: str, paths: list[str], url: str, classes: ClassNames
) -> tuple[list[SourceItem], list[str]]:
    relatives = [PurePosixPath(path[len(root) :].lstrip("/")) for path in paths]
    parents = {relative.parts[0] for relative in relatives if len(relative.parts) > 1}
    labels = {parent: class_of(parent, classes) for parent in parents}
    loose = any(len(relative.parts) <= 1 for relative in relatives)
    labelled = bool(labels) and None not in labels.values() and not loose
    notices = []
    if labels:
        use = "are classes of this model; they are used as labels" if labelled else "are used as groups"
        notices.append(f"the sub-folders of '{shown(url)}' {use}")
    items = []
    for path, relative in zip(paths, relatives, strict=True):
        address = _address(system, path, url)
        group = None if labelled or len(relative.parts) <= 1 else relative.parent.as_posix()
        label = labels[relative.parts[0]] if labelled else None
        items.append(SourceItem(shown(address), RemoteFile(address), label, group))
    return items, notices


def _address(system: Any, path: str, url: str) -> str:
    """The URL of a file below another one; some file systems, as FTP, leave out the host."""
    address: str = system.unstrip_protocol(path)
    scheme, _, rest = url.partition("://")
    host = re.split("[/?]", rest)[0]
    return address if host in address or "::" in url else f"{scheme}://{host}/{path.lstrip('/')}"


def shown(url: str) -> str:
    """A URL as text for pages and store, without its secrets; a path would lose one of its slashes."""
    return printable_text(without_secrets(url))
