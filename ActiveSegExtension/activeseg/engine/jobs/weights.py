"""The jobs about what TotalSegmentator needs and the user may bring himself: weights from a file, a licence number."""

from __future__ import annotations

from activeseg.client.messages.models import LicenceRequest, WeightsRequest, WeightsResult
from activeseg.client.messages.request import Nothing
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.worker import Job
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.weights_import import import_weights, store_licence


def add(request: WeightsRequest, job: Job, kept: Kept) -> WeightsResult:
    """Put the weights in a zip where TotalSegmentator looks for them."""
    user = UserHome.of_environment()
    model = import_weights(request.file, user, job.progress)
    return WeightsResult(model=model.dataset, folder=user.weights / model.dataset)


def licence(request: LicenceRequest, job: Job, kept: Kept) -> Nothing:
    """Keep the user's licence number."""
    store_licence(request.number, UserHome.of_environment())
    return Nothing()
