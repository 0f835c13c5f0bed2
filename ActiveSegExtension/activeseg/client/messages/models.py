"""Messages about what TotalSegmentator needs and the user may bring: weights from a file, a licence number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from activeseg.client.messages.request import Nothing, TypedRequest


@dataclass(frozen=True, kw_only=True)
class WeightsResult:
    """The model whose weights these are, and where they lie now."""

    model: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class WeightsRequest(TypedRequest[WeightsResult], method="weights.add"):
    """Take the zip file of one of TotalSegmentator's models."""

    file: Path


@dataclass(frozen=True, kw_only=True)
class LicenceRequest(TypedRequest[Nothing], method="licence.set"):
    """Keep TotalSegmentator's licence number in its configuration; nothing is sent."""

    number: str
