"""Places that fsspec opens: ``s3://``, ``gs://``, ``https://``, ``memory://`` …"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vitreport.errors import SettingsError

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.ASCII | re.IGNORECASE)
_SCHEME = re.compile(r"(?:^|(?<=::))[a-z][a-z0-9+.-]+(?=://)", re.ASCII | re.IGNORECASE)
_LINK = re.compile(r"::(?=[a-z][a-z0-9+.-]+:(?://|:))", re.ASCII | re.IGNORECASE)
"""Between two URLs of a chain, as in ``zip://a.png::https://host/photos.zip``."""
_SAID = re.compile(r"[a-z][a-z0-9+.-]+://[^\s'\"<>]+", re.ASCII | re.IGNORECASE)

_WITHOUT_HOST = frozenset({"file", "local", "memory", "tar", "zip"})
"""Protocols whose URL is a path alone."""
_NAMES_FIRST = frozenset({"abfs", "abfss", "git", "github"})
"""Protocols with a name before the ``@``, of a container or a repository, and no user."""


def is_url(argument: str) -> bool:
    """Whether the user named a URL and not a path."""
    found = _URL.match(argument)
    return found is not None and argument.startswith("/", found.end())


def was_url(path: Path) -> bool:
    """Whether a URL was made a path, which keeps one of its slashes."""
    return _URL.match(path.as_posix()) is not None


def without_secrets(url: str) -> str:
    """A URL as it may be stored and shown: without user, password and query, which may hold a signature.

    Each URL of a chain is treated so. A ``?`` in the key of an object, with no ``=`` after it, is no query.
    """
    return "::".join(map(_without_secrets, _LINK.split(url)))


def _without_secrets(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    protocol = scheme.lower()
    if not mark or protocol in _WITHOUT_HOST:
        return url
    if protocol not in _NAMES_FIRST:
        rest = re.sub(r"^[^/]*@", "", rest)
    path, _, query = rest.partition("?")
    return f"{scheme}{mark}{path if '=' in query or protocol in ('http', 'https') else rest}"


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, of fsspec, and the path that the URL has there.

    Raises:
        SettingsError: fsspec or the package that it needs for the URL is missing, or it cannot be opened.
    """
    try:
        import fsspec
    except ImportError:
        raise SettingsError(
            f"'{without_secrets(url)}' is a URL, and URLs need fsspec; install it with: "
            "pip install 'vitreport[remote]'"
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(_SCHEME.sub(lambda scheme: scheme[0].lower(), url))
    except Exception as error:  # every file system has errors of its own
        raise SettingsError(f"cannot read '{without_secrets(url)}': {reason(error)}") from None
    return system, path


def reason(error: Exception) -> str:
    """What a file system says of a failure, in one line; URLs in it are without secrets."""
    said = str(error).strip()
    first = said.splitlines()[0] if said else type(error).__name__
    return _SAID.sub(lambda url: without_secrets(url[0]), first)
