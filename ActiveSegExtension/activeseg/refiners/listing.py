"""Which refiners there are, and whether each can answer here; what the user chooses and confirms for them."""

from __future__ import annotations

from pathlib import Path

from activeseg.core.errors import InputError
from activeseg.core.refiner_info import RefinerInfo
from activeseg.refiners.choosing import NNINTERACTIVE
from activeseg.segmenters.nninteractive import weights
from activeseg.segmenters.nninteractive.weights import Readiness, Standing


def list_refiners() -> tuple[RefinerInfo, ...]:
    """All of them, with what is missing for each. Nothing is loaded."""
    ready = str(Readiness.READY)
    return (
        RefinerInfo("walker", "Random walk through the image, guided by the model's ensemble", ready),
        RefinerInfo("features", "What the model's network saw at the prompts; for models with a network", ready),
        _told(weights.standing()),
    )


def choose_weights(name: str, folder: Path) -> RefinerInfo:
    """Use the weights in a folder, which stay there. Raises ModelError, InputError for a refiner that has none."""
    _check(name)
    return _told(weights.choose(folder))


def confirm_licence(name: str, sha256: str) -> RefinerInfo:
    """The user confirms the licence with this check sum. Raises InputError, ModelError."""
    _check(name)
    return _told(weights.confirm(sha256))


def _check(name: str) -> None:
    if name != NNINTERACTIVE:
        raise InputError(f"The refiner '{name}' has no weights to choose.", f"'{NNINTERACTIVE}' has.")


def _told(found: Standing) -> RefinerInfo:
    licence = found.licence
    return RefinerInfo(
        NNINTERACTIVE,
        "nnInteractive, on weights that you bring",
        str(found.state),
        found.problem,
        found.action,
        str(found.folder),
        licence.name if licence else "",
        licence.text if licence else "",
        licence.sha256 if licence else "",
    )
