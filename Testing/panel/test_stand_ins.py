"""The stand-ins of Slicer's widgets have the sizes that were measured in Slicer, and do what Slicer's do."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import ctk_widgets as ctk
import mrml_widgets as mrml
import numpy as np
import pytest
import slicer
from pictures_look import Room, place
from PySide6 import QtCore, QtWidgets
from scene_cases import make_case

from ActiveSegModuleLib.scene.labelmap import image_of
from ActiveSegModuleLib.scene.placement import ijk_to_ras

MEASURED = {
    mrml.qMRMLNodeComboBox: ((163, 26), None),
    ctk.ctkSliderWidget: ((149, 27), 77),
    ctk.ctkDoubleSlider: ((84, 15), 12),
    ctk.ctkRangeWidget: ((214, 27), 142),
    ctk.ctkPathLineEdit: ((53, 26), None),
    ctk.ctkSearchBox: ((125, 26), 43),
    ctk.ctkCheckableComboBox: ((79, 26), None),
    mrml.qMRMLSegmentationShow3DButton: ((115, 30), 128),
    mrml.qMRMLSegmentsTableView: ((256, 192), 71),
    ctk.ctkFittedTextBrowser: ((640, 28), None),
}


@pytest.fixture
def host(slicer_core: Any) -> Iterator[QtWidgets.QWidget]:
    widget = QtWidgets.QWidget()
    QtWidgets.QVBoxLayout(widget).setContentsMargins(0, 0, 0, 0)
    yield widget
    widget.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


@pytest.mark.parametrize("kind", MEASURED, ids=lambda kind: kind.__name__)
def test_a_widget_asks_for_what_it_asks_for_in_slicer(host: Any, kind: Any) -> None:
    widget, (hint, least) = kind(), MEASURED[kind]
    host.layout().addWidget(widget)
    assert widget.property("sizeHint").toTuple() == hint
    if least is not None:
        assert widget.property("minimumSizeHint").width() == least


@pytest.mark.parametrize(
    ("kind", "collapsed", "frame"), [(ctk.ctkCollapsibleButton, 40, 34), (ctk.ctkCollapsibleGroupBox, 34, 39)]
)
def test_a_folding_widget_hides_what_is_in_it(host: Any, kind: Any, collapsed: int, frame: int) -> None:
    widget = kind()
    host.layout().addWidget(widget)
    shown, hidden = QtWidgets.QPushButton("shown"), QtWidgets.QPushButton("hidden")
    inner = QtWidgets.QVBoxLayout(widget)
    inner.addWidget(shown)
    inner.addWidget(hidden)
    hidden.hide()
    place(host, Room("test", 300, 300))
    assert widget.property("sizeHint").height() == inner.sizeHint().height() + frame
    widget.collapsed = True
    assert widget.property("sizeHint").height() == collapsed
    assert not shown.isVisible()
    hidden.show()  # by code that does not know whether all of this is folded
    assert not hidden.isVisible()
    widget.collapsed = False
    assert hidden.isVisible()
    assert shown.isVisible()


def test_a_slider_stays_within_its_ends_and_its_parts_follow(host: Any) -> None:
    slider, heard = ctk.ctkSliderWidget(), []
    host.layout().addWidget(slider)
    slider.valueChanged.connect(heard.append)
    slider.minimum, slider.maximum = 0.0, 1.0
    slider.value = 0.25
    assert slider.findChild(QtWidgets.QDoubleSpinBox).value == 0.25
    assert slider.findChild(QtWidgets.QSlider).value == 250
    slider.findChild(QtWidgets.QDoubleSpinBox).setValue(0.5)
    slider.setValue(7.0)
    assert heard == [0.25, 0.5, 1.0]


def test_an_unknown_attribute_of_a_widget_raises(slicer_core: Any) -> None:
    label = QtWidgets.QLabel()
    with pytest.raises(AttributeError):
        label.texts = "a typing error"
    with pytest.raises(AttributeError):
        ctk.ctkSliderWidget().maximumm = 3


def test_an_empty_layout_is_false_as_in_pythonqt(slicer_core: Any) -> None:
    widget = QtWidgets.QWidget()
    layout = QtWidgets.QVBoxLayout(widget)
    assert not layout
    layout.addWidget(QtWidgets.QLabel())
    assert layout


def test_a_node_selector_shows_the_name_of_its_node(host: Any, slicer_core: Any) -> None:
    selector = mrml.qMRMLNodeComboBox()
    selector.setProperty("nodeTypes", ["vtkMRMLSegmentationNode"])
    selector.setMRMLScene(slicer_core.scene)
    case = make_case(slicer_core)
    selector.setCurrentNode(case.segmentation.node)
    assert selector.findChild(QtWidgets.QComboBox).currentText == "Prediction"


# The Segment Editor.


@pytest.fixture
def editor(host: Any, slicer_core: Any) -> Iterator[Any]:
    """As the facts about Slicer's panels configure it, with a case in it; under ``host``, not in its layout."""
    widget = slicer.qMRMLSegmentEditorWidget(host)
    widget.setEffectNameOrder(["Paint", "Erase", "Draw", "Scissors", "Islands", "Smoothing", "Threshold"])
    widget.unorderedEffectsVisible = False
    widget.setSegmentationNodeSelectorVisible(False)
    widget.setSourceVolumeNodeSelectorVisible(False)
    widget.setAddRemoveSegmentButtonsVisible(False)
    widget.setShow3DButtonVisible(False)
    widget.setMaskingSectionVisible(False)
    widget.setMRMLSegmentEditorNode(slicer_core.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    widget.setMRMLScene(slicer_core.scene)
    yield widget
    widget.setMRMLScene(None)


@pytest.mark.parametrize(("columns", "least"), [(1, 132), (2, 167), (4, 237), (7, 342)])
def test_without_an_effect_the_editor_is_as_wide_as_its_columns(editor: Any, columns: int, least: int) -> None:
    editor.setEffectColumnCount(columns)
    assert editor.minimumSizeHint.width() == least


@pytest.mark.parametrize(
    ("effect", "least"),
    [("Draw", 352), ("Threshold", 446), ("Islands", 467), ("Paint", 475), ("Scissors", 494), ("Erase", 503)],
)
def test_the_options_of_an_effect_stand_beside_the_effects(editor: Any, effect: str, least: int) -> None:
    editor.setActiveEffectByName(effect)
    assert editor.activeEffect().name == effect
    assert editor.minimumSizeHint.width() == pytest.approx(least, abs=1)
    editor.setActiveEffectByName("NoSuch")
    assert editor.activeEffect().name == effect
    editor.setActiveEffect(None)
    assert editor.minimumSizeHint.width() == 167


def rearrange(w: Any, host: Any) -> Any:
    """As it was run in Slicer."""
    find = functools.partial(slicer.util.findChild, w)
    effects, undo, table, options = map(
        find, ("EffectsGroupBox", "UndoRedoGroupBox", "SegmentsTableView", "OptionsGroupBox")
    )
    find("EffectHelpBrowser").hide()
    row, column = QtWidgets.QHBoxLayout(), host.layout()
    column.addLayout(row)
    row.addWidget(effects)
    row.addStretch(1)
    row.addWidget(undo)
    column.addWidget(table, 1)
    column.addWidget(options)
    w.hide()
    for frame in (effects, undo):
        frame.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
    table.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)
    table.setMinimumHeight(4 * 22 + 4)
    table.headerVisible = False
    table.statusColumnVisible = False
    return effects, undo, table, options


