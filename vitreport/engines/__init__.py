"""Where work runs."""

from vitreport.engines.engine import EXPLAIN, SCORE, Engine, Receipt, Resources, Worker
from vitreport.engines.local import LocalEngine

__all__ = ["EXPLAIN", "SCORE", "Engine", "LocalEngine", "Receipt", "Resources", "Worker"]
