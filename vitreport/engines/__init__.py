"""Where work runs."""

from vitreport.engines.engine import Engine, Receipt, Resources, Worker
from vitreport.engines.local import LocalEngine

__all__ = ["Engine", "LocalEngine", "Receipt", "Resources", "Worker"]
