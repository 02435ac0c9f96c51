"""The run folder: what the explain wing writes and the report wing reads."""

from vitreport.store.folder import RunFolder
from vitreport.store.manifest import Check, DataRecord, Manifest, MetricRecord, ModelRecord, TechniqueRecord
from vitreport.store.remote import RunPlace, run_folder
from vitreport.store.run import Run, open_run

__all__ = [
    "Check",
    "DataRecord",
    "Manifest",
    "MetricRecord",
    "ModelRecord",
    "Run",
    "RunFolder",
    "RunPlace",
    "TechniqueRecord",
    "open_run",
    "run_folder",
]
