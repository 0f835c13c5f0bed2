"""What can answer prompts: the list, and the weights that the user chooses and whose licence is confirmed."""

from __future__ import annotations

from activeseg.client.messages.refiners import (
    ChooseWeightsRequest,
    ConfirmLicenceRequest,
    RefinersRequest,
    RefinersResult,
)
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.worker import Job
from activeseg.refiners.listing import choose_weights, confirm_licence, list_refiners


def list_all(request: RefinersRequest, job: Job, kept: Kept) -> RefinersResult:
    """Every refiner, with what is missing for it."""
    return RefinersResult(refiners=list_refiners())


def add(request: ChooseWeightsRequest, job: Job, kept: Kept) -> RefinersResult:
    """Use the weights in a folder."""
    choose_weights(request.name, request.folder)
    return RefinersResult(refiners=list_refiners())


def confirm(request: ConfirmLicenceRequest, job: Job, kept: Kept) -> RefinersResult:
    """Keep the user's confirmation."""
    confirm_licence(request.name, request.licence_sha256)
    return RefinersResult(refiners=list_refiners())
