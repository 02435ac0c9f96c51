"""vitreport: batch explanation reports for Vision Transformers."""

from vitreport.api import Progress, build_report, explain, open_run
from vitreport.settings import RunSettings

__all__ = ["Progress", "RunSettings", "build_report", "explain", "open_run"]
