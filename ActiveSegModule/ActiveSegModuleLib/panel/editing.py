"""The section *Edit*: Slicer's own Segment Editor, on the case that is reviewed."""

from __future__ import annotations

import qt
import slicer

from activeseg.core.errors import ActiveSegError, InputError

from ..engine.signals import connect
from ..scene.case import Case
from ..scene.region_mask import RegionMask
from ..slicer_types import Node, Widget
from .section import Panel, Section
from .steps import turn_to

_NODE_TAG = "ActiveSegEditor"


class EditingSection(Section):
    """The editor is made when it is first needed."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.made_editor: Widget = None
        self.mask = RegionMask(panel.scene)
        self._entered = False
        self._edited_elsewhere = False
        self._region: tuple[str, int | None] | None = None  # whose structure was chosen in the editor
        turn_to(panel.ui.reviewFaces, panel.ui.listFace)
        connect(panel.ui.editDoneButton, "clicked()", self.close)

    @property
    def editor(self) -> Widget:
        """The qMRMLSegmentEditorWidget, with the case that is reviewed in it."""
        if self.made_editor is None:
            self.made_editor = self._made()
            if self._entered:
                self.enter()
            self._give_case_to(self.made_editor)
            self.follow_region()
        self._give_case_to(self.made_editor)
        return self.made_editor

    def update(self) -> None:
        """Follow the case; only when the section is open or was before."""
        case = self._case
        self._ui.editingFace.enabled = case is not None
        if self.made_editor is None and (case is None or not self.is_open):
            return
        self._give_case_to(self.editor)
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
        return self.made_editor is not None and self.made_editor.activeEffect() is not None

    def open(self) -> None:
        """Bring the editor forward."""
        turn_to(self._ui.reviewFaces, self._ui.editingFace)
        self.update()

    def close(self) -> None:
        """Back to the list of regions, without an effect."""
        if self.made_editor is not None:
            self.made_editor.setActiveEffect(None)
        turn_to(self._ui.reviewFaces, self._ui.listFace)

    def enter(self) -> None:
        self._entered = True
        if self.made_editor is not None:
            self.made_editor.setMRMLSegmentEditorNode(self._node())
            self.made_editor.setupViewObservations()
            self.made_editor.installKeyboardShortcuts()
            self._give_case_to(self.made_editor)
            if self._edited_elsewhere:  # an undo here would take those edits back, too: it restores the whole
                self.made_editor.setUndoEnabled(False)
                self.made_editor.setUndoEnabled(True)
            self.confine()
        self._edited_elsewhere = False

    def exit(self) -> None:
        self._entered = False
        if self.made_editor is not None:
            self.made_editor.setActiveEffect(None)
            self.made_editor.uninstallKeyboardShortcuts()
            self.made_editor.removeViewObservations()

    def note_edit(self) -> None:
        """The segmentation was edited; by another editor, when this module is not shown."""
        self._edited_elsewhere |= not self._entered

    def scene_closes(self) -> None:
        if self.made_editor is not None:
            self.made_editor.setActiveEffect(None)

    def cleanup(self) -> None:
        if self.made_editor is not None:
            self.made_editor.setActiveEffect(None)
            self.made_editor.setMRMLScene(None)
            self.made_editor = None

    def select_structure(self, name: str) -> None:
        """Make a structure's segment the one that is edited; it gets one when it has none."""
        case = self._case
        if case is not None and name in case.schema.names:
            self.editor.setCurrentSegmentID(case.segmentation.add_structure(case.schema.named(name)))

    def choose_region(self) -> None:
        """Open the editor on the current region, whatever was edited in it before."""
        _ = self.editor
        self._region = None
        self.follow_region()

    def follow_region(self) -> None:
        """Turn to the current region: its structure is edited, only inside of it where that is ticked."""
        review, case = self._panel.logic.review, self._case
        region = (case.id, review.current) if case is not None else None
        if self.made_editor is not None:
            self._give_case_to(self.made_editor)
        if self.made_editor is not None and region != self._region:
            self._region = region
            row = next((row for row in review.rows() if row.number == review.current), None)
            if row is not None and row.structures:
                self.select_structure(row.structures[0])
        self.confine()

    def step(self, what: str) -> None:
        """``undo`` or ``redo``."""
        {"undo": self.editor.undo, "redo": self.editor.redo}[what]()

    def take_alternative(self, index: int) -> None:
        """Write an alternative of the current region into the segmentation, as one step of this editor's undo."""
        review, editor, case = self._panel.logic.review, self.editor, self._case
        if case is None:
            raise InputError("There is no segmentation that can be edited.", "Choose one, and load its CT.")
        logic = slicer.vtkSlicerSegmentEditorLogic()
        logic.SetMRMLScene(self._panel.scene)
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        logic.SetSegmentEditorNode(self._node())
        logic.SetSegmentationNode(case.node)
        logic.SetSourceVolumeNode(self._source_of(case))
        review.take(index, logic, editor.saveStateForUndo)

    def confine(self) -> None:
        """Let edits happen only in the current region where that is ticked, everywhere else."""
        review, node = self._panel.logic.review, self._panel.parameter_node
        case = self._case
        if self.made_editor is None or node is None:
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

    def _made(self) -> Widget:
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMaximumNumberOfUndoStates(10)
        editor.setEffectNameOrder(
            ["Paint", "Erase", "Draw", "Scissors", "Islands", "Smoothing", "Margin", "Grow from seeds", "Threshold"]
        )
        editor.unorderedEffectsVisible = False
        editor.setEffectButtonStyle(qt.Qt.ToolButtonIconOnly)
        editor.setEffectColumnCount(5)
        editor.setSegmentationNodeSelectorVisible(False)
        editor.setSourceVolumeNodeSelectorVisible(False)
        editor.setSwitchToSegmentationsButtonVisible(False)
        editor.setSpecifyGeometryButtonVisible(False)
        editor.setMaskingSectionVisible(False)
        editor.setAutoShowSourceVolumeNode(False)
        editor.setMRMLSegmentEditorNode(self._node())
        editor.setMRMLScene(self._panel.scene)
        self._ui.editorFrame.layout().addWidget(editor)
        return editor

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
