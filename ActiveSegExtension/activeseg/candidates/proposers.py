"""Who proposes labels: a model with its members, or another program without any."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from activeseg.candidates.rule import DEFAULT_RULE, Proposal, Rule
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.label_map import smallest_dtype
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import to_json
from activeseg.core.segmenter import Segmenter, Settings
from activeseg.core.uncertainty_scale import ENTROPY_UNIT
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Segmented
from activeseg.review.uncertainty import structure_agreement
from activeseg.system.regular_files import open_regular


class Proposer(Protocol):
    """Makes a proposal for one case after the other."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the images that it needs."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """JSON-ready: what, besides its name, its proposals depend on."""
        ...

    def propose(self, images: Mapping[str, Volume], old: Volume, schema: LabelSchema, progress: Progress) -> Proposal:
        """Look at one case; ``images`` for each of ``channels``, ``old`` its label map of ``schema``, on one grid.

        Raises
        ------
        InputError, ModelError, DeviceError, Cancelled
        """
        ...


class ModelProposer(Proposer):
    """A segmenter, whose members vote."""

    def __init__(
        self,
        segmenter: Segmenter,
        settings: Settings,
        schema: LabelSchema,
        structures: Sequence[str] = (),
        rule: Rule = DEFAULT_RULE,
    ) -> None:
        """
        Parameters
        ----------
        schema
            Of the old labels.
        structures
            Which of them to look for; empty means all that the model knows.

        Raises
        ------
        InputError
            A structure is not in the labels, or the model does not know it, or it knows none of them.
        ModelError, DeviceError
            The model cannot run.
        """
        known = [name for name in schema.names if name in segmenter.schema.names]
        for name in structures:
            schema.named(name)
            if name not in known:
                raise InputError(
                    f"The model '{segmenter.name}' does not know the structure '{name}'.",
                    f"It knows {', '.join(known[:10]) or 'none'} of those in the labels.",
                    setting="structures",
                )
        self._wanted = tuple(name for name in known if name in structures or not structures)
        if not self._wanted:
            raise InputError(
                f"The model '{segmenter.name}' knows none of the structures {', '.join(schema.names[:5])}.",
                "Choose a model that has structures of the same names.",
                setting="model",
            )
        everything = set(self._wanted) == set(segmenter.schema.names)
        self._settings = replace(settings, structures=() if everything else self._wanted)
        self._segmenter = segmenter
        self._rule = rule
        segmenter.check(self._settings)
        self._weights = fingerprint(segmenter.files)

    @property
    def name(self) -> str:
        return self._segmenter.name

    @property
    def channels(self) -> tuple[str, ...]:
        return self._segmenter.channels

    @property
    def settings(self) -> Mapping[str, Any]:
        chosen = {**to_json(self._settings), "structures": list(self._wanted)}
        # On which device, and with how many threads, is no reason to do a case again.
        left_out = ("device", "threads", "offload", "usage_statistics")
        return {key: value for key, value in chosen.items() if key not in left_out} | {"weights_sha256": self._weights}

    def propose(self, images: Mapping[str, Volume], old: Volume, schema: LabelSchema, progress: Progress) -> Proposal:
        segmented = self._segmenter.segment(images, self._settings, progress)
        return proposal_of(segmented, old.geometry, schema, self._wanted, self._rule)


def proposal_of(
    segmented: Segmented, ct: Geometry, schema: LabelSchema, structures: Sequence[str], rule: Rule = DEFAULT_RULE
) -> Proposal:
    """What a model and its members say, in the values of ``schema`` and on the CT's grid.

    Parameters
    ----------
    structures
        Those of both schemas that were looked for; others of the model are background.
    """
    grid = segmented.grid
    table = np.zeros(segmented.schema.ignore_value + 1, smallest_dtype(schema.ignore_value))
    for name in structures:
        table[segmented.schema.named(name).value] = schema.named(name).value
    labels = table[segmented.labels]
    votes = [table[vote] for vote in grid.votes]
    dice = structure_agreement(votes, len(schema) + 1)
    agreement = {name: dice[schema.named(name).value - 1] for name in structures}
    return Proposal(
        labels,
        _sure(grid, table[grid.labels], votes, labels, ct, len(segmented.schema), rule.least_probability),
        {name: None if math.isnan(value) else round(float(value), 4) for name, value in agreement.items()},
        len(grid.members),
        max(grid.geometry.spacing_xyz),
    )


def _sure(
    grid: GridVotes,
    grid_labels: npt.NDArray[Any],
    votes: Sequence[npt.NDArray[Any]],
    labels: npt.NDArray[Any],
    ct: Geometry,
    structures: int,
    least_probability: float,
) -> npt.NDArray[np.bool_]:
    """Where all members, and the label map on the CT's grid, say the same, and the entropy leaves no room for doubt.

    Of all distributions whose highest probability is p, the one over two classes has the least entropy. So where the
    entropy is below that of p and 1 - p, the highest probability is above p.
    """
    highest = -sum(p * math.log(p) for p in (least_probability, 1 - least_probability) if p > 0)
    regions = structures if grid.entropy_bound == ENTROPY_UNIT else 1  # a mean over them: its sum bounds each
    with np.errstate(invalid="ignore"):
        sure = grid.entropy * np.float32(grid.entropy_bound * regions) < highest
    for vote in votes:
        sure &= vote == grid_labels
    if grid.voting is not None:
        sure &= grid.voting == len(grid.members)
    told = np.where(sure, grid_labels.astype(np.uint16) + 1, 0).astype(np.uint16)
    there = Volume(told, grid.geometry).resample_labels_to(ct, may_miss=True).array
    return np.asarray(there == labels.astype(np.uint16) + 1)


def fingerprint(files: Sequence[Path]) -> str:
    """SHA-256 of the files that a model is made of; empty where it names none."""
    digest = hashlib.sha256()
    for path in files:
        with open_regular(path) as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest() if files else ""
