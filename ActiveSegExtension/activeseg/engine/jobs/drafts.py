"""The jobs about drafts: save, list, open, discard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from activeseg.client.messages.drafts import (
    DraftBase,
    DraftDiscardRequest,
    DraftDiscardResult,
    DraftEntry,
    DraftLayers,
    DraftListRequest,
    DraftListResult,
    DraftOpenRequest,
    DraftOpenResult,
    DraftRegions,
    DraftSaveRequest,
)
from activeseg.client.messages.images import ArrayFile
from activeseg.core.errors import InputError
from activeseg.core.records import to_json
from activeseg.core.uncertainty_scale import coarsened
from activeseg.core.volume import Volume
from activeseg.corrections import drafts
from activeseg.corrections.drafts import Draft, Edits
from activeseg.corrections.opened import Base, OpenedLabels
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.worker import Job
from activeseg.io import npy
from activeseg.predictions.prediction import Prediction
from activeseg.predictions.region_files import read_regions, write_regions
from activeseg.review.regions import FoundRegion


def save(request: DraftSaveRequest, job: Job, kept: Kept) -> DraftEntry:
    """Replace what the draft says that the user did; ``base`` is what the edits started from."""
    job.progress("read", 0.0)
    entries, patches = _regions(request.regions)
    layers = request.layers
    edits = Edits(layers.json, tuple(npy.read_array(file) for file in layers.arrays), entries, patches)
    started_from = None if request.base is None else _base(request.base, job.folder)
    job.progress("write", 0.5)
    return _entry(drafts.save_edits(request.draft, edits, request.state, request.has_edits, started_from))


def list_all(request: DraftListRequest, job: Job, kept: Kept) -> DraftListResult:
    """The drafts of a folder, the one saved last first."""
    return DraftListResult(drafts=tuple(_entry(draft) for draft in drafts.drafts_in(request.folder)))


def open_draft(request: DraftOpenRequest, job: Job, kept: Kept) -> DraftOpenResult:
    """Everything that a client needs to go on: arrays as files, beside them what ``segment`` says."""
    draft = Draft.open(request.draft)
    job.progress("read", 0.0)
    base, edits = draft.read_base(), draft.read_edits()
    stored = next(iter(draft.images.values()))
    grid = stored.geometry
    if not grid.same_grid(base.labels.geometry):
        raise InputError(f"The draft in '{draft.folder}' is damaged: its label map is not of its image.", "Discard it.")
    labels = Volume(base.labels.array, grid, "labels")
    job.progress("write", 0.5)
    opened = DraftOpenResult(
        record=base.to_dict(),
        id=draft.id,
        has_edits=draft.has_edits,
        state=draft.state,
        labels=ArrayFile.write(job.folder / "labels.npy", labels).array,
        geometry=grid,
        image=ArrayFile(draft.folder / stored.file, grid),
        layers=None if edits is None else _layers(edits, job.folder),
    )
    predicted = isinstance(base, Prediction)
    if predicted or base.regions:
        write_regions(job.folder, base.regions, base.focus if isinstance(base, Prediction) else ())
        opened = replace(opened, regions=tuple(to_json(base.regions)), regions_folder=job.folder)
    if not isinstance(base, Prediction) or not np.isfinite(base.uncertainty.array).any():
        return opened
    shown = ArrayFile.write(job.folder / "uncertainty.npy", coarsened(base.uncertainty))
    return replace(opened, measures={base.measure: shown.array}, measures_geometry=shown.geometry)


def discard(request: DraftDiscardRequest, job: Job, kept: Kept) -> DraftDiscardResult:
    """Remove a draft for good."""
    return DraftDiscardResult(draft=request.draft, discarded=drafts.discard(request.draft))


def _layers(edits: Edits, folder: Path) -> DraftLayers:
    files = []
    for number, array in enumerate(edits.arrays):
        files.append(folder / f"layer{number}.npy")
        npy.write_array(files[-1], array)
    return DraftLayers(json=edits.layers, arrays=tuple(files))


def _entry(draft: Draft) -> DraftEntry:
    return DraftEntry(
        id=draft.id,
        draft=draft.folder,
        created=draft.created,
        saved=draft.saved,
        bytes=draft.size(),
        has_edits=draft.has_edits,
        state=draft.state,
    )


def _regions(regions: DraftRegions | None) -> tuple[tuple[Mapping[str, Any], ...] | None, bytes]:
    """Entries and the bytes of the patches."""
    if regions is None:
        return None, b""
    try:
        return regions.entries, regions.alternatives.read_bytes()
    except OSError as error:
        raise InputError(f"'{regions.alternatives}' cannot be read: {error.strerror}.") from error


def _base(given: DraftBase, folder: Path) -> tuple[Base, dict[str, Volume]]:
    """What a scene knows of the case: the label map as it was shown, the image, and for a prediction the rest."""
    record, labels, image = given.record, given.labels.read(), given.image.read()
    uncertainty = given.uncertainty.read() if given.uncertainty is not None else None
    entries, patches = _regions(given.regions)
    if not image.geometry.same_grid(labels.geometry):
        raise InputError(
            "The image and the label map of the case lie on different grids.", "Choose the CT of the case."
        )
    regions: tuple[FoundRegion, ...] = ()
    if entries is not None:
        drafts.write_region_files(folder, entries, patches)
        regions = read_regions(folder)
    if record.get("origin"):
        return OpenedLabels.from_record(record, labels, regions), {"CT": image}
    if uncertainty is None:  # nothing was computed: an export tells of how many voxels nothing is known
        uncertainty = Volume(np.full((2, 2, 2), np.nan, np.float32), replace(labels.geometry, shape_kji=(2, 2, 2)))
    prediction = Prediction.from_record(record, labels, uncertainty, regions)
    if len(prediction.images) != 1:
        raise InputError(f"The model takes {len(prediction.images)} images; a scene has one.", "Segment them again.")
    ((channel, source),) = prediction.images.items()
    # A scene that was saved and opened has the grid in other digits, which a fingerprint tells apart.
    known = {channel: {**source, "sha256": image.sha256()}}
    return replace(prediction, images=known), {channel: image}
