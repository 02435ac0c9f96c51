"""Where work runs."""

from vitreport.engines.choice import choose_engine
from vitreport.engines.engine import EXPLAIN, SCORE, Engine, InTurn, Receipt, Resources, Worker
from vitreport.engines.local import LocalEngine

__all__ = [
    "EXPLAIN",
    "SCORE",
    "Engine",
    "InTurn",
    "LocalEngine",
    "Receipt",
    "Resources",
    "Worker",
    "choose_engine",
]
