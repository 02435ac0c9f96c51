"""What WeasyPrint may read while it draws a PDF: named bytes, and nothing else.

WeasyPrint's own fetcher embeds any file or address that a document names. This one opens neither: it knows
the pictures, fonts and style sheets of the report by their address and hands out their bytes. Every
other address is refused, and every refusal ends in a `RenderError`.

Imports WeasyPrint; import it only where that may fail (see `vitreport.report.pdf`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import ERROR, Handler, LogRecord, getLogger

from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

from vitreport.errors import RenderError

SCHEME = "report:"
"""Addresses of a report's own resources begin with this; no file and no host can."""

_CONTENT_TYPES = {".css": "text/css", ".jpeg": "image/jpeg", ".ttf": "font/ttf"}
_LOGGER = "weasyprint"


class ReportFetcher(URLFetcher):  # type: ignore[misc]  # WeasyPrint has no type hints
    """Hands out the resources of one report by their address.

    Attributes:
        refused: addresses asked for that are no part of the report, in the order asked.
    """

    def __init__(self, resources: Mapping[str, bytes]) -> None:
        """Takes the bytes of every resource by its address (``report:fonts/DejaVuSans.ttf``).

        Raises:
            RenderError: an address does not begin with ``report:``.
        """
        super().__init__(allowed_protocols=(), allow_redirects=False, fail_on_errors=True)
        for address in resources:
            if not address.startswith(SCHEME):
                raise RenderError(
                    f"a report cannot offer '{address}'; its own addresses begin with '{SCHEME}'"
                )
        self._resources = dict(resources)
        self.refused: list[str] = []

    def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> URLFetcherResponse:
        """Returns the bytes at `url`; refuses, fatally, what the report does not hold."""
        content = self._resources.get(url)
        if content is None:
            self.refused.append(url)
            raise FatalURLFetchingError(f"refused: {url}")
        ending = url[url.rfind(".") :]
        return URLFetcherResponse(url, content, {"Content-Type": _CONTENT_TYPES.get(ending, "text/plain")})


@contextmanager
def nothing_foreign(fetcher: ReportFetcher) -> Iterator[None]:
    """Turns every refusal of `fetcher`, and every error that WeasyPrint only logs, into a `RenderError`.

    WeasyPrint swallows even a fatal refusal inside an SVG picture, and goes on without a resource that it
    could not read; so the refusals are counted and the log is watched beside the exceptions.

    Raises:
        RenderError: the document refers to something foreign, or a part of it cannot be drawn.
    """
    watch = _Watch()
    logger = getLogger(_LOGGER)
    logger.addHandler(watch)
    try:
        yield
    except FatalURLFetchingError as error:
        if not fetcher.refused:
            raise RenderError(f"the PDF cannot be drawn: {error}") from error
    finally:
        logger.removeHandler(watch)
    if fetcher.refused:
        raise RenderError(
            f"the report refers to {fetcher.refused[0]!r}, which is no part of it; a report may only use its "
            "own pictures, fonts and style sheets, so nothing was read"
        )
    if watch.errors:
        raise RenderError(f"the PDF cannot be drawn: {watch.errors[0]}")


class _Watch(Handler):
    """Keeps the messages of everything that WeasyPrint reports as an error."""

    def __init__(self) -> None:
        super().__init__(ERROR)
        self.errors: list[str] = []

    def emit(self, record: LogRecord) -> None:
        self.errors.append(record.getMessage())
