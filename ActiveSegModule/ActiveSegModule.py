"""ActiveSeg in 3D Slicer: the classes that Slicer looks for. The work is done in ActiveSegModuleLib."""

# ruff: noqa: E402, I001, N802, N803, N806, N815 - names are Slicer's, and activeseg is found before it is imported

import time
from pathlib import Path
from typing import Annotated

import qt
import slicer
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

find_activeseg()

from activeseg.client.environment.environment import default_folder
from ActiveSegModuleLib import sample_data, translation
from ActiveSegModuleLib.engine.listener import Listener
from ActiveSegModuleLib.logic.parts import Parts
from ActiveSegModuleLib.logic.run import Choice
from ActiveSegModuleLib.panel import at_start
from ActiveSegModuleLib.panel.export_texts import WhatCounts
from ActiveSegModuleLib.panel.pages import load_panel
from ActiveSegModuleLib.panel.panel import ModulePanel
from ActiveSegModuleLib.self_test import SelfTest

DATA_FOLDER = "ActiveSeg/dataFolder"


class ActiveSegModule(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        translation.install()
        parent.title = _("ActiveSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SubjectHierarchy", "Terminologies", "Volumes", "Colors", "Markups"]
        parent.contributors = ["ActiveSeg maintainers"]
        parent.helpText = _(
            "Segments a CT with TotalSegmentator or any nnU-Net model, highlights where the model is uncertain, and "
            "collects your corrections as a training dataset."
        )
        parent.acknowledgementText = _(
            "Built on nnU-Net (Isensee et al., Nature Methods 2021) and TotalSegmentator (Wasserthal et al., "
            "Radiology: Artificial Intelligence 2023)."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", offer_what_was_left)


def register_sample_data():
    """Offer the phantom in Slicer's Sample Data module; it is generated on request, without a download."""
    import SampleData

    sample_data.register(SampleData, Path(slicer.app.cachePath))


def offer_what_was_left():
    """Say in the status bar that there are unsaved corrections, or a training that was going on."""
    at_start.offer(data_folder() / "drafts", qt.QSettings())


def data_folder():
    """Where drafts are."""
    return Path(str(qt.QSettings().value(DATA_FOLDER) or default_folder().parent))


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


class ActiveSegModuleWidget(ScriptedLoadableModuleWidget):
    """Gives Slicer's calls to the panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.isReady = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget, self.ui = load_panel(self.resourcePath, slicer.mrmlScene)
        self.layout.addWidget(uiWidget)
        self.panel = ModulePanel(self.ui, ActiveSegModuleLogic, lambda: self.parent.isEntered)
        self.logic = self.panel.logic
        self.isReady = True
        if self.parent.isEntered:  # Slicer does not call enter() after a reload
            self.enter()

    @property
    def parameterNode(self):
        """None while another module is shown."""
        return self.panel.parameter_node

    def enter(self):
        self.panel.enter()

    def exit(self):
        self.panel.exit()

    def cleanup(self):
        self.panel.cleanup()


class ActiveSegModuleLogic(ScriptedLoadableModuleLogic, Parts):
    """Everything that the panel does, for scripts too; its parts are described in ActiveSegModuleLib.logic.parts."""

    def __init__(self, listener=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._parameters = None
        self.dataFolder = data_folder()
        environment = slicer.util.startupEnvironment()
        Parts.__init__(self, qt, slicer.mrmlScene, qt.QSettings(), self.dataFolder, environment, listener or Listener())

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

        ``options`` are those of ``ActiveSegModuleLib.logic.run.Choice``. Returns the segmentation node.
        Raises ActiveSegError.
        """
        self.segmenting.start(ctNode, Choice(model, **options))
        while self.segmenting.running is not None:
            slicer.app.processEvents()
            time.sleep(0.01)
        if self.segmenting.last_error is not None:
            raise self.segmenting.last_error
        return self.segmenting.last_case.node


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
        self.day.look_at_pages()
        self.day.segment()
        self.day.keys()
        self.day.click()
        self.day.review()
        self.day.edit()
        self.day.export()
        self.day.save_reopen_and_export_again()

    def test_cancel_leaves_nothing_behind(self):
        self.day.cancel()
