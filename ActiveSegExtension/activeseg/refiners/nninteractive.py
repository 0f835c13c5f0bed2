"""``nninteractive``: the original package answers prompts about one structure, on weights that the user brings.

It knows one object and background. Which voxels may follow it is decided as for every refiner (``question``); what
people said about other structures with points and scribbles is told to it as *not this*.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from activeseg.core.geometry import Box
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.core.segmenter import Settings
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.question import answer, question_of
from activeseg.review.alternatives import Alternative
from activeseg.segmenters.nninteractive.weights import standing

if TYPE_CHECKING:
    from activeseg.segmenters.nninteractive.session import InteractiveSession


class NnInteractiveRefiner:
    """See ``activeseg.refiners.base.Refiner``. Loaded with the first prompt, and kept with the CT that it looked at."""

    name = "nninteractive"

    def __init__(self) -> None:
        self._loaded: tuple[tuple[Any, ...], InteractiveSession] | None = None

    @property
    def warm_bytes(self) -> int:
        """Memory that stays taken between prompts."""
        return self._loaded[1].memory_bytes if self._loaded else 0

    def refine(
        self, case: RefinableCase, labels: npt.NDArray[Any], box_kji: Box, prompts: Sequence[Prompt]
    ) -> Alternative:
        """As ``Refiner.refine``.

        Raises
        ------
        ModelError
            The package or the weights are missing or unusable, or their licence is not confirmed.
        DeviceError
            The device is missing, or has too little memory.
        InputError
            As ``Refiner.refine``, or the weights know no such prompt.
        """
        asked = question_of(case, labels, box_kji, prompts)
        session = self._session(case.settings)
        found = session.answer(case.ct, labels == asked.value, box_kji, _told(prompts))
        part = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(asked.part_kji, box_kji, strict=True))
        return answer(case, labels, box_kji, asked, found[part], self.name)

    def _session(self, settings: Settings) -> InteractiveSession:
        """The session on the weights as they are now. Raises ModelError, DeviceError."""
        model = standing().required()
        files = (model.checkpoint.path, *(model.folder / name for name in ("plans.json", "inference_info.json")))
        mark = (model.folder, settings.device, settings.threads, *(_fingerprint(path) for path in files))
        if self._loaded is None or self._loaded[0] != mark:
            from activeseg.segmenters.nninteractive.session import InteractiveSession

            self._loaded = None  # two of them need not fit into memory
            self._loaded = (mark, InteractiveSession.load(model, settings.device, settings.threads))
        return self._loaded[1]


def _told(prompts: Sequence[Prompt]) -> list[tuple[Prompt, bool]]:
    """The prompts that say something about the structure of the last one, each with whether they are about it."""
    structure = prompts[-1].structure
    touching = (PromptKind.POINT, PromptKind.SCRIBBLE)
    return [
        (prompt, prompt.include and prompt.structure == structure)
        for prompt in prompts
        if prompt.structure == structure or (prompt.include and prompt.kind in touching)
    ]


def _fingerprint(path: Path) -> tuple[int, int] | None:
    found = path.stat() if path.is_file() else None
    return (found.st_size, found.st_mtime_ns) if found else None
