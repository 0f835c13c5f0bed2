"""The face *editing* of the page *Review*: Slicer's own Segment Editor, on the case that is reviewed."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError, InputError

from ..engine.signals import connect, timer
from ..scene.case import Case
from ..scene.region_mask import RegionMask
from ..slicer_types import Node, Widget
from .editor_parts import EditorParts
from .elided import ElidedText
from .section import Panel, Section, Write
from .segment_search import SegmentSearch
from .steps import Step, turn_to

IDLE_MS = 500
"""After the last change of what is shown."""

_NODE_TAG = "ActiveSegEditor"


class EditingSection(Section):
    """The editor is made in an idle moment after a case has come, so that it is there at once when it is wanted."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self.mask = RegionMask(panel.scene)
        self._parts: EditorParts | None = None
        self._followers: list[Callable[[], None]] = []  # of what can be undone
        self._entered = False
        self._is_active = False  # its keys and the views are the editor's
        self._edited_elsewhere = False
        self._region: tuple[str, int | None] | None = None  # whose structure was chosen in the editor
        self._shown: Case | None = None
        self._searched: Case | None = None
        self._line = ElidedText(ui.editRegionLabel)
        self._search = SegmentSearch(ui, self._choose_segment, self.select_structure)
        self._idle = timer(qt, IDLE_MS, self._prepare, once=True)
        turn_to(ui.reviewFaces, ui.listFace)
        connect(ui.editDoneButton, "clicked()", self.close)
        connect(ui.editPreviousButton, "clicked()", lambda: ui.previousButton.click())
        connect(ui.editNextButton, "clicked()", lambda: ui.nextButton.click())
        panel.steps.follow(self._turn)

    @property
    def made_editor(self) -> Widget:
        """The qMRMLSegmentEditorWidget, as it is; None before it is made."""
        return self._parts.widget if self._parts is not None else None

    @property
    def editor(self) -> Widget:
        """The qMRMLSegmentEditorWidget, with the case that is reviewed in it."""
        self._make()
        self._give_case_to(self.made_editor)
        return self.made_editor

    def update(self) -> None:
        """Follow the case; a face without one, or with another one, gives way to the list."""
        case = self._case
        if self.is_open and (case is None or case != self._shown):
            self.close()
        self._shown = case
        self._ui.editingFace.enabled = case is not None
        if case is not None and (self._parts is None or not self._search.has_looked):
            self._idle.start()
        if self._parts is None:
            return
        self._give_case_to(self.editor)
        self._show_region()
        node = self._panel.parameter_node
        if node is not None and node.confine != (self.mask.node is not None):
            self.confine()

    @property
    def is_open(self) -> bool:
        """Whether the editor is in front of the list of regions."""
        return bool(self._ui.reviewFaces.currentWidget() == self._ui.editingFace)

    @property
    def is_painting(self) -> bool:
        """Whether an effect is active: what the mouse does in the views is edited."""
        return self._parts is not None and self.made_editor.activeEffect() is not None

    def open(self) -> None:
        """Bring the editor forward, when there is something to edit."""
        self._shown = self._case
        if self._shown is not None:
            self._make()
            self._give_case_to(self.made_editor)
            self._search.look()
            turn_to(self._ui.reviewFaces, self._ui.editingFace)
            self._ui.editDoneButton.setFocus()  # else a field to type in might get it, and the keys were dead
            self._turn()
        self.update()

    def close(self) -> None:
        """Back to the list of regions, without an effect."""
        if not self.is_open:
            return
        turn_to(self._ui.reviewFaces, self._ui.listFace)
        self._ui.regionTable.setFocus()
        self._turn()

    def enter(self) -> None:
        self._entered = True
        if self._parts is not None:
            self._give_case_to(self.made_editor)
            if self._edited_elsewhere:  # an undo here would take those edits back, too: it restores the whole
                self._parts.forget_steps()
            self.confine()
        self._edited_elsewhere = False
        self._turn()

    def exit(self) -> None:
        self._entered = False
        self._turn()

    def note_edit(self) -> None:
        """The segmentation was edited; by another editor, when this module is not shown."""
        self._edited_elsewhere |= not self._entered

    def segments_changed(self) -> None:
        """The table of segments follows what was edited."""
        if self._parts is not None:
            self._search.painted(str(self.made_editor.currentSegmentID()))

    def node_goes(self, node: Node) -> None:
        """A node is about to be removed: nothing is painted in a segmentation, or on a CT, that is no longer there."""
        if self._parts is not None and node in (
            self.made_editor.segmentationNode(),
            self.made_editor.sourceVolumeNode(),
        ):
            self.made_editor.setActiveEffect(None)

    def scene_closes(self) -> None:
        self._idle.stop()
        self.close()
        if self._parts is not None:
            self.made_editor.setActiveEffect(None)

    def cleanup(self) -> None:
        self._idle.stop()
        if self._parts is not None:
            self._parts.close()
            self._parts = None

    def can(self, step: str) -> bool:
        """Whether the editor has something to ``undo`` or to ``redo``."""
        return self._parts is not None and self._parts.can(step)

    def follow_undo(self, changed: Callable[[], None]) -> None:
        """Call a function whenever ``can`` may have changed."""
        self._followers.append(changed)
        if self._parts is not None:
            self._parts.follow_undo(changed)

    def select_structure(self, name: str) -> None:
        """Make a structure's segment the one that is edited; it gets one when it has none."""
        case = self._case
        if case is not None and name in case.schema.names:
            self._make()
            self._choose_segment(case.segmentation.add_structure(case.schema.named(name)))

    def choose_region(self) -> None:
        """Open the editor on the current region, whatever was edited in it before."""
        self._region = None
        self.follow_region()

    def follow_region(self) -> None:
        """Turn to the current region: its structure is edited, only inside of it where that is ticked."""
        review, case = self._panel.logic.review, self._case
        region = (case.id, review.current) if case is not None else None
        self._show_region()
        if self._parts is not None:
            self._give_case_to(self.made_editor)
        if self._parts is not None and region != self._region:
            self._region = region
            row = next((row for row in review.rows() if row.number == review.current), None)
            if row is not None and row.structures:
                self.select_structure(row.structures[0])
        self.confine()

    def step(self, what: str) -> None:
        """``undo`` or ``redo``."""
        {"undo": self.editor.undo, "redo": self.editor.redo}[what]()

    def write(self, write: Write) -> None:
        """Let a function write into the segmentation, as one step of this editor's undo."""
        editor, case = self.editor, self._case
        if case is None:
            raise InputError("There is no segmentation that can be edited.", "Choose one, and load its CT.")
        logic = slicer.vtkSlicerSegmentEditorLogic()
        logic.SetMRMLScene(self._panel.scene)
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        logic.SetSegmentEditorNode(self._node())
        logic.SetSegmentationNode(case.node)
        logic.SetSourceVolumeNode(self._source_of(case))
        write(logic, editor.saveStateForUndo)

    def confine(self) -> None:
        """Let edits happen only in the current region where that is ticked, everywhere else."""
        review, node = self._panel.logic.review, self._panel.parameter_node
        case = self._case
        if self._parts is None or node is None:
            return
        if case is None or case.regions is None or review.current is None or not node.confine:
            if self.mask.node is not None:
                self.mask.lift(self._node())
                self.made_editor.setSourceVolumeNode(case.ct_node if case is not None else None)
            return
        try:
            box = case.regions.region(review.current).box_kji
            source = self.mask.confine(self._node(), case.ct_node, box)
        except ActiveSegError as error:
            node.confine = False
            self._panel.show_error(error)
            return
        self.made_editor.setSourceVolumeNode(source)
        self.mask.switch_on(self._node())

    @property
    def _case(self) -> Case | None:
        """What can be edited: the case that is reviewed, while its CT is there; no preview, which will be replaced."""
        case = self._panel.logic.review.case
        return case if case is not None and case.has_ct and not case.is_preview else None

    def _make(self) -> None:
        if self._parts is not None:
            return
        self._parts = EditorParts(self._ui, self._node(), self._panel.scene)
        for changed in self._followers:
            self._parts.follow_undo(changed)
        self._give_case_to(self.made_editor)
        self.follow_region()
        self._turn()

    def _prepare(self) -> None:
        """Make the editor while nothing is being done that it would hold up."""
        if self._panel.steps.is_busy:
            self._idle.start()
        elif self._case is not None:
            self._make()
            self._search.look()

    def _turn(self) -> None:
        """The editor's keys and its hold of the views last as long as it is seen; so does an effect."""
        steps = self._panel.steps
        seen = self._entered and self.is_open and steps.current is Step.REVIEW and not steps.shows_settings
        if self._parts is None or seen == self._is_active:
            return
        self._is_active = seen
        editor = self.made_editor
        if seen:
            editor.setupViewObservations()
            editor.installKeyboardShortcuts()
        else:
            editor.setActiveEffect(None)
            editor.uninstallKeyboardShortcuts()
            editor.removeViewObservations()

    def _show_region(self) -> None:
        """Which region is edited, over the editor."""
        review, ui = self._panel.logic.review, self._ui
        rows = review.rows()
        row = next((row for row in rows if row.number == review.current), None)
        for button in (ui.editPreviousButton, ui.editNextButton):
            button.enabled = bool(rows)
        ui.confineCheckBox.enabled = row is not None
        if row is None:
            self._line.show(_("The whole segmentation") if not rows else _("No region is chosen"))
        else:
            what = row.about if row.structures else _("nothing here")
            text = _("{structures}, region {number} of {total}")
            self._line.show(text.format(structures=what, number=row.number, total=len(rows)))

    def _choose_segment(self, segment_id: str) -> None:
        """Edit this one."""
        self.made_editor.setCurrentSegmentID(segment_id)
        self._search.want(segment_id)

    def _node(self) -> Node:
        node = self._panel.scene.GetSingletonNode(_NODE_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(_NODE_TAG)
            node = self._panel.scene.AddNode(node)
        return node

    def _source_of(self, case: Case) -> Node:
        return self.mask.node or case.ct_node

    def _give_case_to(self, editor: Widget) -> None:
        """The case's nodes into the editor, where it has others; a closed scene took its node away, too."""
        case, node = self._case, self._node()
        if editor.mrmlSegmentEditorNode() is not node:
            editor.setMRMLSegmentEditorNode(node)
        wanted = case.node if case is not None else None
        if node.GetSegmentationNode() is not wanted:
            if self.mask.node is not None:
                self.mask.lift(node)
            editor.setSegmentationNode(wanted)
        source = self._source_of(case) if case is not None else None
        if node.GetSourceVolumeNode() is not source:
            editor.setSourceVolumeNode(source)
        if self._parts is not None and case != self._searched:
            self._searched = case
            self._search.turn_to(case, self._parts.table)
