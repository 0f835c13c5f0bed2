"""What the engine's processes keep from job to job: warm models, what runs took, and the votes of the last case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from activeseg.engine.planning.calibration import Calibration
from activeseg.engine.worker import devices
from activeseg.engine.worker.warm import WarmModels

if TYPE_CHECKING:  # the clerk keeps none, and starts sooner without its imports
    from activeseg.core.volume import Volume
    from activeseg.corrections.live_case import LiveCase
    from activeseg.predictions.prediction import Prediction
    from activeseg.refiners.spreading import Spread

Tell = Callable[..., None]


@dataclass(frozen=True)
class Keeping:
    """What this process may keep and use; see ``activeseg.client.launch.EngineOptions``."""

    home: Path
    warm_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class Voted:
    """What the members said about the last case, for another list of regions and for prompts; ``draft`` tells which
    case it is."""

    draft: Path
    prediction: Prediction
    images: Mapping[str, Volume]

    @property
    def body_mm3(self) -> float:
        """Volume of the body, which limits the boxes of regions."""
        from activeseg.review.regions import body_volume_mm3

        return body_volume_mm3(next(iter(self.images.values())))


@dataclass
class Session:
    """The case that prompts are about, and the last proposal for the rest of it."""

    id: str
    case: LiveCase
    draft: Path | None
    proposal: Spread | None = None


@dataclass
class Kept:
    """What stays between jobs; ``tell`` goes to the supervisor."""

    models: WarmModels
    calibration: Calibration
    memory_limit: int
    tell: Tell
    rate: float | None = None
    voted: Voted | None = None
    session: Session | None = None

    def tell_state(self) -> None:
        """What only this process knows: the devices that torch sees, and which models are warm."""
        self.tell(devices=devices.seen(), warm=list(self.models.names), torch=devices.torch_version())


def keep(keeping: Keeping, tell: Tell) -> Kept:
    """Made once for each process."""
    calibration = Calibration(keeping.home / "calibration.json")
    return Kept(WarmModels(keeping.warm_bytes), calibration, keeping.memory_bytes, tell)
