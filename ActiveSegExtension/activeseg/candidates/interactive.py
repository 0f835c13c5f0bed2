"""nnInteractive as a proposer: each structure's old outline, refined without a prompt. It has no members."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.candidates.proposers import Proposer, fingerprint
from activeseg.candidates.rule import Proposal
from activeseg.core.errors import InputError
from activeseg.core.geometry import Box, slices_of
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume

NAME = "nninteractive"
AROUND_MM = 20.0
"""How far beyond its old outline a structure may grow."""


class InteractiveProposer(Proposer):
    """The original nnInteractive on the user's weights, one structure after the other.

    Nothing agrees with it, so that all it proposes is listed and nothing changes without a person. A structure only
    gains voxels that are background; what it leaves becomes background.
    """

    name = NAME

    def __init__(self, schema: LabelSchema, settings: Settings, structures: Sequence[str] = ()) -> None:
        """
        Parameters
        ----------
        schema
            Of the old labels.
        structures
            Which of them to refine; empty means all.

        Raises
        ------
        InputError
            A structure is not in the labels, or a number of members was chosen.
        ModelError
            Its weights are not there, or their licence is not confirmed.
        """
        from activeseg.segmenters.nninteractive.weights import read_licence, standing

        if settings.members != "auto":
            raise InputError(f"'{NAME}' has no members.", "Leave their number out.", setting="members")
        self._wanted = tuple(name for name in schema.names if name in structures or not structures)
        for name in structures:
            schema.named(name)
        self._model = standing().required()
        self._session: Any = None
        self._device, self._threads = settings.device, settings.threads
        self._settings = {
            "structures": list(self._wanted),
            "weights_sha256": fingerprint([self._model.checkpoint.path]),
            "weights_licence": read_licence(self._model).name,
        }

    @property
    def channels(self) -> tuple[str, ...]:
        return ("CT",)

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._settings

    def propose(self, images: Mapping[str, Volume], old: Volume, schema: LabelSchema, progress: Progress) -> Proposal:
        from activeseg.segmenters.nninteractive.session import InteractiveSession

        if self._session is None:
            progress("load", 0.0, NAME)
            self._session = InteractiveSession.load(self._model, self._device, self._threads)
        ct = images["CT"]
        labels = old.array.copy()
        for number, name in enumerate(self._wanted):
            progress("refine", number / len(self._wanted), name)
            value = schema.named(name).value
            box = _around(old.array == value, old.geometry.spacing_xyz[::-1])
            if box is None:
                continue
            near = slices_of(box)
            found = self._session.answer(ct, old.array[near] == value, box, ())
            here = labels[near]
            here[(here == value) & ~found] = 0
            here[(here == 0) & (old.array[near] == 0) & found] = value
        spacing = max(old.geometry.spacing_xyz)
        nothing = np.zeros(labels.shape, bool)
        return Proposal(labels, nothing, dict.fromkeys(self._wanted), 1, spacing)


def _around(mask: npt.NDArray[np.bool_], spacing_kji: Sequence[float]) -> Box | None:
    """A box around a mask, with a margin as far as the grid reaches; None for an empty one."""
    at = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(at[0]):
        return None
    margins = [math.ceil(AROUND_MM / spacing) for spacing in spacing_kji]
    k, j, i = (
        (max(0, int(found[0]) - margin), min(length, int(found[-1]) + 1 + margin))
        for found, margin, length in zip(at, margins, mask.shape, strict=True)
    )
    return k, j, i
