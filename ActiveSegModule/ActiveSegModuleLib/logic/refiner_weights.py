"""The weights that the user brings for nnInteractive: their folder, and the licence to confirm. No widgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from activeseg.client.messages.refiners import (
    ChooseWeightsRequest,
    ConfirmLicenceRequest,
    RefinersRequest,
    RefinersResult,
)
from activeseg.core.refiner_info import RefinerInfo

from ..engine.asking import ask, tried
from ..engine.engine import Engine, OnError

NAME = "nninteractive"
OnInfo = Callable[[RefinerInfo], None]


class RefinerWeights:
    """Asked of the engine, which looks at the folder and keeps what the user confirmed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def refresh(self, on_result: OnInfo, on_error: OnError) -> None:
        """Ask how nnInteractive stands."""
        request = RefinersRequest()
        tried(lambda: ask(self._engine, request, _passing(on_result), on_error), on_error)

    def choose(self, folder: Path, on_result: OnInfo, on_error: OnError) -> None:
        """Use the weights in a folder."""
        request = ChooseWeightsRequest(name=NAME, folder=folder)
        tried(lambda: ask(self._engine, request, _passing(on_result), on_error), on_error)

    def confirm(self, licence_sha256: str, on_result: OnInfo, on_error: OnError) -> None:
        """Confirm the licence that was shown."""
        request = ConfirmLicenceRequest(name=NAME, licence_sha256=licence_sha256)
        tried(lambda: ask(self._engine, request, _passing(on_result), on_error), on_error)


def _passing(on_result: OnInfo) -> Callable[[RefinersResult], None]:
    def passed(result: RefinersResult) -> None:
        for refiner in result.refiners:
            if refiner.name == NAME:
                on_result(refiner)

    return passed
