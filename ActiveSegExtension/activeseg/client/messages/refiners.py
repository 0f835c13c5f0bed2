"""Messages about what can answer prompts, and about the weights that the user brings for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from activeseg.client.messages.request import TypedRequest
from activeseg.core.refiner_info import RefinerInfo


@dataclass(frozen=True, kw_only=True)
class RefinersResult:
    """All refiners, and what is missing for each."""

    refiners: tuple[RefinerInfo, ...]


@dataclass(frozen=True, kw_only=True)
class RefinersRequest(TypedRequest[RefinersResult], method="refiners.list"):
    """List what can answer prompts."""


@dataclass(frozen=True, kw_only=True)
class ChooseWeightsRequest(TypedRequest[RefinersResult], method="refiners.add"):
    """Use a refiner's weights in a folder, which stay there; their licence may have to be confirmed.

    Attributes
    ----------
    name
        The refiner: ``nninteractive``.
    """

    name: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class ConfirmLicenceRequest(TypedRequest[RefinersResult], method="refiners.confirm"):
    """The user has read the licence of a refiner's weights and confirms it.

    Attributes
    ----------
    name
        The refiner: ``nninteractive``.
    licence_sha256
        Of the text that was shown (``RefinerInfo``); where the weights have another one by now, it is an error.
    """

    name: str
    licence_sha256: str
