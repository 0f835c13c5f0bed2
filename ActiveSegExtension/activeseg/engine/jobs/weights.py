"""The jobs about what TotalSegmentator needs and the user may bring himself: weights from a file, a licence number."""

from __future__ import annotations

from typing import Any

from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.worker import Job
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.weights_import import import_weights, store_licence


def add(job: Job, kept: Kept) -> dict[str, Any]:
    """Put the weights in a zip where TotalSegmentator looks for them."""
    with job.params as params:
        file = params.path("file")
    user = UserHome.of_environment()
    model = import_weights(file, user, job.progress)
    return {"model": model.dataset, "folder": str(user.weights / model.dataset)}


def licence(job: Job, kept: Kept) -> dict[str, Any]:
    """Keep the user's licence number."""
    with job.params as params:
        number = params.text("number")
    store_licence(number, UserHome.of_environment())
    return {}
