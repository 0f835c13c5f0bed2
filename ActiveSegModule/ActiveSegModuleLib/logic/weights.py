"""What the user brings to TotalSegmentator: weights from a file, and a licence number. No widgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from activeseg.client.messages.models import LicenceRequest, WeightsRequest

from ..engine.asking import ask, tried
from ..engine.engine import Engine, OnError


class Weights:
    """Handed to the engine, which puts them where TotalSegmentator looks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, file: Path, on_result: Callable[[str], None], on_error: OnError) -> None:
        """Install a zip of weights; ``on_result`` gets the model's folder name."""
        request = WeightsRequest(file=file)
        tried(lambda: ask(self._engine, request, lambda result: on_result(result.model), on_error), on_error)

    def set_licence(self, number: str, on_result: Callable[[], None], on_error: OnError) -> None:
        """Keep the user's licence number."""
        request = LicenceRequest(number=number)
        tried(lambda: ask(self._engine, request, lambda _: on_result(), on_error), on_error)
