"""What each network of a TotalSegmentator task said, put together as the package puts together its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import ModelError
from activeseg.core.votes import GridVotes
from activeseg.segmenters.nnunet.case import PreprocessedCase
from activeseg.segmenters.nnunet.ensemble import EnsembleResult
from activeseg.segmenters.nnunet.features import decoder_features

LabelArray = npt.NDArray[Any]
FloatMap = npt.NDArray[np.float32]


def part_votes(case: PreprocessedCase, result: EnsembleResult, table: npt.NDArray[np.uint8]) -> GridVotes:
    """One network's answer in the values of the task (``table``: the network's own value -> the task's).

    It lies on the grid of the image that the network was given, where nnU-Net did not resample that itself.
    """
    own_grid = case.network_shape != case.cropped_shape

    def placed(array: npt.NDArray[Any] | None, outside: float) -> Any:
        return array if array is None or own_grid else placed_in_image(case, array, outside)

    return GridVotes(
        geometry=case.network_geometry if own_grid else case.image.geometry,
        labels=placed(table[result.labels], 0),
        members=result.members,
        votes=tuple(placed(table[vote], 0) for vote in result.votes),
        entropy=placed(result.entropy, np.nan),
        variance=placed(result.variance, np.nan),
        mutual_information=placed(result.mutual_information, np.nan),
        voting=placed(result.voting, 0),
        entropy_bound=result.entropy_bound,
        features=decoder_features(result.features, case.network_geometry, table),
    )


def keeping(votes: GridVotes, keep: npt.NDArray[np.uint8]) -> GridVotes:
    """The same without some structures (``keep``: value -> the same value, or 0)."""
    return replace(
        votes,
        labels=keep[votes.labels],
        votes=tuple(keep[vote] for vote in votes.votes),
        features=tuple(replace(part, values=keep[part.values]) for part in votes.features),
    )


def placed_in_image(case: PreprocessedCase, array: npt.NDArray[Any], outside: float) -> npt.NDArray[Any]:
    """An array of the network's grid, which nnU-Net cropped but did not resample, in the image that it was given."""
    full = np.full(tuple(case.properties["shape_before_cropping"]), outside, array.dtype)
    full[tuple(slice(a, b) for a, b in case.properties["bbox_used_for_cropping"])] = array
    return np.ascontiguousarray(full.transpose(case.backward))


def merged(parts: Sequence[GridVotes]) -> GridVotes:
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

    bound = max(part.entropy_bound for part in parts)
    entropy = largest([part.entropy * np.float32(part.entropy_bound / bound) for part in parts])
    assert entropy is not None
    return replace(
        first,
        labels=over([part.labels for part in parts]),
        votes=tuple(over(maps) for maps in zip(*(part.votes for part in parts), strict=True)),
        entropy=entropy,
        entropy_bound=bound,
        variance=largest([part.variance for part in parts]),
        mutual_information=largest([part.mutual_information for part in parts]),
        features=tuple(features for part in parts for features in part.features),
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


def stitched(pieces: Sequence[GridVotes]) -> GridVotes:
    """The overlapping pieces of a split image, cut where ``nnUNet_predict_image`` cuts their labels; without features,
    which are as many as were too many for one piece."""
    first = pieces[0]
    _, margin = _cut([piece.labels.shape[0] for piece in pieces])
    inside = (slice(None, -margin), slice(margin - 1, -margin), slice(margin - 1, None))

    def joined(arrays: Sequence[npt.NDArray[Any] | None]) -> Any:
        found = [a[planes] for a, planes in zip(arrays, inside, strict=True) if a is not None]
        return np.concatenate(found) if found else None

    labels = joined([piece.labels for piece in pieces])
    return GridVotes(
        geometry=replace(first.geometry, shape_kji=labels.shape),
        labels=labels,
        members=first.members,
        votes=tuple(joined(maps) for maps in zip(*(piece.votes for piece in pieces), strict=True)),
        entropy=joined([piece.entropy for piece in pieces]),
        variance=joined([piece.variance for piece in pieces]),
        mutual_information=joined([piece.mutual_information for piece in pieces]),
        voting=joined([piece.voting for piece in pieces]),
        entropy_bound=first.entropy_bound,
    )
