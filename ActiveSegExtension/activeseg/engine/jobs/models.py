"""The jobs about models: the list of what there is, whether one can run, and getting ready for it."""

from __future__ import annotations

from activeseg.client.messages.segmenting import (
    ModelCheckRequest,
    ModelCheckResult,
    ModelListRequest,
    ModelListResult,
    WarmRequest,
    WarmResult,
)
from activeseg.engine.worker import devices
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.worker import Job


def list_all(request: ModelListRequest, job: Job, kept: Kept) -> ModelListResult:
    """Every model that can be named without a folder."""
    from activeseg.segmenters import list_models

    return ModelListResult(models=tuple(list_models()))


def check(request: ModelCheckRequest, job: Job, kept: Kept) -> ModelCheckResult:
    """Whether a model can run with these settings. Raises what ``Segmenter.check`` raises."""
    segmenter = kept.models.get(request.model)
    job.progress("check", 0.0)
    segmenter.check(request.settings)
    return ModelCheckResult(model=segmenter.name, channels=tuple(segmenter.channels), schema=segmenter.schema.to_dict())


def warm(request: WarmRequest, job: Job, kept: Kept) -> WarmResult:
    """Import what a network needs, so that the next job does not; open ``model`` if one is given."""
    job.progress("import", 0.0)
    version = devices.load_libraries(job.progress, request.model.startswith("totalsegmentator"))
    if request.model:
        kept.models.get(request.model)
    kept.tell_state()
    return WarmResult(torch=version, device=devices.kind_of("auto"))
