"""ActiveSeg in 3D Slicer: module, panel, logic and self test. The work is done in ActiveSegModuleLib."""

# ruff: noqa: E402, I001, N802, N803, N806, N815 - names are Slicer's, and activeseg is found before it is imported

import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from ActiveSegModuleLib.paths import find_activeseg
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

find_activeseg()

from activeseg.client.environment.environment import default_folder
from activeseg.system.folders import default_home
from activeseg.core.errors import ActiveSegError, Cancelled
from ActiveSegModuleLib import sample_data
from ActiveSegModuleLib.logic.drafts import Drafts
from ActiveSegModuleLib.engine.engine import Engine
from ActiveSegModuleLib.engine.engine_process import Listeners
from ActiveSegModuleLib.logic.exporting import Exporting
from ActiveSegModuleLib.logic.installation import Installation
from ActiveSegModuleLib.engine.later import Later
from ActiveSegModuleLib.logic.learning import Learning
from ActiveSegModuleLib.engine.listener import Listener
from ActiveSegModuleLib.logic.models import Models
from ActiveSegModuleLib.engine.signals import connect
from ActiveSegModuleLib.panel import at_start
from ActiveSegModuleLib.panel.drafts import DraftKeeping, DraftsSection
from ActiveSegModuleLib.panel.editing import EditingSection
from ActiveSegModuleLib.panel.exporting import ExportingSection
from ActiveSegModuleLib.panel.installation import InstallationSection
from ActiveSegModuleLib.panel.learning import LearningSection
from ActiveSegModuleLib.panel.message import Message
from ActiveSegModuleLib.panel.question import confirmed
from ActiveSegModuleLib.panel.review import ReviewSection
from ActiveSegModuleLib.panel.segmenting import SegmentingSection
from ActiveSegModuleLib.panel.weights import WeightsSection
from ActiveSegModuleLib.logic.review import Review
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.uncertainty import ROLE_ATTRIBUTE
from ActiveSegModuleLib.scene.views import show_volume, take_out
from ActiveSegModuleLib.logic.segmenting import Choice, Segmenting
from ActiveSegModuleLib.self_test import SelfTest

DATA_FOLDER = "ActiveSeg/dataFolder"


