"""What the HTML site of a large run costs: CPU an image, peak memory, and size on the disk.

python -m tests.benchmarks.report_cost RUN [--images 1000 …]

RUN is a finished run of a few photos; its images are repeated under new identities until there are enough.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from vitreport.settings import SHARD_SIZE
from vitreport.store import Run, open_run
from vitreport.store import folder as paths
from vitreport.store.schema import catalogue_table

PROGRAM = (
    "import sys; from pathlib import Path; from vitreport.report.build import build_report; "
    "build_report(Path(sys.argv[1]), pdf=False, processes=int(sys.argv[2]))"
)


@dataclass(frozen=True)
class Cost:
    """What a site took.

    Attributes:
        cpu: seconds, of all processes.
        peak: bytes that the largest process held at most.
        size: bytes of the site.
    """

    cpu: float
    peak: int
    size: int


def repeat(run: Run, root: Path, images: int) -> Path:
    """Writes a run of so many images that repeats the explained ones of `run`, without its scores."""
    explained = [row["id"] for row in run.images.to_pylist() if row["status"] == "explained"]
    refs = {ref.id: ref for ref in run.catalogue}
    made = [f"{number:016x}" for number in range(images)]
    likes = [explained[number % len(explained)] for number in range(images)]
    catalogue = [
        replace(refs[like], id=name, uri=f"photos/{name}.jpg", shard=number // SHARD_SIZE)
        for number, (name, like) in enumerate(zip(made, likes, strict=True))
    ]
    (target := run.folder.__class__(root)).write_table(paths.CATALOGUE, catalogue_table(catalogue))
    ran = [record for record in run.techniques if not record.skipped]
    parts = [
        paths.images_part,
        *(lambda shard, one=record: paths.technique_part(one, shard) for record in ran),
    ]
    files = [paths.CATALOGUE]
    for part in parts:
        whole = pa.concat_tables([run.folder.read_table(part(shard)) for shard in run.shards])
        places: dict[str, list[int]] = {}
        for place, name in enumerate(whole["id"].to_pylist()):
            places.setdefault(name, []).append(place)
        for shard in range(-(-images // SHARD_SIZE)):
            span = range(shard * SHARD_SIZE, min(images, (shard + 1) * SHARD_SIZE))
            rows = [(place, made[number]) for number in span for place in places.get(likes[number], ())]
            table = whole.take(pa.array([place for place, _ in rows], pa.int64()))
            names = {"id": [name for _, name in rows]}
            if "uri" in table.schema.names:
                names["uri"] = [f"photos/{name}.jpg" for _, name in rows]
            for column, values in names.items():
                at = table.schema.get_field_index(column)
                table = table.set_column(
                    at, table.schema.field(at), pa.array(values, table.schema.field(at).type)
                )
            target.write_table(part(shard), table.combine_chunks())
            files.append(part(shard))
    data = replace(run.manifest.data, images=images, shards=-(-images // SHARD_SIZE), quarantined=0)
    digests = {path: target.sha256(path) for path in files}
    target.commit_manifest(replace(run.manifest, data=data, files=digests, metrics=(), controls=()))
    return root


def cost(root: Path, processes: int) -> Cost:
    """Draws the site of a run in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = f"{PROGRAM}; import resource; own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
    measured += "print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    command = [sys.executable, "-c", measured, str(root), str(processes)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    size = sum(place.stat().st_size for place in (root / "report").rglob("*") if place.is_file())
    return Cost(cpu, unit * int(said), size)


def main(arguments: Sequence[str] | None = None, write_line: Callable[[str], None] = print) -> list[Cost]:
    """Prints a line a size, and returns what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args(arguments)
    run = open_run(chosen.run)
    costs = []
    for images in chosen.images:
        with TemporaryDirectory() as folder:
            found = cost(repeat(run, Path(folder) / "run", images), chosen.processes)
            pages = [place.stat().st_size for place in Path(folder).glob("run/report/images/*.html")]
        costs.append(found)
        write_line(
            f"{images:,} images: {1000 * found.cpu / images:.1f} ms of CPU an image ({found.cpu:.1f} s), "
            f"peak memory {found.peak / 1e6:.0f} MB, site {found.size / 1e6:.0f} MB, "
            f"an image page {np.mean(pages) / 1000:.0f} kB"
        )
    slope = (costs[-1].cpu - costs[0].cpu) / max(1, chosen.images[-1] - chosen.images[0])
    write_line(
        f"one more image: {1000 * slope:.1f} ms; peak memory ratio {costs[-1].peak / costs[0].peak:.2f}"
    )
    return costs


if __name__ == "__main__":
    main()
