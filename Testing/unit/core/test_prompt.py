"""What prompts say, in voxels."""

from __future__ import annotations

import numpy as np
import pytest

from activeseg.core.errors import InputError
from activeseg.core.prompt import MOST_POINTS, Prompt, PromptKind


def voxels(kind: PromptKind, *points: tuple[int, int, int]) -> set[tuple[int, ...]]:
    found = Prompt(kind, "liver", points).voxels_kji()
    told = {tuple(voxel) for voxel in found.tolist()}
    assert len(told) == len(found), "each voxel once"
    return told


def test_a_scribble_has_no_gaps():
    found = voxels(PromptKind.SCRIBBLE, (2, 0, 0), (2, 3, 9), (5, 3, 9))
    assert {(2, 0, 0), (2, 3, 9), (5, 3, 9), (3, 3, 9), (4, 3, 9)} <= found
    assert len(found) == 10 + 3
    ordered = sorted(voxel for voxel in found if voxel[0] == 2)
    steps = np.abs(np.diff(np.array(ordered), axis=0)).max(axis=1)
    assert (steps == 1).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_lasso_holds_its_line_and_what_is_within_in_its_own_slice(axis: int):
    corners = [(0, 0), (0, 6), (4, 6), (4, 0)]
    points = [tuple(np.insert(corner, axis, 7).tolist()) for corner in corners]
    found = voxels(PromptKind.LASSO, *points)
    assert len(found) == 5 * 7
    assert {voxel[axis] for voxel in found} == {7}


def test_a_lasso_with_a_notch_leaves_the_notch_out():
    found = voxels(PromptKind.LASSO, (0, 0, 0), (0, 0, 8), (0, 8, 8), (0, 2, 4), (0, 8, 0))
    assert (0, 1, 4) in found
    assert (0, 6, 4) not in found


def test_a_box_holds_both_of_its_corners():
    assert len(voxels(PromptKind.BOX, (5, 1, 3), (3, 2, 3))) == 3 * 2 * 1


@pytest.mark.parametrize(
    ("kind", "points", "said"),
    [
        (PromptKind.POINT, [], "has 1 points"),
        (PromptKind.POINT, [(0, 0, 0), (1, 1, 1)], "has 1 points"),
        (PromptKind.LASSO, [(0, 0, 0), (0, 1, 1)], "3 to"),
        (PromptKind.LASSO, [(0, 0, 0), (1, 1, 1), (2, 0, 2)], "in no slice"),
        (PromptKind.BOX, [(0, 0, 0)], "has 2 points"),
        (PromptKind.SCRIBBLE, [(0, 0, 0)] * (MOST_POINTS + 1), "points"),
        (PromptKind.POINT, [(0, 0, -1)], "in no image"),
        (PromptKind.POINT, [(0, 0, 10**30)], "in no image"),
    ],
)
def test_a_prompt_that_cannot_be_one_is_refused(kind: PromptKind, points: list[tuple[int, int, int]], said: str):
    with pytest.raises(InputError, match=said):
        Prompt(kind, "liver", tuple(points))