class ActiveSegModule(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("ActiveSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SubjectHierarchy", "Terminologies", "Volumes", "Colors", "Markups"]
        parent.contributors = ["ActiveSeg maintainers"]
        parent.helpText = _(
            "Segments a CT with TotalSegmentator or any nnU-Net model, shows where the model is unsure, and collects "
            "your corrections as a training dataset."
        )
        parent.acknowledgementText = _(
            "Built on nnU-Net (Isensee et al., Nature Methods 2021) and TotalSegmentator (Wasserthal et al., "
            "Radiology: Artificial Intelligence 2023)."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", offer_what_was_left)


def register_sample_data():
    """Offer the phantom in Slicer's Sample Data module; it is made when it is asked for, without a download."""
    import SampleData

    sample_data.register(SampleData, Path(slicer.app.cachePath))


def offer_what_was_left():
    """Say in the status bar that there are unsaved corrections, or a training that was going on."""
    at_start.offer(data_folder() / "drafts", qt.QSettings())


def data_folder():
    """Where drafts are."""
    return Path(str(qt.QSettings().value(DATA_FOLDER) or default_folder().parent))


class WhatCounts(Enum):
    """What counts as truth of that which nobody looked at (the engine's ``review``)."""

    REGIONS = "regions"
    ALL = "all"
    NONE = "none"

    def label(self):
        return {
            WhatCounts.REGIONS: _("certain voxels count, uncertain ones are ignored"),
            WhatCounts.ALL: _("everything counts: I looked at the whole case"),
            WhatCounts.NONE: _("nothing counts outside of reviewed regions"),
        }[self]


@parameterNodeWrapper
class ActiveSegModuleParameterNode:
    """What the panel keeps in the scene. Structures are names, one a line; empty: all."""

    ct: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    model: str = ""
    device: str = "auto"
    members: str = "auto"
    structures: str = ""
    focus: str = ""
    regionCount: Annotated[int, WithinRange(0, 50)] = 10
    exact: bool = False
    preview: bool = False
    allowCoarser: bool = False
    showUncertainty: bool = True
    measure: str = ""
    threshold: Annotated[float, WithinRange(0, 1)] = 0.25
    opacity: Annotated[float, WithinRange(0, 1)] = 0.7
    legend: bool = True
    confine: bool = False
    dataset: str = ""
    review: WhatCounts = WhatCounts.REGIONS
    project: str = ""
    goOn: bool = False


class ActiveSegModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin, Listener):
    """The panel: makes the sections, and passes on what happens in the scene, the engine and the other sections."""

    EDIT_DELAY_MS = 200  # after the last event of a stroke, an undo or a script

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameterNode = None
        self.isReady = False

    # Slicer calls these.

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ActiveSegModule.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.scene, self.settings = slicer.mrmlScene, qt.QSettings()
        self.logic = ActiveSegModuleLogic(self)
        self._later = Later(qt)
        self._current = None  # ids of the CT and the segmentation that the views show; None in a new scene
        self._activeVolume = None  # id of what the panel showed last; Slicer names another when one is loaded
        self._observedCase = None
        self._observedCt = None
        self._observerTags = []
        self._casesTold = set()
        self._tookOver = set()
        self._caseArrived = None
        self._hiddenMaps = []
        self._editTimer = self._timer(self.EDIT_DELAY_MS, self.note_edits, once=True)
        self._updateTimer = self._timer(0, self.update, once=True)

        self.message = Message(self.ui)
        self.segmenting = SegmentingSection(self)
        self.editing = EditingSection(self)
        self.review = ReviewSection(self)
        self.exporting = ExportingSection(self)
        self.learning = LearningSection(self)
        self.installation = InstallationSection(self)
        self.weights = WeightsSection(self)
        self.keeping = DraftKeeping(self)
        self.draftBar = DraftsSection(self)

        scene = self.scene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneReady)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneReady)  # else the wrapper keeps the old scene's nodes
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        connect(slicer.app, "aboutToQuit()", self.onAboutToQuit)
        at_start.withdraw()
        self.isReady = True
        if self.parent.isEntered:  # after a reload nobody calls enter()
            self.enter()

    def cleanup(self):
        self.removeObservers()
        self._observe(None)
        self._later.close()
        for timer in (self._editTimer, self._updateTimer):
            timer.stop()
        self.setParameterNode(None)
        self.review.leave()
        self.editing.cleanup()
        self.installation.cleanup()
        slicer.app.disconnect("aboutToQuit()", self.onAboutToQuit)
        self.onAboutToQuit()

    def onAboutToQuit(self):
        self.keeping.look_for_saved_scene()
        self.keeping.stop()
        self.learning.leave()
        self.logic.shutdown()

    def enter(self):
        self.initializeParameterNode()
        if self._caseArrived is not None and self.in_scene(self._caseArrived.node):
            self.choose(self._caseArrived)
        self._caseArrived = None
        self.editing.enter()
        self.installation.update()
        self.installation.enter()
        self.engine_changed()

    def exit(self):
        self.editing.exit()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.logic.segmenting.cancel()
        self.case_left()
        self.keeping.scene_closes()
        self.editing.scene_closes()
        self.review.leave()
        self.setParameterNode(None)
        self._current = self._activeVolume = None

    def onSceneReady(self, caller, event):
        self.logic.forgetParameterNode()
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        if is_ct(node):
            self._later(self.onVolumeLoaded)  # its image comes after the node

    def onVolumeLoaded(self):
        self.take_cts_again()
        self.choose_loaded_ct()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        """What belongs to a segmentation goes with it, and out of the views while it is still there."""
        if self.scene.IsClosing():
            return
        if node.GetAttribute(ROLE_ATTRIBUTE) is not None:
            take_out(self.scene, {node.GetID()})
        case = Case.of(node)
        if case is not None:
            companions = case.own_companions()
            take_out(self.scene, {companion.GetID() for companion in companions})
            self._later(lambda: self.remove_nodes(companions))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, node):
        """Slicer's views turn to another volume when one is removed, and it may be one that nobody should see."""
        if self.parameterNode is not None and not self.scene.IsClosing():
            self._updateTimer.start()

    # The parameter node.

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        self.take_cts_again()
        self.choose_loaded_ct()
        self._show_ct(self.parameterNode.ct)  # another module may have shown another volume

    def setParameterNode(self, parameterNode):
        if self.parameterNode is not None:
            self.parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameterNodeModified)
        self.parameterNode = parameterNode
        if parameterNode is not None:
            self._hide_maps()  # before the selectors look for nodes
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParameterNodeModified)
            self.update()

    def onParameterNodeModified(self, caller=None, event=None):
        self._updateTimer.start()

    def update(self):
        """Everything that the panel shows, from the scene."""
        if self.parameterNode is None:
            return
        self._hide_maps()
        self._take_out_helpers()
        self._turn_to_what_was_chosen()
        self.review.update()
        self.segmenting.update()
        self.editing.update()
        self.exporting.update()
        self.learning.update()
        self.weights.update()
        self._observe(self.logic.review.case)

    def choose_loaded_ct(self):
        """The loaded CT is chosen already: the one in the views, or the only one.

        What is loaded while another CT is chosen takes its place when Slicer shows it.
        """
        node = self.parameterNode
        if node is None:
            return
        volumes = [volume for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if is_ct(volume)]
        active_id = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        active = next((volume for volume in volumes if volume.GetID() == active_id), None)
        if node.ct is None:
            node.ct = active or (volumes[-1] if volumes else None)
        elif active is not None and self._current is not None and active_id != self._activeVolume:
            node.ct = active

    def take_cts_again(self):
        """A CT that was removed and is loaded again is taken by the segmentations that were made of it."""
        orphans = [case for case in Case.all_in(self.scene) if not case.has_ct]
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if orphans else []
        for case in orphans:
            ct = next((volume for volume in volumes if is_ct(volume) and case.fits(volume)), None)
            if ct is not None:
                case.take_ct(ct)
                self._current = None  # so that the views turn to what belongs together now
                self.notice(
                    _("{ct} is the CT of {name}: both belong together again.").format(ct=ct.GetName(), name=case.name)
                )
        self._updateTimer.start()

    def _turn_to_what_was_chosen(self):
        """One current case: a segmentation brings its CT, a CT its newest segmentation; nothing else is shown."""
        node = self.parameterNode
        chosen = _id(node.ct), _id(node.segmentation)
        if chosen == self._current:
            return
        had_ct, had_segmentation = self._current or (None, None)
        case = Case.of(node.segmentation)
        if case is not None and case.has_ct and (chosen[1] != had_segmentation or case.ct_node is node.ct):
            ct, segmentation = case.ct_node, case.node
        elif (node.ct is not None or (case is not None and case.has_ct)) and chosen[0] != had_ct:
            newest = Case.newest_of(self.scene, node.ct) if node.ct is not None else None
            ct, segmentation = node.ct, newest.node if newest is not None else None
        else:
            ct, segmentation = node.ct, node.segmentation
        modifying = node.StartModify()
        node.ct, node.segmentation = ct, segmentation
        node.EndModify(modifying)
        self._current = _id(ct), _id(segmentation)
        self._show_ct(ct)
        orphan = case is not None and case.node is segmentation and not case.has_ct
        self._show_only(None if orphan else segmentation)  # what the views show behind is another patient

    def _show_ct(self, ct):
        if ct is not None:
            show_volume(self.scene, ct, slicer.app.applicationLogic())
            self._activeVolume = ct.GetID()

    def _show_only(self, segmentation):
        """Of all that ActiveSeg made only this segmentation is visible; others' stay as they are."""
        for case in Case.all_in(self.scene):
            if bool(case.node.GetDisplayVisibility()) != (case.node is segmentation):
                case.node.SetDisplayVisibility(case.node is segmentation)

    def _take_out_helpers(self):
        """No view shows what only ActiveSeg reads: what was predicted, and maps that are not the chosen one."""
        volumes = slicer.util.getNodesByClass("vtkMRMLVolumeNode")
        helpers = {case.original_node.GetID() for case in Case.all_in(self.scene) if case.original_node is not None}
        helpers |= {
            volume.GetID()
            for volume in volumes
            if volume.GetHideFromEditors() and volume.GetAttribute(ROLE_ATTRIBUTE) is not None
        }
        take_out(self.scene, helpers)

    def _hide_maps(self):
        """Uncertainty maps are volumes, too, but nothing to segment."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        hidden = [volume.GetID() for volume in volumes if not is_ct(volume)]
        if hidden != self._hiddenMaps:
            self._hiddenMaps = hidden
            self.ui.ctSelector.sortFilterProxyModel().hiddenNodeIDs = hidden

    # What sections ask of the panel.

    @property
    def usage_statistics(self):
        return self.installation.usage_statistics

    def in_scene(self, node):
        return bool(self.scene.IsNodePresent(node))

    def red_slice_node(self):
        return self.scene.GetNodeByID("vtkMRMLSliceNodeRed")

    def remove_nodes(self, nodes):
        for node in nodes:
            if self.in_scene(node):
                self.scene.RemoveNode(node)

    def confirm(self, question, yes=""):
        """Whether the user presses the button ``yes``."""
        return slicer.app.testingEnabled() or confirmed(question, yes)

    def show_error(self, error):
        """An error with the one button that helps, where there is one; what the user ended is none."""
        if isinstance(error, Cancelled):
            return
        obstacle, way_out = self.logic.installation.obstacle, self.weights.way_out(error)
        if obstacle is not None and error.message == obstacle.message:
            self.installation.show_obstacle(obstacle)
        elif way_out is not None:
            self.message.error(error, *way_out)
        else:
            self.message.error(error)

    def engine_changed(self):
        """There is an engine now, or none any more, or another one."""
        if self.logic.installation.obstacle is None:
            self.segmenting.refresh()
            self.logic.drafts.tidy_up()
            self.learning.refresh()
        self._updateTimer.start()

    def open_section(self, section):
        section.collapsed = False

    def choose(self, case):
        """Turn to a case, and to its CT."""
        if self.parameterNode is None:  # another module is shown
            self._caseArrived = case
            self._show_only(case.node)
            return
        ctNode = case.ct_node if case.has_ct else self.parameterNode.ct  # it may have been removed meanwhile
        modifying = self.parameterNode.StartModify()
        self.parameterNode.ct = ctNode
        self.parameterNode.segmentation = case.node
        self.parameterNode.EndModify(modifying)
        self._show_only(case.node if case.has_ct else None)  # at once: the views must never show two
        self._current = None  # what was current is not shown any more, even if the next choice is that again
        self.open_section(self.ui.reviewSection)

    def case_left(self):
        """Another case is going to be reviewed: what was done in this one just now belongs to it."""
        if self._editTimer.isActive():
            self._editTimer.stop()
            self.note_edits()

    def case_opened(self, case):
        """Another case is reviewed now."""
        self.keeping.save()

    def region_changed(self):
        self.editing.follow_region()
        self.keeping.save()

    def region_reviewed(self):
        self.case_changed_by_user()
        self.keeping.save()

    def case_edited(self):
        self.case_changed_by_user()
        self.editing.confine()

    def case_changed_by_user(self):
        """Its segments, states, notes: a draft is due, and what was told about its export is no longer true."""
        case = self.logic.review.case
        if case is not None and not case.is_preview:
            self.keeping.edited(case)
            self.exporting.forget_summary()

    def case_exported(self, case, edits):
        """``edits`` as ``keeping.edits_of`` had counted when the export began."""
        self.keeping.exported(case, edits)
        self.learning.refresh()

    def project_changed(self, summary):
        """A project was read, or has a new version: its current one can be chosen, and takes the base model's place."""
        self.logic.models.offer_project(summary, lambda: self._projectOffered(summary), self.show_error)

    def _projectOffered(self, summary):
        self.segmenting.list_models()
        name = f"project:{summary['project']}"
        node, current = self.parameterNode, summary["current"]
        once = (summary["project"], current)  # who then chooses the base model again means it
        replaces = node is not None and node.model == summary["base_model"]
        if replaces and current != "base" and once not in self._tookOver:
            self._tookOver.add(once)
            self.segmenting.remember(name)
            node.model = name
            self.message.notice(_("From now on version {version} of the project segments.").format(version=current))

    def note_edits(self):
        """The segmentation was edited, here, in the Segment Editor's own module, or by a script."""
        if self.logic.review.case is None:
            return
        self.case_changed_by_user()
        try:
            if self.logic.review.note_edits():
                self.review.update_regions()
        except ActiveSegError as error:  # the CT was removed
            self.show_error(error)

    def edit_current_region(self):
        """Open the editor on the current region's first structure."""
        self.open_section(self.ui.editSection)
        self.editing.choose_region()

    # Listener: what the logic tells.

    def segmenting_changed(self):
        self.segmenting.show_progress()

    def case_changed(self, case):
        if case.id not in self._casesTold:  # later on the user may have turned to another one
            self._casesTold.add(case.id)
            self.review.new_case(case)
            node = self.parameterNode
            if node is not None and case.has_ct and node.ct not in (None, case.ct_node):
                case.node.SetDisplayVisibility(False)
                self.notice(_("{name} is ready. Choose its CT to review it.").format(name=case.name))
            else:
                self.choose(case)
        self._updateTimer.start()

    def notice(self, text):
        self.message.notice(text)

    def error(self, error):
        self.segmenting.failed(error)

    def engine_started(self, about):
        self.installation.update()

    def engine_ended(self, error, log_tail):
        self.installation.update()

    def log_line(self, line):
        self.installation.add_log_line(line)

    def installation_changed(self):
        self.installation.update()
        self._updateTimer.start()  # buttons elsewhere wait for it

    # Edits are seen by observing the segmentation of the case that is reviewed.

    def _observe(self, case):
        node = case.node if case is not None else None
        ct = case.ct_node if case is not None and case.has_ct else None
        if self._observedCase is node and self._observedCt is ct:
            return
        events = (
            slicer.vtkSegmentation.SourceRepresentationModified,
            slicer.vtkSegmentation.SegmentAdded,
            slicer.vtkSegmentation.SegmentRemoved,
            slicer.vtkSegmentation.SegmentModified,
        )
        # Not by the mixin, which would keep every segmentation, with its voxels, until the module goes.
        for observed, tag in self._observerTags:
            observed.RemoveObserver(tag)
        self._observerTags = []
        if node is not None:
            self._observerTags += [(node, node.AddObserver(event, self.onSegmentationEdited)) for event in events]
        if ct is not None:
            moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
            self._observerTags.append((ct, ct.AddObserver(moved, self.onCtMoved)))
        self._observedCase, self._observedCt = node, ct

    def onSegmentationEdited(self, caller, event):
        self.editing.note_edit()
        self._editTimer.start()

    def onCtMoved(self, caller, event):
        self._later(self.logic.review.follow_ct)  # what else is put under that transform may still be on its way

    def _timer(self, interval_ms, function, once=False):
        timer = qt.QTimer()
        timer.setSingleShot(once)
        timer.setInterval(interval_ms)
        connect(timer, "timeout()", function)
        return timer


