"""What each network of a TotalSegmentator task said, put together as the package puts together its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.ensemble import EnsembleResult
from activeseg.errors import ModelError
from activeseg.segmenters.base import Member
from activeseg.segmenters.nnunet import PreprocessedCase
from activeseg.volume import Geometry

LabelArray = npt.NDArray[Any]
FloatMap = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PartVotes:
    """What one network said about one piece of the image; arrays (k, j, i) of ``geometry``, values of the task."""

    geometry: Geometry
    labels: LabelArray
    members: tuple[Member, ...]
    votes: tuple[LabelArray, ...]
    entropy: FloatMap
    variance: FloatMap | None
    mutual_information: FloatMap | None
    voters: npt.NDArray[np.uint8] | None


def part_votes(case: PreprocessedCase, result: EnsembleResult, table: npt.NDArray[np.uint8]) -> PartVotes:
    """One network's answer in the values of the task (``table``: the network's own value -> the task's).

    It lies on the grid of the image that the network was given, where nnU-Net did not resample that itself.
    """
    own_grid = case.network_shape != case.cropped_shape

    def placed(array: npt.NDArray[Any] | None, outside: float) -> Any:
        return array if array is None or own_grid else placed_in_image(case, array, outside)

    return PartVotes(
        case.network_geometry if own_grid else case.image.geometry,
        placed(table[result.labels], 0),
        result.members,
        tuple(placed(table[vote], 0) for vote in result.votes),
        placed(result.entropy, np.nan),
        placed(result.variance, np.nan),
        placed(result.mutual_information, np.nan),
        placed(result.voters, 0),
    )


def placed_in_image(case: PreprocessedCase, array: npt.NDArray[Any], outside: float) -> npt.NDArray[Any]:
    """An array of the network's grid, which nnU-Net cropped but did not resample, in the image that it was given."""
    full = np.full(tuple(case.properties["shape_before_cropping"]), outside, array.dtype)
    full[tuple(slice(a, b) for a, b in case.properties["bbox_used_for_cropping"])] = array
    return np.ascontiguousarray(full.transpose(case.backward))


def merged(parts: Sequence[PartVotes]) -> PartVotes:
    """The parts of one image: labels as the package merges them (a later part wins), the largest of each measure."""
    first = parts[0]
    for part in parts[1:]:
        if part.members != first.members or not part.geometry.same_grid(first.geometry):
            raise ModelError("The part models of this task do not fit together: other folds or another spacing.")

    def over(maps: Sequence[LabelArray]) -> LabelArray:
        labels = maps[0].copy()
        for other in maps[1:]:
            np.copyto(labels, other, where=other != 0)
        return labels

    def largest(maps: Sequence[FloatMap | None]) -> FloatMap | None:
        found = [m for m in maps if m is not None]
        return np.fmax.reduce(found) if found else None

    if len(parts) == 1:
        return first
    entropy = largest([part.entropy for part in parts])
    assert entropy is not None
    return PartVotes(
        first.geometry,
        over([part.labels for part in parts]),
        first.members,
        tuple(over([part.votes[m] for part in parts]) for m in range(len(first.members))),
        entropy,
        largest([part.variance for part in parts]),
        largest([part.mutual_information for part in parts]),
        first.voters,
    )


def first_plane(pieces: Sequence[Path], number: int) -> int:
    """Where along z a piece of a split image begins; 0 for an image in one piece.

    ``nnUNet_predict_image`` cuts thirds T with margins M: [0, T + M), [T + 1 - M, 2 T + M), [2 T + 1 - M, end).
    """
    if number == 0:
        return 0
    import nibabel

    files: list[Any] = [nibabel.load(path) for path in pieces[:2]]
    third, margin = _cut([file.shape[2] for file in files])
    return number * third + 1 - margin


def _cut(lengths: Sequence[int]) -> tuple[int, int]:
    """(T, M) of a split, from the lengths of its first two pieces."""
    margin = lengths[1] - lengths[0] + 1
    return lengths[0] - margin, margin


def stitched(pieces: Sequence[PartVotes]) -> PartVotes:
    """The overlapping pieces of a split image, cut where ``nnUNet_predict_image`` cuts their labels."""
    first = pieces[0]
    _, margin = _cut([piece.labels.shape[0] for piece in pieces])
    inside = (slice(None, -margin), slice(margin - 1, -margin), slice(margin - 1, None))

    def joined(arrays: Sequence[npt.NDArray[Any] | None]) -> Any:
        found = [a[planes] for a, planes in zip(arrays, inside, strict=True) if a is not None]
        return np.concatenate(found) if found else None

    labels = joined([piece.labels for piece in pieces])
    return PartVotes(
        replace(first.geometry, shape_kji=labels.shape),
        labels,
        first.members,
        tuple(joined([piece.votes[m] for piece in pieces]) for m in range(len(first.members))),
        joined([piece.entropy for piece in pieces]),
        joined([piece.variance for piece in pieces]),
        joined([piece.mutual_information for piece in pieces]),
        joined([piece.voters for piece in pieces]),
    )
