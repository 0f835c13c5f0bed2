"""A user's day in a running Slicer: presses the panel's real buttons, and looks at nodes, views and files."""

# ruff: noqa: PT009 - asserts of unittest, which runs it

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from unittest import SkipTest, TestCase

import qt
import slicer

from . import sample_data
from .panel.editor_parts import EFFECTS
from .panel.exporting import LAST_DATASET
from .panel.models import LAST_MODEL
from .panel.region_table import RegionList
from .panel.slice_views import interactors_of, slice_views
from .panel.steps import Step
from .scene.case import Case
from .scene.labelmap import array_of
from .scene.regions import RegionTable
from .slicer_types import Node

OUTPUT = "ACTIVESEG_TEST_OUTPUT"
MODULE = "ActiveSegModule"
GUARD_S = 600.0
"""Nothing that is waited for takes so long on any computer; then the test fails instead of hanging."""
LAPTOP = (1280, 800)
KEYS = {
    "nextButton": "N",
    "previousButton": "Shift+N",
    "acceptButton": "C",
    "reopenButton": "Shift+C",
    "skipButton": "K",
    "editButton": "Shift+D",
    "promptButton": "M",
    "promptNotButton": "Shift+M",
    "showAlternativeButton": "J",
    "takeAlternativeButton": "O",
    "undoButton": "U",
    "redoButton": "Shift+U",
    "heatMapButton": "H",
    "surfacesButton": "D",
    "keysButton": "?",
}
"""Of the buttons of *Review*. Qt calls none of two buttons with the same key."""
WIDEST_FACE = 421
"""The size hint, in pixels: Slicer's dock becomes wider than 480 when the panel asks for more than 425."""