def test_rearranged_the_editor_is_as_wide_as_its_row_or_its_options(editor: Any, host: Any) -> None:
    editor.setEffectColumnCount(8)
    rearrange(editor, host)
    assert host.minimumSizeHint.width() == 339
    editor.setActiveEffectByName("Erase")
    assert host.minimumSizeHint.width() == 407


def test_the_table_of_segments_hides_and_filters(editor: Any, slicer_core: Any) -> None:
    case = make_case(slicer_core)
    editor.setSegmentationNode(case.segmentation.node)
    table = slicer.util.findChild(editor, "SegmentsTableView")
    shown = table.displayedSegmentIDs()
    assert len(shown) == table.segmentCount == case.segments.GetNumberOfSegments()
    table.setHideSegments([case.id("liver")])
    assert case.id("liver") not in table.displayedSegmentIDs()
    table.textFilter = "kidney"
    assert set(table.displayedSegmentIDs()) == {case.id("kidney_left"), case.id("kidney_right")}
    editor.setCurrentSegmentID(case.id("kidney_left"))
    assert table.selectedSegmentIDs() == (case.id("kidney_left"),)


def test_undo_and_redo_are_enabled_only_when_there_is_something(editor: Any, slicer_core: Any) -> None:
    case = make_case(slicer_core)
    editor.setSegmentationNode(case.segmentation.node)
    editor.setSourceVolumeNode(case.ct)
    undo, redo = (slicer.util.findChild(editor, name) for name in ("UndoButton", "RedoButton"))
    assert (undo.enabled, redo.enabled) == (False, False)
    editor.saveStateForUndo()
    stroke = image_of(np.ones((2, 2, 2), np.uint8), ijk_to_ras(case.ct), [0, 0, 0])
    mode = editor.logic.ModificationModeAdd
    editor.logic.ModifySegmentByLabelmap(case.segmentation.node, case.id("liver"), stroke, mode, False, False)
    assert (undo.enabled, redo.enabled) == (True, False)
    undo.click()
    assert (undo.enabled, redo.enabled) == (False, True)
    redo.click()
    assert (undo.enabled, redo.enabled) == (True, False)
    editor.setUndoEnabled(False)
    assert (undo.enabled, redo.enabled) == (False, False)
