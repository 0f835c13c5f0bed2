"""A user who clicks in any order: choices, decisions, strokes, deletions, closed scenes and late answers at random.

``ACTIVESEG_ODD="100 101 102"`` tries other seeds than the four of the tests.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import ENGINE_PYTHON
from loaded_cases import FAR, MODULE, load_ct, make_case, pump, stroke, visible
from pictures_look import ROOMS, place
from PySide6 import QtCore, QtTest, QtWidgets
from scene_cases import PLAIN
from slicer_stand_in import LoadedModule
from user import User, until

SEEDS = [int(s) for s in os.environ.get("ACTIVESEG_ODD", "0 1 2 3").split()]
STEPS = 60


@pytest.fixture
def user(slicer_core: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """Without an engine, but as if there was one; drafts are saved at once."""
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    module = LoadedModule(MODULE)
    monkeypatch.setattr(type(module.widget.logic.installation), "obstacle", property(lambda _self: None))
    monkeypatch.setattr(module.widget.panel, "engine_changed", lambda: None)
    module.enter()
    place(module.parent, ROOMS[0])
    module.parent.activateWindow()
    yield User(module, slicer_core)
    module.close()


class Clicks:
    """What can be done, and what must hold after each of it."""

    def __init__(self, user: User, seed: int) -> None:
        self.user, self.random, self.number = user, random.Random(seed), 0
        self.scene, self.ui = user.core.scene, user.ui
        self.views = [self.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2)]
        self.kept: dict[str, str] = {}  # by the case's id: what its draft holds
        self.geometries: dict[str, Any] = {}
        self.waiting: list[Any] = []
        self.log: list[str] = []
        self.entered = True
        user.logic.drafts.save = self.save_draft
        user.logic.drafts.note_saved = lambda case: None

    # What there is.

    def cases(self) -> list[Any]:
        from ActiveSegModuleLib.scene.case import Case

        return Case.all_in(self.scene)

    def cts(self) -> list[Any]:
        from ActiveSegModuleLib.panel.current_case import is_ct

        return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if is_ct(node)]

    def content(self, case: Any) -> str:
        from ActiveSegModuleLib.scene.layers import take

        snapshot = take(case.node)
        digest = hashlib.sha256(repr(snapshot.json["segments"]).encode())
        for array in snapshot.arrays:
            digest.update(array.tobytes())
        return digest.hexdigest()

    def contents(self) -> dict[Any, str]:
        return {case.node: self.content(case) for case in self.cases()}

    def states(self) -> dict[Any, Any]:
        return {case.node: case.regions.states() for case in self.cases() if case.regions is not None}

    def save_draft(self, case: Any, on_done: Any, on_error: Any) -> None:
        self.kept[case.id] = self.content(case)
        self.waiting.append(on_done)

    # What the user and the engine do. Each gives the nodes whose segments may change by it.

    def load(self) -> set[Any]:
        self.number += 1
        name = f"CT{self.number}"
        self.geometries[name] = self.random.choice([PLAIN, FAR])
        node = load_ct(self.user, name, self.geometries[name], self.number)
        if self.random.random() < 0.7:
            self.user.core.app.GetSelectionNode().SetActiveVolumeID(node.GetID())
            for view in self.views:
                view.SetBackgroundVolumeID(node.GetID())
        return set()

    def load_again(self) -> set[Any]:
        """The CT of a case that lost it."""
        for case in self.cases():
            if not case.has_ct:
                name = case.name.split(" of ")[1]
                load_ct(self.user, f"{name} again", self.geometries[name], int(name.removeprefix("CT")))
                break
        return set()

    def arrive(self) -> set[Any]:
        """An answer for a CT that may not be the one that is shown."""
        cts = self.cts()
        if cts:
            ct = self.random.choice(cts)
            self.number += 1
            ct_name = ct.GetName().split()[0]
            preview = self.random.random() < 0.2
            name = f"case{self.number} of {ct_name}"
            case = make_case(self.user, ct, name, self.geometries[ct_name], preview)
            self.kept[case.id] = self.content(case)
            self.user.widget.panel.case_changed(case)
        return set()

    def final(self) -> set[Any]:
        """What a preview stood for is there."""
        for case in self.cases():
            if case.is_preview and case.has_ct:
                self.user.logic.segmenting.remove_previews(case.ct_node)
                break
        return set()

    def more_members(self) -> set[Any]:
        cases = [case for case in self.cases() if case.has_ct]
        if cases:
            self.user.widget.panel.case_changed(self.random.choice(cases))
        return set()

    def choose_ct(self) -> set[Any]:
        if self.entered:
            self.ui.ctSelector.setCurrentNode(self.random.choice([None, *self.cts()]))
        return set()

    def choose_case(self) -> set[Any]:
        if self.entered:
            self.ui.caseSelector.setCurrentNode(self.random.choice([None, *[case.node for case in self.cases()]]))
        return set()

    def press(self) -> set[Any]:
        if self.entered:
            names = (
                *("nextButton", "previousButton", "acceptButton", "skipButton", "reopenButton"),
                *("editButton", "focusNoneButton", "editDoneButton", "editNextButton", "showAlternativeButton"),
                *("heatMapButton", "outlineButton", "surfacesButton", "focusButton", "keysButton"),
                *("segmentStep", "reviewStep", "exportStep", "learnStep", "settingsButton", "messageCloseButton"),
            )
            button = getattr(self.ui, self.random.choice(names))
            self.log[-1] += f" {button.objectName}"
            button.click()
        return set()

    def key(self) -> set[Any]:
        """A key, while the list of regions, the views or a field to type in has the keyboard."""
        if self.entered:
            places = (self.ui.regionTable, self.ui.alternativesList, self.ui.regionSearch, self.user.module.parent)
            at = self.random.choice(places)
            at.setFocus()
            letter = self.random.choice("nckjhdm?")
            shift = self.random.random() < 0.3 and letter != "?"
            self.log[-1] += f" {'Shift+' if shift else ''}{letter} at {at.objectName}"
            modifier = QtCore.Qt.KeyboardModifier.ShiftModifier if shift else QtCore.Qt.KeyboardModifier.NoModifier
            QtTest.QTest.keyClick(QtWidgets.QApplication.focusWidget() or at, letter, modifier)
            until(lambda: not any(b.down for b in self.user.module.parent.findChildren(QtWidgets.QAbstractButton)))
        return set()

    def confine(self) -> set[Any]:
        if self.entered:
            self.ui.confineCheckBox.checked = not self.ui.confineCheckBox.checked
        return set()

    def draw(self) -> set[Any]:
        pump()
        case = self.user.case
        if not self.entered or case is None or not self.ui.editButton.enabled:
            return set()
        if not self.user.widget.panel.editing.is_open:
            self.ui.editButton.click()
        editor = self.user.widget.panel.editing.editor
        assert editor.segmentationNode() is case.node
        if editor.currentSegmentID():
            start = [self.random.randrange(0, size - 4) for size in PLAIN.shape_kji]
            stroke(editor, case, tuple(slice(a, a + 4) for a in start))
        return {case.node}

    def draw_and_go(self) -> set[Any]:
        """The next click comes at once."""
        edited = self.draw()
        case = self.random.choice([None, *self.cases()])
        if self.entered and case is not None:
            self.user.node.segmentation = case.node
        return edited

    def undo(self) -> set[Any]:
        case = self.user.case
        if not self.entered or case is None or not self.ui.undoButton.enabled:
            return set()
        self.random.choice([self.ui.undoButton, self.ui.redoButton]).click()
        return {case.node}

    def take_alternative(self) -> set[Any]:
        case = self.user.case
        if not self.entered or case is None or not self.ui.showAlternativeButton.enabled:
            return set()
        self.ui.showAlternativeButton.click()
        self.ui.takeAlternativeButton.click()
        return {case.node}

    def draw_elsewhere(self) -> set[Any]:
        """In the Segment Editor's own module."""
        case = self.user.case
        if case is None or not case.has_ct or case.is_preview:
            return set()
        self.user.paint(case, "aorta", ((0, 2), (0, 2), (0, self.random.randrange(2, 9))))
        return {case.node}

    def note(self) -> set[Any]:
        if self.entered and self.user.case is not None:
            self.ui.notesEdit.setPlainText(f"note {self.random.random()}")
        return set()

    def clone(self) -> set[Any]:
        if self.cases():
            self.number += 1
            case = self.random.choice(self.cases())
            copy = slicer.vtkMRMLSegmentationNode()
            copy.Copy(case.node)
            copy.SetName(f"clone{self.number} of {case.name.split(' of ')[1]}")
            copy = self.scene.AddNode(copy)
            display = slicer.vtkMRMLSegmentationDisplayNode()
            display.Copy(case.node.GetDisplayNode())
            copy.SetAndObserveDisplayNodeID(self.scene.AddNode(display).GetID())  # as Slicer's Clone does
            for made in self.cases():
                self.kept.setdefault(made.id, self.content(made))
        return set()

    def foreign(self) -> set[Any]:
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
        if self.entered and self.random.random() < 0.5:
            self.ui.caseSelector.setCurrentNode(node)
        return set()

    def delete_ct(self) -> set[Any]:
        if self.cts():
            self.scene.RemoveNode(self.random.choice(self.cts()))
        return set()

    def delete_case(self) -> set[Any]:
        if self.cases():
            self.scene.RemoveNode(self.random.choice(self.cases()).node)
        return set()

    def delete_companion(self) -> set[Any]:
        if self.cases():
            companions = self.random.choice(self.cases()).companions()
            if companions:
                node = self.random.choice(companions)
                self.log[-1] += f" {node.GetName()}"
                self.scene.RemoveNode(node)
        return set()

    def move(self) -> set[Any]:
        if self.cts():
            ct = self.random.choice(self.cts())
            if ct.GetTransformNodeID():
                ct.SetAndObserveTransformNodeID(None)
            else:
                ct.SetAndObserveTransformNodeID(self.user.core.add_transform(np.diag([-1.0, -1.0, 1.0, 1.0])).GetID())
        return set()

    def leave_or_come_back(self) -> set[Any]:
        if self.entered:
            self.user.module.exit()
        else:
            self.user.module.enter()
        self.entered = not self.entered
        return set()

    def close_scene(self) -> set[Any]:
        if self.random.random() < 0.3:
            self.scene.Clear(0)
            self.views = [self.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2)]
            self.waiting.clear()
            self.user.widget.panel.keeping.saving = None
        return set()

    def answer(self) -> set[Any]:
        if self.waiting:
            self.waiting.pop(0)()
        return set()

    def step(self) -> None:
        names = (
            *("load", "load_again", "arrive", "arrive", "final", "more_members", "choose_ct", "choose_ct"),
            *("choose_case", "choose_case", "press", "press", "press", "key", "key", "confine", "draw", "draw"),
            *(
                "draw_and_go",
                "undo",
                "take_alternative",
                "draw_elsewhere",
                "note",
                "clone",
                "foreign",
                "delete_ct",
                "delete_case",
            ),
            *("delete_companion", "move", "leave_or_come_back", "close_scene", "answer", "answer"),
        )
        name = self.random.choice(names)
        self.log.append(name)
        contents = self.contents()
        act: Callable[[], set[Any]] = getattr(self, name)
        may_change = act()
        if self.random.random() < 0.8:
            self.settle()
            self.check()
        for node, content in self.contents().items():
            assert node in may_change or contents.get(node, content) == content, f"{node.GetName()} changed by {name}"

    def settle(self) -> None:
        widget = self.user.widget
        pump()
        if widget.panel.edit_timer.isActive():
            widget.panel.edit_timer.stop()
            widget.panel.segmentation_edited()
        pump()

    def check(self) -> None:
        from ActiveSegModuleLib.scene.case import Case

        widget, node = self.user.widget, self.user.node
        for case in self.cases():
            if self.kept.get(case.id) != self.content(case):
                due = case.id in widget.panel.keeping.due
                assert due, f"{case.name} has edits that are in no draft and due for none"
        if not self.entered:
            return
        chosen = Case.of(node.segmentation)
        assert self.user.case == chosen
        if chosen is not None and chosen.has_ct:
            assert node.ct is chosen.ct_node, "a segmentation over another CT"
            clones = {name for name in visible(self.user) if name.startswith("clone")}  # whom only the user hides
            assert visible(self.user) - clones <= {chosen.name}
            assert chosen.name in visible(self.user)
        else:
            assert visible(self.user) == set()
        for view in self.views:
            if node.ct is not None:
                assert view.GetBackgroundVolumeID() == node.ct.GetID()
            shown = view.GetForegroundVolumeID()
            maps = chosen.uncertainty.values() if chosen is not None else ()
            assert shown is None or shown in {each.node.GetID() for each in maps}
            assert view.GetLabelVolumeID() is None
        rows = self.user.logic.review.rows()
        assert sorted(self.user.listed) == sorted(row.number for row in rows)
        frames = self.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode")
        assert frames <= 1
        editing = widget.panel.editing
        if editing.made_editor is not None:
            edited = editing.made_editor.mrmlSegmentEditorNode().GetSegmentationNode()
            can_edit = chosen is not None and chosen.has_ct and not chosen.is_preview
            assert edited is (chosen.node if can_edit else None)
            if can_edit:
                source = editing.made_editor.mrmlSegmentEditorNode().GetSourceVolumeNode()
                confined = editing.mask.node is not None
                assert source is (editing.mask.node if confined else chosen.ct_node)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_clicked_nothing_is_lost_or_shown_over_another_patient(user: User, seed: int) -> None:
    clicks = Clicks(user, seed)
    try:
        for _ in range(STEPS):
            clicks.step()
            errors = user.widget.panel.message.text
            assert "Traceback" not in errors
    except Exception:
        print("\n".join(clicks.log))
        raise
