"""What adding a case costs when the dataset has none and when it has a thousand.

    .venv/bin/python Testing/benchmarks/dataset_add.py [cases]

Prints the median of ten additions to an empty dataset and to one of ``cases`` (default 1,000), their ratio, and what
the listing takes of it (``dataset.json`` names every case). CPU seconds, because wall time depends on what else the
machine does. Images are small, so that everything but the voxels shows.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from asked import ENGINE, at_least_one, started_in

started_in(ENGINE, __file__, __doc__)

import numpy as np

from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.listing import Listing

SHAPE = (24, 96, 96)
GRID = Geometry(SHAPE, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
REPEATS = 10


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=at_least_one, nargs="?", default=1000, help="of the large dataset")
    measure(parser.parse_args(arguments).cases)


def measure(cases: int) -> None:
    schema = LabelSchema.from_names([f"structure {n}" for n in range(117)])
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset.create(Path(folder) / "Dataset501_Many", schema, private_dir=Path(folder) / "private")

        def add() -> float:
            image = Volume(random.integers(-1000, 1000, SHAPE).astype(np.int16), GRID)
            labels = random.integers(0, 118, SHAPE).astype(np.uint8)
            start = time.process_time()
            dataset.add_case(NewCase(image, labels, GRID, Provenance(Origin.TRUTH)))
            return time.process_time() - start

        add()  # imports
        first = statistics.median(add() for _ in range(REPEATS))
        while len(dataset.cases()) < cases - REPEATS:
            add()
        last = statistics.median(add() for _ in range(REPEATS))
        start = time.process_time()
        Listing.read(dataset.folder)
        Listing.read(dataset.folder).to_json()  # an addition reads it twice and writes it once
        listed = time.process_time() - start
        size = (dataset.folder / "dataset.json").stat().st_size
        start = time.process_time()
        Dataset.open(dataset.folder, private_dir=Path(folder) / "private")
        opened = time.process_time() - start
    print(
        json.dumps(
            {
                "cases": cases,
                "first_cpu_s": round(first, 4),
                "last_cpu_s": round(last, 4),
                "ratio": round(last / first, 3),
                "ratio_without_the_listing": round((last - listed) / first, 3),
                "listing_cpu_s": round(listed, 4),
                "dataset_json_bytes": size,
                "open_and_sweep_cpu_s": round(opened, 4),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
