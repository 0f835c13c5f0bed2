"""The one entry point: a CT goes in, a prediction comes out."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence

from activeseg.core.errors import InputError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Segmenter, Settings
from activeseg.core.uncertainty_scale import shown_threshold
from activeseg.core.volume import Volume
from activeseg.predictions.prediction import Prediction
from activeseg.review.regions import body_volume_mm3, find_regions
from activeseg.review.shapes import shape_warnings
from activeseg.review.uncertainty import pairwise_dice


def segment(
    images: Mapping[str, Volume],
    segmenter: Segmenter,
    settings: Settings | None = None,
    focus: Sequence[str] = (),
    regions: int = 10,
    progress: Progress | None = None,
    sources: Mapping[str, Mapping[str, str]] | None = None,
) -> Prediction:
    """Segment, find where the members disagree, and list the regions to review.

    Parameters
    ----------
    images : for each of the segmenter's channels its Volume (HU for CT), all on one grid
    focus : structures that the regions may be about; empty means all that were decided
    regions : how many regions to review are listed at most
    sources : for each channel where it came from (``path``, for DICOM ``series``), so that an export finds it again

    Raises
    ------
    InputError, ModelError, DeviceError, Cancelled
    """
    settings = settings or Settings()
    progress = progress or Progress()
    sources = sources or {}
    if regions < 0:
        raise InputError(f"The number of regions is {regions}; it must be 0 or more.")
    for name in focus:
        segmenter.schema.named(name)
        if settings.structures and name not in settings.structures:
            raise InputError(
                f"'{name}' is in focus but not among the structures to segment.",
                "Add it to the structures to segment.",
                setting="structures",
            )
    segmenter.check(settings)
    started = time.perf_counter()
    segmented = segmenter.segment(images, settings, progress.part(0.0, 0.9))
    ct = next(iter(images.values()))
    progress("regions", 0.9)
    clock = time.perf_counter()
    grid = segmented.grid
    found = find_regions(segmented, ct.geometry, focus, regions, body_mm3=body_volume_mm3(ct)) if regions else ()
    shapes = segmenter.shapes
    warnings = shape_warnings(segmented.labels, ct.geometry, segmented.schema, shapes) if shapes else ()
    agreement = pairwise_dice(grid.votes, len(segmented.schema) + 1)
    timings = {
        **segmented.timings,
        "regions": round(time.perf_counter() - clock, 4),
        "total": round(time.perf_counter() - started, 4),
    }
    measure = grid.measure(grid.default_measure)
    assert measure is not None
    return Prediction(
        labels=Volume(segmented.labels, ct.geometry, "labels"),
        schema=segmented.schema,
        decided=segmented.decided,
        uncertainty=Volume(measure, grid.geometry, "uncertainty"),
        measure=grid.default_measure,
        members=grid.members,
        agreement=agreement,
        regions=found,
        focus=tuple(focus),
        model=segmenter.name,
        settings=settings,
        images={
            name: {"path": "", **sources.get(name, {}), "sha256": volume.sha256()} for name, volume in images.items()
        },
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        timings=timings,
        details=segmented.details,
        warnings=warnings,
        threshold=shown_threshold(grid.default_measure),
        grid=grid,
    )
