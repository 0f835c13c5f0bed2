"""What is unusual about a structure's shape stands above the list of regions, and one click goes there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaded_cases import load_ct, make_case, pump
from pictures_checks import findings
from pictures_look import ROOMS, Theme, dress, grab, place
from user import User, until

from activeseg.core.records import to_json
from activeseg.core.shapes import ShapeFeature, ShapeWarning

CENTER = (12.5, -8.0, 31.25)
PIECES = ShapeWarning("spleen", ShapeFeature.PIECES, 2.0, (1.0, 1.0), CENTER)
VOLUME = ShapeWarning("liver", ShapeFeature.VOLUME, 12.0, (150.2, 209.7), (1.0, 2.0, 3.0))
SOLIDITY = ShapeWarning("liver", ShapeFeature.SOLIDITY, 0.41, (0.63, 0.75), (4.0, 5.0, 6.0))


def opened(user: User, *warnings: ShapeWarning, **record: Any) -> Any:
    made = make_case(user, load_ct(user, "CT"), "case", **{"warnings": to_json(warnings), **record})
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made)
    pump()
    return made


def entries(user: User) -> list[Any]:
    return list(user.widget.panel.review.shapes.menu.actions())


def middles(user: User) -> list[Any]:
    """Where the slice views are centred, RAS."""
    from ActiveSegModuleLib.scene.views import slice_nodes

    matrices = [node.GetSliceToRAS() for node in slice_nodes(user.core.scene)]
    return [[matrix.GetElement(row, 3) for row in range(3)] for matrix in matrices]


def test_one_structure_is_named_and_what_is_unusual_is_in_the_menu(user: User) -> None:
    opened(user, PIECES)
    assert user.ui.shapesButton.isVisibleTo(user.ui.listFace)
    assert user.ui.shapesButton.text == "Unusual: spleen"
    assert [entry.text for entry in entries(user)] == ["spleen: two pieces"]


def test_several_structures_are_counted(user: User) -> None:
    opened(user, PIECES, VOLUME, SOLIDITY)
    assert user.ui.shapesButton.text == "Unusual: 2 structures"
    assert [entry.text for entry in entries(user)] == [
        "spleen: two pieces",
        "liver: 12 mL instead of 150 to 210 mL",
        "liver: solidity 0.41 instead of 0.63 to 0.75",
    ]


def test_a_choice_goes_there_in_all_views_and_changes_no_region(user: User) -> None:
    case = opened(user, PIECES)
    before = (user.logic.review.current, user.logic.review.rows(), case.record)
    entries(user)[0].trigger()
    assert middles(user) == [pytest.approx(CENTER)] * len(middles(user))
    assert len(middles(user)) >= 3
    assert (user.logic.review.current, user.logic.review.rows(), case.record) == before


def test_it_goes_where_the_ct_was_moved_to(user: User) -> None:
    case = opened(user, PIECES)
    shift = np.eye(4)
    shift[:3, 3] = 10, 20, 30
    transform = user.core.add_transform(shift)
    case.ct_node.SetAndObserveTransformNodeID(transform.GetID())
    entries(user)[0].trigger()
    assert middles(user)[0] == pytest.approx(np.add(CENTER, (10, 20, 30)))


@pytest.mark.parametrize("warnings", [[], 3, [{"structure": "spleen"}], [{**to_json(PIECES), "structure": "nobody's"}]])
def test_without_anything_to_say_there_is_no_button(user: User, warnings: Any) -> None:
    opened(user, warnings=warnings)
    assert not user.ui.shapesButton.isVisibleTo(user.ui.listFace)
    assert user.logic.review.current == 1


def test_a_ct_that_was_removed_takes_the_button_along(user: User) -> None:
    case = opened(user, PIECES)
    user.core.scene.RemoveNode(case.ct_node)
    until(lambda: not user.ui.shapesButton.isVisibleTo(user.ui.listFace))


@pytest.mark.parametrize("theme", Theme)
def test_it_can_be_read_and_fits(application: Any, user: User, tmp_path: Path, theme: Theme) -> None:
    dress(application, theme)
    opened(user, PIECES, VOLUME, SOLIDITY)
    wrong = {}
    for room in ROOMS:
        place(user.module.parent, room)
        grab(user.module.parent, tmp_path / f"{room.name}_{theme.value}.png")
        wrong[room.name] = findings(user.module.parent, room)
    dress(application, Theme.LIGHT)
    assert not any(wrong.values()), wrong
