"""The jobs about drafts: save, list, open, discard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from activeseg.core.errors import InputError
from activeseg.core.uncertainty_scale import coarsened
from activeseg.core.volume import Volume
from activeseg.corrections import drafts
from activeseg.corrections.drafts import Base, Draft, Edits, OpenedLabels
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.params import Params, WrongParams
from activeseg.engine.worker.worker import Job
from activeseg.io import npy
from activeseg.predictions.prediction import Prediction
from activeseg.predictions.region_files import read_regions, write_regions
from activeseg.review.regions import Region


def save(job: Job, kept: Kept) -> dict[str, Any]:
    """Replace what the draft says that the user did; ``base`` is what the edits started from."""
    with job.params as params:
        folder = params.path("draft")
        state, has_edits = params.mapping("state"), params.flag("has_edits", True)
        with Params("layers", params.mapping("layers")) as layers:
            described, files = layers.mapping("json"), layers.texts("arrays")
        regions = params.mapping("regions") if params.has("regions") else None
        base = params.mapping("base") if params.has("base") else None
    job.progress("read", 0.0)
    entries, patches = _regions(regions)
    edits = Edits(described, tuple(npy.read_array(file) for file in files), entries, patches)
    started_from = None if base is None else _base(base, job.folder)
    job.progress("write", 0.5)
    draft = drafts.save_edits(folder, edits, state, has_edits, started_from)
    return _said(draft)


def list_all(job: Job, kept: Kept) -> dict[str, Any]:
    """The drafts of a folder, the one saved last first."""
    with job.params as params:
        folder = params.path("folder")
    return {"drafts": [_said(draft) for draft in drafts.drafts_in(folder)]}


def open_draft(job: Job, kept: Kept) -> dict[str, Any]:
    """Everything that a client needs to go on: arrays as files, beside them what ``segment`` says."""
    with job.params as params:
        draft = Draft.open(params.path("draft"))
    job.progress("read", 0.0)
    base, edits = draft.read_base(), draft.read_edits()
    image = next(iter(draft.image_messages().values()), None)
    if image is None:
        raise InputError(f"The draft in '{draft.folder}' is damaged: it names no image.", "Discard it.")
    grid = npy.read_geometry(image["geometry"])
    if not grid.same_grid(base.labels.geometry):
        raise InputError(f"The draft in '{draft.folder}' is damaged: its label map is not of its image.", "Discard it.")
    result: dict[str, Any] = {
        "record": base.to_dict(),
        "id": draft.id,
        "has_edits": draft.has_edits,
        "state": dict(draft.state),
        "labels": npy.write_array(job.folder / "labels.npy", base.labels.array),
        "geometry": image["geometry"],
        "image": image,
        "layers": None,
        "measures": {},
        "regions": [],
    }
    job.progress("write", 0.5)
    if isinstance(base, Prediction):
        if np.isfinite(base.uncertainty.array).any():
            shown = coarsened(base.uncertainty)
            result["measures"] = {base.measure: npy.write_array(job.folder / "uncertainty.npy", shown.array)}
            result["measures_geometry"] = npy.geometry_message(shown.geometry)
        result |= {
            "regions": [region.to_dict() for region in base.regions],
            "regions_folder": str(job.folder),
        }
        write_regions(job.folder, base.regions, base.focus)
    if edits is not None:
        files = [npy.write_array(job.folder / f"layer{number}.npy", array) for number, array in enumerate(edits.arrays)]
        result["layers"] = {"json": dict(edits.layers), "arrays": files}
    return result


def discard(job: Job, kept: Kept) -> dict[str, Any]:
    """Remove a draft for good."""
    with job.params as params:
        folder = params.path("draft")
    return {"draft": str(folder), "discarded": drafts.discard(folder)}


def _said(draft: Draft) -> dict[str, Any]:
    return {
        "id": draft.id,
        "draft": str(draft.folder),
        "created": draft.created,
        "saved": draft.saved,
        "bytes": draft.size(),
        "has_edits": draft.has_edits,
        "state": dict(draft.state),
    }


def _regions(message: Mapping[str, Any] | None) -> tuple[tuple[Mapping[str, Any], ...] | None, bytes]:
    """Entries and the bytes of the patches; ``alternatives`` is the path of a client's file."""
    if message is None:
        return None, b""
    with Params("regions", message) as params:
        entries, path = params.any("entries"), params.path("alternatives")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise WrongParams("'entries' of 'regions' must be a list of objects.")
    try:
        return tuple(entries), path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error


def _base(message: Mapping[str, Any], folder: Path) -> tuple[Base, dict[str, Volume]]:
    """What a scene knows of the case: the label map as it was shown, the image, and for a prediction the rest."""
    with Params("base", message) as params:
        record = params.mapping("record")
        labels, image = npy.read_volume(params.mapping("labels")), npy.read_volume(params.mapping("image"))
        uncertainty = npy.read_volume(params.mapping("uncertainty")) if params.has("uncertainty") else None
        entries, patches = _regions(params.mapping("regions") if params.has("regions") else None)
    if not image.geometry.same_grid(labels.geometry):
        raise InputError(
            "The image and the label map of the case lie on different grids.", "Choose the CT of the case."
        )
    if record.get("origin"):
        return OpenedLabels.from_record(record, labels), {"CT": image}
    if uncertainty is None:  # nothing was computed: an export tells of how many voxels nothing is known
        uncertainty = Volume(np.full((2, 2, 2), np.nan, np.float32), replace(labels.geometry, shape_kji=(2, 2, 2)))
    regions: tuple[Region, ...] = ()
    if entries is not None:
        drafts.write_region_files(folder, entries, patches)
        regions = read_regions(folder)
    prediction = Prediction.from_record(record, labels, uncertainty, regions)
    if len(prediction.images) != 1:
        raise InputError(f"The model takes {len(prediction.images)} images; a scene has one.", "Segment them again.")
    ((channel, source),) = prediction.images.items()
    # A scene that was saved and opened has the grid in other digits, which a fingerprint tells apart.
    known = {channel: {**source, "sha256": image.sha256()}}
    return replace(prediction, images=known), {channel: image}