class SelfTest:
    """The steps of the day, in order; each checks what it did with the assertions of ``case``."""

    def __init__(self, case: TestCase) -> None:
        self._assert = case
        self._folder = Path(tempfile.mkdtemp(prefix="activeseg-test-"))
        self._errors: list[str] = []
        self._hook = sys.excepthook
        sys.excepthook = self._note  # Slicer only prints what slots, timers and observers raise
        try:
            self._open()
        except BaseException:
            sys.excepthook = self._hook
            raise
        self._settings = {key: qt.QSettings().value(key) for key in (LAST_DATASET, LAST_MODEL)}
        self._drafts: set[str] = set()
        if self.widget.logic.installation.python is None:
            self.clean_up()
            raise SkipTest("The engine is not installed; set ACTIVESEG_ENGINE_PYTHON, or install it in the panel.")

    def _note(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._errors.append("".join(traceback.format_exception(kind, error, trace)))
        self._hook(kind, error, trace)

    def _open(self) -> None:
        window = slicer.util.mainWindow()
        if window is not None:
            slicer.util.selectModule(MODULE)
            window.resize(*LAPTOP)
        self.widget = slicer.util.getModuleWidget(MODULE)
        self._assert.assertTrue(self.widget.isReady, "The panel was not set up:\n" + "\n".join(self._errors))
        self._enter()
        self.ui = self.widget.ui

    @property
    def node(self) -> Node:
        return self.widget.parameterNode

    @property
    def case(self) -> Case:
        case = self.widget.logic.review.case
        assert case is not None
        return case

    @property
    def regions(self) -> RegionTable:
        found = self.case.regions
        assert found is not None
        return found

    @property
    def table(self) -> RegionList:
        return self.widget.panel.review.table

    @property
    def page(self) -> str:
        """Which page is shown."""
        return str(self.ui.pages.currentWidget().objectName)

    def look_at_pages(self) -> None:
        """The card that sets up an engine, and the settings; both go away again."""
        self._picture("0_segment")
        self.widget.panel.installation.card.open()
        self._wait(lambda: not self.widget.logic.installation.is_looking)
        self._assert.assertEqual(self.page, "setupPage")
        self._picture("0_card")
        self.ui.setupCloseButton.click()
        self._assert.assertEqual(self.page, "segmentPage")
        self.ui.settingsButton.click()
        self._assert.assertEqual(self.page, "settingsPage")
        self._picture("0_settings")
        self.ui.segmentStep.click()
        self._assert.assertEqual(self.page, "segmentPage")

    def keys(self) -> None:
        """Each button has its key, its tool tip tells it, and nothing else of Slicer's window has it."""
        for name, key in KEYS.items():
            button = getattr(self.ui, name)
            self._assert.assertEqual(str(button.shortcut.toString()), key)
            self._assert.assertIn(f"({key})", str(button.toolTip))
        window = slicer.util.mainWindow()
        if window is not None:
            actions = slicer.util.findChildren(window, className="QAction")
            taken = {str(action.shortcut.toString()) for action in actions}
            self._assert.assertEqual(taken & set(KEYS.values()), set())
        self.ui.keysButton.click()
        self._picture("2_keys")
        self.ui.keysButton.click()

    def segment(self) -> None:
        """Load the phantom, choose the demo model, press the large button."""
        self._load_phantom()
        self._wait(lambda: self.widget.logic.models.named("demo") is not None)
        self.node.model = "demo"
        self._wait(lambda: self.ui.segmentButton.enabled)
        self.ui.segmentButton.click()
        self._assert.assertFalse(self.ui.segmentButton.enabled)
        self._wait(lambda: self.widget.logic.segmenting.running is None)
        self._wait(lambda: self.widget.logic.review.case is not None)
        self._drafts.add(self.case.id)
        self._assert.assertEqual(self.page, "reviewPage")
        self._assert.assertTrue(any("regions to review" in told.text for told in self.widget.panel.message.earlier))
        self._assert.assertIn("liver", self.case.decided)
        self._assert.assertLessEqual(set(self.case.read_back().present), set(self.case.decided))
        self._assert.assertEqual(self.case.segmentation.empty_segments(), ())
        self._assert.assertEqual(self.table.shown, [region.number for region in self.regions.regions])
        self._assert.assertIn("variance", self.case.uncertainty)
        self._picture("1_segmented")

    def click(self) -> None:
        """Click into the middle of a slice view, take the answer, undo it; without a window there is no view."""
        self._wait(lambda: self.widget.logic.review.current == 1)
        views = slice_views()
        if not views:
            return
        before = self.case.read_back().labels
        self.ui.promptButton.click()
        self._assert.assertTrue(bool(self.ui.promptButton.checked))
        self._picture("2_click")
        interactor, node = interactors_of(views)[0]
        width, height = node.GetDimensions()[:2]
        for event in ("MouseMoveEvent", "LeftButtonPressEvent", "LeftButtonReleaseEvent"):
            interactor.SetEventInformation(width // 2, height // 2, 0, 0)
            interactor.InvokeEvent(event)
        self._assert.assertFalse(bool(self.ui.promptButton.checked))
        self._assert.assertEqual(len(self.widget.logic.refining.prompts), 1)
        self._wait(lambda: not self.widget.logic.refining.is_asking)
        answer = self.widget.logic.refining.answer
        assert answer is not None
        self._pump()
        self._picture("2_click_answered")
        if answer.patch.changed.any():
            self.ui.takeAlternativeButton.click()
            self._pump()
            self._assert.assertTrue((self.case.read_back().labels != before).any())
            self.ui.undoButton.click()
            self._pump()
        else:
            self.ui.promptClearButton.click()
        self._assert.assertTrue((self.case.read_back().labels == before).all())
        self._assert.assertEqual(self.widget.logic.refining.prompts, ())

    def review(self) -> None:
        """Next, Previous, take an alternative, undo it, take it again, skip one, accept one."""
        self._wait(lambda: self.widget.logic.review.current == 1)
        self._picture("2_first_region")
        self.ui.nextButton.click()
        self._assert.assertEqual(self.widget.logic.review.current, 2)
        self.ui.previousButton.click()
        self._assert.assertEqual(self.widget.logic.review.current, 1)
        number = next(r.number for r in self.regions.regions if self.case.alternatives(r.number))
        self._select_region(number)
        self._assert.assertEqual(self.widget.panel.review.alternatives.count, len(self.case.alternatives(number)))
        before = self.case.read_back().labels
        self.ui.showAlternativeButton.click()
        self._pump()
        self._picture("3_alternative")
        self.ui.takeAlternativeButton.click()
        self._pump()
        self._assert.assertTrue((self.case.read_back().labels != before).any())
        self._assert.assertEqual(str(self.regions.states()[number]), "corrected")
        self._picture("3_alternative_taken")
        self.ui.undoButton.click()
        self._pump()
        self._assert.assertTrue((self.case.read_back().labels == before).all())
        self._assert.assertEqual(str(self.regions.states()[number]), "open")
        self.ui.showAlternativeButton.click()
        self.ui.takeAlternativeButton.click()
        self._pump()
        self.ui.acceptButton.click()
        self._assert.assertEqual(str(self.regions.states()[number]), "corrected")
        skipped = self.widget.logic.review.current
        self._assert.assertNotEqual(skipped, number)
        self.ui.skipButton.click()
        self._assert.assertEqual(str(self.regions.states()[skipped]), "skipped")
        self._assert.assertTrue(self.ui.reviewedLabel.text.startswith("2 "))

    def edit(self) -> None:
        """Paint in a region through the Segment Editor's logic, as a brush does."""
        self.ui.editButton.click()
        self._pump()
        self._picture("4_editor")
        editor = self.widget.panel.editing.editor
        self._assert.assertIs(editor.segmentationNode(), self.case.node)
        for effect in EFFECTS:
            editor.setActiveEffectByName(effect)
            self._pump()
            self._assert.assertLessEqual(self.ui.editingFace.sizeHint.width(), WIDEST_FACE, effect)
            self._picture(f"4_editor_{effect.lower()}")
        editor.setActiveEffect(None)
        number = self.widget.logic.review.current
        box = self.regions.region(number).box_kji
        editor.saveStateForUndo()
        logic = slicer.vtkSlicerSegmentEditorLogic()
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        logic.SetSegmentEditorNode(editor.mrmlSegmentEditorNode())
        logic.SetSegmentationNode(self.case.node)
        logic.SetSourceVolumeNode(self.case.ct_node)
        segment_id = self.case.segmentation.add_structure(self.case.schema.named("liver"))
        logic.ResetModifierLabelmapToDefault()
        array_of(logic.GetModifierLabelmap())[tuple(slice(*span) for span in box)] = 1
        logic.ModifySegmentByLabelmap(
            self.case.node, segment_id, logic.GetModifierLabelmap(), logic.ModificationModeAdd, False, False
        )
        self._wait(lambda: str(self.regions.states()[number]) == "corrected")

    def export(self) -> None:
        """Ask what will be written, then write it, and find it in the dataset."""
        dataset = self._folder / "Dataset801_SelfTest"
        self.node.dataset = str(dataset)
        self._wait(lambda: self.ui.summaryButton.enabled)
        self.widget.panel.steps.show(Step.EXPORT)
        self.ui.summaryButton.click()
        self._wait(lambda: self.ui.summaryButton.enabled)
        self._assert.assertEqual(self.widget.panel.message.text, "")
        self._assert.assertIn("liver", str(self.ui.summaryBrowser.plainText))
        self._assert.assertFalse(dataset.exists())
        self.ui.exportButton.click()
        self._wait(lambda: self.ui.exportButton.enabled and self.ui.datasetTable.rowCount == 1)
        self._assert.assertEqual(json.loads((dataset / "dataset.json").read_text("utf-8"))["numTraining"], 1)
        self._assert.assertIn("CT_0001", self.widget.panel.message.text)
        self._picture("5_exported")
        self.ui.messageActionButton.click()  # Learn
        self._assert.assertEqual(self.page, "learnPage")
        self._picture("5_learn")
        self.ui.exportStep.click()

    def save_reopen_and_export_again(self) -> None:
        """A saved scene has everything; its export updates the same case of the dataset."""
        states, identity = self.regions.states(), self.case.id
        scene = self._folder / "day.mrb"
        self._assert.assertTrue(slicer.util.saveScene(str(scene)))
        slicer.mrmlScene.Clear()
        self._assert.assertIsNone(self.widget.logic.review.case)
        slicer.util.loadScene(str(scene))
        self._enter()
        self._wait(lambda: self.widget.logic.review.case is not None)
        self._assert.assertEqual(self.case.id, identity)
        self._assert.assertEqual(self.regions.states(), states)
        self._wait(lambda: self.ui.exportButton.enabled)
        self.ui.exportButton.click()
        self._wait(lambda: self.ui.exportButton.enabled)
        self._assert.assertIn("Dataset801_SelfTest", self.widget.panel.message.text)
        self._assert.assertEqual(self.ui.datasetTable.rowCount, 1)
        self._picture("6_reopened")

    def cancel(self) -> None:
        """Cancel in the middle: no node is left, and the button can be pressed again."""
        self._load_phantom()
        self._wait(lambda: self.widget.logic.models.named("demo") is not None)
        self.node.model = "demo"
        self._wait(lambda: self.ui.segmentButton.enabled)
        self.ui.segmentButton.click()
        self._assert.assertIsNotNone(self.widget.logic.segmenting.running)
        slicer.app.processEvents()  # some of it has begun, but no warm engine has answered yet
        self.ui.cancelButton.click()
        self._wait(lambda: self.ui.segmentButton.enabled)
        self._assert.assertEqual(Case.all_in(slicer.mrmlScene), [])

    def clean_up(self) -> None:
        """Everything as it was; raises what Slicer would only have printed."""
        sys.excepthook = self._hook
        for key, value in getattr(self, "_settings", {}).items():
            qt.QSettings().remove(key) if value is None else qt.QSettings().setValue(key, value)
        for identity in getattr(self, "_drafts", ()):
            shutil.rmtree(self.widget.logic.dataFolder / "drafts" / identity, ignore_errors=True)
        with contextlib.suppress(OSError):
            shutil.rmtree(self._folder)
        self._assert.assertEqual(self._errors, [])

    def _enter(self) -> None:
        """Without a main window Slicer does not enter the module."""
        if self.widget.parameterNode is None:
            self.widget.enter()

    def _load_phantom(self) -> None:
        path = sample_data.make_phantom_file(self._folder)
        slicer.util.loadVolume(str(path))
        self._wait(lambda: self.node is not None and self.node.ct is not None)

    def _select_region(self, number: int) -> None:
        self.ui.regionTable.selectRow(self.table.shown.index(number))
        self._pump()
        self._assert.assertEqual(self.widget.logic.review.current, number)

    def _wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + GUARD_S
        while not condition():
            self._assert.assertEqual(self._errors, [])
            self._assert.assertLess(
                time.monotonic(), end, f"Waited in vain; the panel says: {self.widget.panel.message.text}"
            )
            self._pump()

    def _pump(self) -> None:
        """Let timers and processes have their turn, until what a click began is shown."""
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)

    def _picture(self, name: str) -> None:
        """The window, or without one the panel, as the user sees it."""
        folder = os.environ.get(OUTPUT)
        if not folder:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._pump()
        window = slicer.util.mainWindow() or self.widget.parent
        window.grab().save(str(Path(folder) / f"{name}.png"))
