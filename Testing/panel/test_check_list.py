"""Lists to tick, as Qt makes them: an item without a check state has no box, whatever its flags say."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6 import QtWidgets

NAMES = ["kidney_left", "kidney_right", "liver", "spleen"]


@pytest.fixture
def made(slicer_core: Any) -> tuple[Any, Any, Any, list[int]]:
    from ActiveSegModuleLib.panel.check_list import CheckList

    search, widget, told = QtWidgets.QLineEdit(), QtWidgets.QListWidget(), []
    check_list = CheckList(search, widget, lambda: told.append(1))
    check_list.fill(NAMES, ["liver"])
    return check_list, search, widget, told


def test_every_item_has_a_box_ticked_or_not(made: Any) -> None:
    import qt

    _, _, widget, _ = made
    items = [widget.item(row) for row in range(widget.count)]
    assert all(item.flags() & qt.Qt.ItemIsUserCheckable for item in items)
    assert all(item.data(qt.Qt.CheckStateRole) is not None for item in items)
    assert [item.checkState() == qt.Qt.Checked for item in items] == [False, False, True, False]


def test_a_click_on_a_box_is_told_and_filling_is_not(made: Any) -> None:
    import qt

    check_list, _, widget, told = made
    assert told == []
    widget.item(0).setCheckState(qt.Qt.Checked)
    assert told == [1]
    assert check_list.ticked == ["kidney_left", "liver"]
    check_list.fill(NAMES, [])
    assert told == [1]
    assert check_list.ticked == []


def test_what_the_search_field_hides_is_known(made: Any) -> None:
    check_list, search, widget, _ = made
    search.text = "kid"
    assert check_list.shown == ["kidney_left", "kidney_right"]
    assert [widget.item(row).isHidden() for row in range(widget.count)] == [False, False, True, True]
