"""Places that fsspec opens: ``s3://``, ``gs://``, ``https://``, ``memory://`` …"""

from __future__ import annotations

import re
from typing import Any

from vitreport.errors import SettingsError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.ASCII)


def is_url(argument: str) -> bool:
    """Whether the user named a URL and not a path."""
    return _URL.match(argument) is not None


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, of fsspec, and the path that the URL has there.

    Raises:
        SettingsError: fsspec or the package that it needs for the URL is missing, or it cannot be opened.
    """
    try:
        import fsspec
    except ImportError:
        raise SettingsError(
            f"'{url}' is a URL, and URLs need fsspec; install it with: pip install 'vitreport[remote]'"
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except Exception as error:  # every file system has errors of its own
        raise SettingsError(f"cannot read '{url}': {reason(error)}") from None
    return system, path


def reason(error: Exception) -> str:
    """What a file system says of a failure, in one line."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
