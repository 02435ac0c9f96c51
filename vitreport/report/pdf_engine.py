"""The door to the part that needs WeasyPrint, opened only where a PDF is wanted."""

from __future__ import annotations

import warnings
from types import ModuleType

from vitreport.errors import RenderError


def pdf_engine() -> ModuleType:
    """The part that needs WeasyPrint, imported only where a PDF is wanted.

    Raises:
        RenderError: WeasyPrint, or a library that it loads, is missing.
    """
    try:
        with warnings.catch_warnings():
            # A machine without fonts is no trouble: the document brings its own.
            warnings.filterwarnings("ignore", message=".*FontConfig")
            from vitreport.report import pdf_document
    except ImportError as error:
        raise RenderError(
            f"the PDF needs WeasyPrint, which cannot be imported ({error}); install it with "
            "'pip install weasyprint', or use --no-pdf to render the HTML report only"
        ) from error
    except OSError as error:
        raise RenderError(
            f"WeasyPrint is installed, but Pango or another library that it loads is missing ({error}); "
            "install Pango 1.44 or newer (Debian: libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0), "
            "or use --no-pdf to render the HTML report only"
        ) from error
    return pdf_document
