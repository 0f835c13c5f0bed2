"""What every refiner is: it turns prompts in a box into an alternative labelling of that box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Box
from activeseg.core.labels import LabelSchema
from activeseg.core.prompt import Prompt
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes
from activeseg.review.alternatives import Alternative


@dataclass(frozen=True, eq=False)
class RefinableCase:
    """What a refiner may look at.

    Attributes
    ----------
    ct
        The whole CT, HU. Boxes and label maps are on its grid.
    schema
        Of the label maps.
    votes
        What the model says at least within the box that is refined, with its decoder features where it has them.
    settings
        Where a refiner's own network runs: the device and the threads.
    """

    ct: Volume
    schema: LabelSchema
    votes: GridVotes
    settings: Settings = field(default_factory=Settings)


class Refiner(Protocol):
    """Answers prompts; chosen by its name (``walker``, ``features``, ``nninteractive``)."""

    @property
    def name(self) -> str: ...

    def refine(
        self, case: RefinableCase, labels: npt.NDArray[Any], box_kji: Box, prompts: Sequence[Prompt]
    ) -> Alternative:
        """The labels of a box after all prompts so far, the last of which is new.

        Parameters
        ----------
        labels
            (k, j, i) over the box, as they are now.
        box_kji
            Half-open index ranges on the CT's grid; nothing outside of it changes.
        prompts
            In the order in which they were given, at least one. The structure of the last one is what may change.

        Returns
        -------
        Alternative
            Its ``changed`` voxels are free ones, which the structure gains, or its own, which become background.
            ``members`` holds the refiner's name and ``votes`` is 0.

        Raises
        ------
        InputError
            A structure is unknown, a point lies outside of the box, or the refiner cannot look at this case.
        """
        ...


def free_voxels(
    labels: npt.NDArray[Any], value: int, meant: Sequence[npt.NDArray[np.bool_]], structures: int
) -> npt.NDArray[np.bool_]:
    """Where a structure may gain, (k, j, i) bool: a click must not take voxels of its neighbours.

    Background is free. So is another structure where a person says that voxels of it belong to this one: it has at
    least a third of a prompt's voxels. Under a click that is the structure which the person says is wrong there; one
    that a scribble, lasso or box only grazes is not.

    Parameters
    ----------
    labels
        As they are now.
    value
        Of the structure that gains.
    meant
        For each prompt that says where the structure is, its voxels as a mask.
    structures
        How many structures there are; higher values (``ignore``) are never free.
    """
    free = labels == 0
    for mask in meant:
        under = labels[mask]
        for other in np.unique(under[(under != value) & (under <= structures)]):
            if 3 * np.count_nonzero(under == other) >= len(under):
                free |= labels == other
    return np.asarray(free)
