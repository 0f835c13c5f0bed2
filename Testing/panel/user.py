"""A user of the panel: presses its buttons and waits in Qt's event loop."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from kept_answers import AnsweredAgain, KeptAnswers
from PySide6 import QtCore
from slicer_stand_in import LoadedModule

from activeseg.samples.phantom import Domain, make_phantom

HANGS_AFTER_MS = 300_000
"""A test that has waited for so long will never end."""


def until(condition: Callable[[], object]) -> None:
    """Run the event loop until the condition holds."""
    guard, ticks = QtCore.QTimer(), QtCore.QTimer()
    guard.setSingleShot(True)
    guard.start(HANGS_AFTER_MS)
    ticks.start(20)
    while not condition():
        if not guard.isActive():
            pytest.fail("What the test waits for does not happen.")
        QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


class User:
    """Works with one loaded module; ``kept``: what ``segment`` asks for is taken from there, once it was computed."""

    def __init__(self, module: LoadedModule, core: Any, kept: KeptAnswers | None = None) -> None:
        self.module = module
        self.widget = module.widget
        self.ui = module.widget.ui
        self.logic = module.widget.logic
        self.core = core
        self.answered_again = AnsweredAgain(self.logic.engine, kept) if kept is not None else None
        self.widget.panel.message.time_to_read.setInterval(HANGS_AFTER_MS)  # a test reads when its turn comes

    @property
    def node(self) -> Any:
        return self.widget.parameterNode

    @property
    def case(self) -> Any:
        return self.logic.review.case

    def load_ct(self, seed: int = 12, name: str = "Phantom") -> Any:
        phantom = make_phantom(Domain.NATIVE, seed)
        node = self.core.add_volume(phantom.ct.array, phantom.ct.geometry, name)
        until(lambda: self.node is None or self.node.ct is not None)
        return node

    def choose_demo(self, members: str = "2") -> None:
        until(lambda: self.logic.models.named("demo") is not None)
        self.node.model, self.node.members = "demo", members
        until(lambda: self.ui.segmentButton.enabled and self.chosen_model == "demo")

    @property
    def chosen_model(self) -> str:
        """As the tree of models shows it; empty when none is."""
        selected = self.ui.modelTree.selectedItems()
        return str(selected[0].data(0, QtCore.Qt.ItemDataRole.UserRole)) if selected else ""

    def choose_model(self, name: str) -> None:
        """Press its row in the tree."""
        tree, role = self.ui.modelTree, QtCore.Qt.ItemDataRole.UserRole
        groups = [tree.topLevelItem(number) for number in range(tree.topLevelItemCount)]
        items = [group.child(number) for group in groups for number in range(group.childCount())]
        tree.setCurrentItem(next(item for item in items if item.data(0, role) == name))

    def press_segment(self) -> None:
        self.ui.segmentButton.click()
        assert self.logic.segmenting.running is not None, self.widget.panel.message.text

    def segment(self, members: str = "2") -> Any:
        """To its end; the case that is reviewed then."""
        self.choose_demo(members)
        with self.answered_again.telling() if self.answered_again else contextlib.nullcontext():
            self.press_segment()
            until(lambda: self.logic.segmenting.running is None)
        assert any(told.text.startswith("Segmented: ") for told in self.widget.panel.message.earlier)
        until(lambda: self.case is not None and self.listed)
        return self.case

    def reach(self, stage: str) -> None:
        """Wait until the run is that far."""
        until(lambda: self.logic.segmenting.running is None or self.logic.segmenting.running.stage == stage)
        assert self.logic.segmenting.running is not None, "the run ended before"

    def paint(self, case: Any, name: str, box: Any) -> None:
        """A stroke of the Segment Editor, as its own module would make it."""
        editor = self.core.editor(case.node, case.ct_node)
        editor.SetCurrentSegmentID(case.segmentation.add_structure(case.schema.named(name)))
        editor.ResetModifierLabelmapToDefault()
        from ActiveSegModuleLib.scene.labelmap import array_of

        array_of(editor.GetModifierLabelmap())[tuple(slice(*span) for span in box)] = 1
        editor.ModifySegmentByLabelmap(
            case.node,
            editor.GetCurrentSegmentID(),
            editor.GetModifierLabelmap(),
            editor.ModificationModeAdd,
            False,
            False,
        )

    def add_segment(self, case: Any, name: str) -> None:
        """A segment that the model does not know."""
        labels = np.zeros(case.original_on_ct().shape, np.uint8)
        labels[2:6, 2:6, 2:6] = 1
        from ActiveSegModuleLib.scene.labelmap import BINARY_LABELMAP, image_of
        from ActiveSegModuleLib.scene.placement import ijk_to_ras

        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation(BINARY_LABELMAP, image_of(labels, ijk_to_ras(case.ct_node)))
        case.node.GetSegmentation().AddSegment(segment)

    def draft_of(self, case: Any) -> dict[str, Any]:
        """What the engine has saved of it; nothing before the first time, and while the record is being replaced."""
        path = self.logic.drafts.folder_of(case.id) / "draft.json"
        try:
            record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return record

    @property
    def listed(self) -> list[int]:
        """The numbers of the regions that the table shows, from above."""
        numbers: list[int] = self.widget.panel.review.table.shown
        return numbers

    def row(self, number: int) -> dict[str, str]:
        """What the table says about a region, by the titles of its columns."""
        texts: dict[str, str] = self.widget.panel.review.table.text(number)
        return texts

    def choose_row(self, number: int) -> None:
        """Click on a region in the table."""
        self.ui.regionTable.selectRow(self.listed.index(number))

    def states(self) -> list[str]:
        """As the table shows them, in the order of the regions' numbers."""
        return [str(row.state) for row in self.logic.review.rows()]

    def export(self, dataset: Path) -> None:
        """Press the button and wait for the end."""
        self.node.dataset = str(dataset)
        until(lambda: self.ui.exportButton.enabled)
        self.ui.exportButton.click()
        until(lambda: self.ui.exportButton.enabled)
