"""The jobs that segment a case, and that list its regions again for other structures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from activeseg.client.messages.images import ArrayFile
from activeseg.client.messages.segmenting import (
    JobEstimate,
    RegionsRequest,
    RegionsResult,
    SegmentRequest,
    SegmentResult,
)
from activeseg.core.errors import ActiveSegError, InputError
from activeseg.core.hounsfield_units import doubts
from activeseg.core.records import from_json, to_json
from activeseg.core.uncertainty_scale import MOST_SHOWN_VOXELS, coarsened
from activeseg.core.volume import Volume
from activeseg.core.votes import Segmented
from activeseg.corrections import drafts
from activeseg.engine.jobs.descent import climb_down, ways_down
from activeseg.engine.jobs.images import by_channel, read_image, sources_of
from activeseg.engine.planning.estimate import Estimate
from activeseg.engine.planning.ladder import Rung
from activeseg.engine.worker import memory
from activeseg.engine.worker.kept import Kept, Voted
from activeseg.engine.worker.worker import Job
from activeseg.predictions.prediction import Prediction, check_output
from activeseg.predictions.region_files import write_regions
from activeseg.review.regions import find_regions
from activeseg.system.disk import refuse_full

MEASURES = ("entropy", "variance", "mutual_information")
_LABEL_BYTES = 2


def segment(request: SegmentRequest, job: Job, kept: Kept) -> SegmentResult:
    """Segment, going down the ladder when memory is short; the result names files in the job's folder.

    The label is told as soon as it is there: with ``label_first`` before any view has voted, else before anything is
    saved. The result's label map is always the one that was told.
    """
    output, draft = request.output, request.draft
    settings = replace(request.settings, keep_features=draft is not None)  # for prompts and the spread of corrections
    if output is not None:
        check_output(output, request.overwrite)
    kept.voted = kept.session = None
    segmenter = kept.models.get(request.model)
    files = by_channel(request.image, request.images, segmenter)
    for name in request.focus:
        segmenter.schema.named(name)
    job.progress("check", 0.0)
    segmenter.check(settings)
    job.progress("read", 0.0)
    images = {channel: read_image(file, job.notice) for channel, file in files.items()}
    for sentence in doubts(images):
        job.notice(sentence)
    geometry = next(iter(images.values())).geometry
    _refuse_full_disk(job.folder, images, draft, output, request.label_first)
    ways = ways_down(request.model, segmenter, geometry, settings, request.allow_coarser)
    result: SegmentResult | None = None

    def tell(folder: Path, way: Rung, estimate: Estimate, prediction: Prediction) -> None:
        """The label to the client, and into the draft; ``result`` is what the job's would be now."""
        nonlocal result
        job.progress("save", 0.0)
        first, result = result is None, _with_run(_write(folder, prediction), way, estimate)
        if first:
            job.label(result)
        if draft is not None:
            try:
                drafts.store_base(draft, prediction, images)
            except ActiveSegError as error:  # the user still wants the segmentation
                job.notice(f"{error} A crash of the application would lose this case.")

    early = partial(tell, job.folder / "label") if request.label_first else None
    try:
        way, estimate, prediction = climb_down(
            job, kept, ways, images, request.focus, request.regions, sources_of(files), early
        )
        if prediction.grid is not None:
            tell(job.folder, way, estimate, prediction)
            if draft is not None:
                kept.voted = Voted(draft, prediction, images)
        assert result is not None
        if prediction.grid is None:  # it was told, and nothing came after it
            result = _with_run(result, way, estimate)
        if output is not None:
            prediction.save(output, images, request.overwrite)
            result = replace(result, prediction=output)
    finally:
        kept.models.shrink()
        kept.tell_state()
    key = kept.calibration.key(way.model, way.settings, str(prediction.details.get("device", "cpu")))
    voxels = math.prod(geometry.shape_kji)
    kept.calibration.learn(key, prediction.timings, estimate.need.tiles, voxels)
    return result


def _refuse_full_disk(
    scratch: Path, images: Mapping[str, Volume], draft: Path | None, output: Path | None, label_first: bool
) -> None:
    """Raise DeviceError when what the job will write does not fit; what is compressed counts as it is in memory."""
    voxels = math.prod(next(iter(images.values())).geometry.shape_kji)
    read = sum(volume.array.nbytes for volume in images.values())
    answer = _LABEL_BYTES * voxels + len(MEASURES) * 4 * min(voxels, MOST_SHOWN_VOXELS)
    needed = {scratch: (1 + label_first) * answer + 4 * voxels}  # and temporary files of the packages
    if draft is not None:
        needed[draft] = read + _LABEL_BYTES * voxels
    if output is not None:
        needed[output] = _LABEL_BYTES * voxels
    refuse_full(needed, "this segmentation")


def find_again(request: RegionsRequest, job: Job, kept: Kept) -> RegionsResult:
    """The regions of the last case, listed again for other structures; the result names files in the job's folder."""
    voted = kept.voted
    if voted is None or voted.draft != request.draft or voted.prediction.grid is None:
        raise InputError(
            "What the members said about this case is no longer in the engine's memory.",
            "Segment the CT again with these structures in focus.",
        )
    prediction = voted.prediction
    job.progress("regions", 0.0)
    segmented = Segmented(prediction.labels.array, prediction.schema, prediction.decided, voted.prediction.grid)
    found = find_regions(segmented, prediction.labels.geometry, request.focus, request.regions, body_mm3=voted.body_mm3)
    write_regions(job.folder, found, request.focus)
    return RegionsResult(
        regions=tuple(to_json(found)),
        regions_folder=job.folder,
        geometry=prediction.labels.geometry,
    )


def _with_run(result: SegmentResult, way: Rung, estimate: Estimate) -> SegmentResult:
    """The result with what is known about its run by now."""
    told = from_json(JobEstimate, estimate.to_dict())
    return replace(result, fallbacks=tuple(way.said), estimate=told, peak_bytes=memory.peak_bytes())


def _write(folder: Path, prediction: Prediction) -> SegmentResult:
    """The prediction's arrays as files, and everything else in words."""
    folder.mkdir(exist_ok=True)
    grid = prediction.grid
    assert grid is not None
    maps = {
        name: ArrayFile.write(folder / f"{name}.npy", coarsened(Volume(measure, grid.geometry)))
        for name in MEASURES
        if (measure := grid.measure(name)) is not None
    }
    write_regions(folder, prediction.regions, prediction.focus)
    labels = ArrayFile.write(folder / "labels.npy", prediction.labels)
    return SegmentResult(
        record=prediction.to_dict(),
        labels=labels.array,
        geometry=labels.geometry,
        measures={name: shown.array for name, shown in maps.items()},
        measures_geometry=next(iter(maps.values())).geometry,
        regions_folder=folder,
        regions=tuple(to_json(prediction.regions)),
    )
