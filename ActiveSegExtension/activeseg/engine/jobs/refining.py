"""The jobs about prompts in a region, and about corrections that are spread over the rest of a case."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from activeseg.client.messages.refining import (
    OpenCaseRequest,
    OpenCaseResult,
    RefineRequest,
    RefineResult,
    SpreadChange,
    SpreadRequest,
    SpreadResult,
    SpreadTakenRequest,
)
from activeseg.client.messages.segmenting import RegionsResult
from activeseg.core.errors import DeviceError, InputError
from activeseg.core.geometry import Box
from activeseg.core.records import to_json
from activeseg.corrections.drafts import Draft
from activeseg.corrections.live_case import LiveCase
from activeseg.engine.jobs.images import by_channel, read_image
from activeseg.engine.worker import memory
from activeseg.engine.worker.kept import Kept, Session
from activeseg.engine.worker.worker import Job
from activeseg.io import npy
from activeseg.predictions.prediction import Prediction
from activeseg.predictions.region_files import write_regions
from activeseg.system.heap import is_out_of_memory

T = TypeVar("T")


def open_case(request: OpenCaseRequest, job: Job, kept: Kept) -> OpenCaseResult:
    """Get a case ready: what is still in memory is used again, the rest is read."""
    session = kept.session
    if session is None or request.draft is None or session.draft != request.draft:
        kept.session = None  # its memory is needed
        session = Session(uuid.uuid4().hex, _case_of(request, job, kept), request.draft)
    case = session.case
    box = request.box_kji or _middle(case.geometry.shape_kji)
    job.progress("network", 0.1)
    refiners = _within_memory(kept, lambda: case.refiners(box, job.progress.part(0.1, 1.0)))
    kept.session = session
    kept.models.shrink()
    kept.tell_state()
    spreads = bool(case.votes_in(box, job.progress).features)
    why_not = "" if spreads else "Corrections can be spread only where a network with one label a voxel predicted."
    return OpenCaseResult(session=session.id, refiners=refiners, kept=case.keeps, spreads=spreads, why_not=why_not)


def refine(request: RefineRequest, job: Job, kept: Kept) -> RefineResult:
    """Answer prompts; the patch lies in the job's folder."""
    case = _session(kept, request.session).case
    labels = npy.read_array(request.labels)
    answer = _within_memory(
        kept, lambda: case.refine(labels, request.box_kji, request.prompts, job.progress, request.refiner)
    )
    patch = job.folder / "patch.npz"
    np.savez_compressed(patch, allow_pickle=False, labels=answer.labels, changed=answer.changed)
    return RefineResult(alternative=to_json(answer), patch=patch, box_kji=request.box_kji, refiner=answer.members[0])


def propose(request: SpreadRequest, job: Job, kept: Kept) -> SpreadResult:
    """Learn from the reviewed regions; the proposal's label map lies in the job's folder."""
    session = _session(kept, request.session)
    labels = npy.read_array(request.labels)
    session.proposal = None
    found = _within_memory(kept, lambda: session.case.spread(labels, request.regions, job.progress))
    session.proposal = found
    changes = tuple(
        SpreadChange(
            name=change.name,
            voxels_gained=change.voxels_gained,
            voxels_lost=change.voxels_lost,
            mm3_gained=change.mm3_gained,
            mm3_lost=change.mm3_lost,
        )
        for change in found.changes
    )
    file = None
    if found.offered:
        file = job.folder / "labels.npy"
        npy.write_array(file, found.labels())
    return SpreadResult(
        offered=found.offered,
        why=found.why,
        expected_gain=found.expected_gain,
        regions_used=found.regions_used,
        changes=changes,
        labels=file,
    )


def find_on_new_state(request: SpreadTakenRequest, job: Job, kept: Kept) -> RegionsResult:
    """The regions by what the members say with what they learned; the result names files in the job's folder."""
    session = _session(kept, request.session)
    proposal, case = session.proposal, session.case
    if proposal is None or not proposal.offered:
        raise InputError("No proposal for the rest of this case was made before.", "Make one first.")
    labels = npy.read_array(request.labels)
    found = case.take(proposal, labels, request.reviewed, request.focus, request.regions, job.progress)
    write_regions(job.folder, found, request.focus)
    session.proposal = None
    if kept.voted is not None and kept.voted.draft == session.draft:
        now = replace(kept.voted.prediction.labels, array=labels)
        kept.voted = replace(kept.voted, prediction=replace(kept.voted.prediction, labels=now, grid=case.whole))
    return RegionsResult(regions=tuple(to_json(found)), regions_folder=job.folder, geometry=case.geometry)


def _case_of(request: OpenCaseRequest, job: Job, kept: Kept) -> LiveCase:
    job.progress("read", 0.0)
    voted = kept.voted
    if request.draft is not None and voted is not None and voted.draft == request.draft:
        predicted = voted.prediction
        segmenter = kept.models.get(predicted.model)
        return LiveCase(
            voted.images, predicted.schema, predicted.labels.array, segmenter, predicted.settings, predicted.grid
        )
    if request.draft is not None:
        draft = Draft.open(request.draft)
        base = draft.read_base()
        images = draft.read_images()
        if isinstance(base, Prediction):
            segmenter = kept.models.get(base.model)
            return LiveCase(images, base.schema, base.labels.array, segmenter, base.settings)
        return LiveCase(images, base.schema, base.labels.array, None)
    assert request.predicted is not None
    segmenter = kept.models.get(request.model)
    files = by_channel(request.image, request.images, segmenter)
    images = {channel: read_image(file, job.notice) for channel, file in files.items()}
    return LiveCase(images, segmenter.schema, npy.read_array(request.predicted), segmenter, request.settings)


def _session(kept: Kept, id: str) -> Session:
    if kept.session is None or kept.session.id != id:
        raise InputError("The engine has let go of this case.", "Open it for prompts again.", session="unknown")
    return kept.session


def _within_memory(kept: Kept, work: Callable[[], T]) -> T:
    """Raises DeviceError where the memory that a job may take is not enough."""
    try:
        with memory.at_most(memory.budget(kept.memory_limit)):
            return work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            "Not enough memory to look at this case again.", "Close other programs, or segment with fewer members."
        ) from error


def _middle(shape_kji: tuple[int, ...]) -> Box:
    k, j, i = ((length // 2, length // 2 + 1) for length in shape_kji)
    return k, j, i
