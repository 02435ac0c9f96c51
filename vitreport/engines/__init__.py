"""Where work runs."""

from vitreport.engines.engine import EXPLAIN, Engine, Receipt, Resources, Worker
from vitreport.engines.local import LocalEngine

__all__ = ["EXPLAIN", "Engine", "LocalEngine", "Receipt", "Resources", "Worker"]