def _id(node):
    return node.GetID() if node is not None else None


def is_ct(node):
    """Whether a node can be segmented: a scalar volume that is neither a label map nor one of our maps, nor hidden."""
    return (
        node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and node.GetAttribute("ActiveSeg.Role") is None
    )


class ActiveSegModuleLogic(ScriptedLoadableModuleLogic):
    """Everything that the panel does, for scripts too.

    Attributes
    ----------
    installation, engine, models, segmenting, review, drafts, exporting, learning : one for each section, see
        ActiveSegModuleLib
    """

    def __init__(self, listener=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._parameters = None
        listener = listener or Listener()
        scene, settings = slicer.mrmlScene, qt.QSettings()
        self.dataFolder = data_folder()
        self.installation = Installation(qt, settings, listener.installation_changed)
        self.engine = Engine(
            qt,
            self.installation,
            default_home(),
            slicer.util.startupEnvironment(),
            Listeners(listener.engine_started, listener.engine_ended, listener.log_line),
        )
        self.models = Models(self.engine, settings)
        drafts = self.dataFolder / "drafts"
        self.segmenting = Segmenting(scene, self.engine, drafts, listener)
        self.review = Review(scene)
        self.drafts = Drafts(self.engine, drafts, listener.notice, settings)
        self.exporting = Exporting(scene, self.engine, self.drafts)
        self.learning = Learning(self.engine)

    def getParameterNode(self):
        """The same wrapper for as long as it may be: each one observes the node for good."""
        node = super().getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = ActiveSegModuleParameterNode(node)
        return self._parameters

    def forgetParameterNode(self):
        """A scene was closed or loaded: a wrapper from before has lost its nodes."""
        self._parameters = None

    def segment(self, ctNode, model="totalsegmentator:total", **options):
        """Segment a volume node and wait for it, with Slicer usable meanwhile; for scripts and the Python console.

        ``options`` are those of ``ActiveSegModuleLib.logic.segmenting.Choice``. Returns the segmentation node.
        Raises ActiveSegError.
        """
        self.segmenting.start(ctNode, Choice(model, **options))
        while self.segmenting.running is not None:
            slicer.app.processEvents()
            time.sleep(0.01)
        if self.segmenting.last_error is not None:
            raise self.segmenting.last_error
        return self.segmenting.last_case.node

    def shutdown(self):
        """End the engine and the installer, when Slicer quits or the module is reloaded."""
        self.segmenting.cancel()
        self.installation.shutdown()
        self.engine.close()


class ActiveSegModuleTest(ScriptedLoadableModuleTest):
    """A user's day in a running Slicer, with the demo model and a phantom; pictures go to ACTIVESEG_TEST_OUTPUT."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.day = SelfTest(self)

    def tearDown(self):
        self.day.clean_up()
        slicer.mrmlScene.Clear()

    def runTest(self):
        for name in ("test_segment_review_correct_export", "test_cancel_leaves_nothing_behind"):
            self.setUp()
            getattr(self, name)()
            self.tearDown()

    def test_segment_review_correct_export(self):
        self.day.segment()
        self.day.review()
        self.day.edit()
        self.day.export()
        self.day.save_reopen_and_export_again()

    def test_cancel_leaves_nothing_behind(self):
        self.day.cancel()
