"""The life of a scene during each kind of job: whatever happens, nothing of the panel is stacked or points nowhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import learning_answers as told
import psutil
import pytest
import slicer
from answering_engine import AnsweringEngine
from conftest import ENGINE_PYTHON
from loaded_cases import MODULE, load_ct, make_case, pump, visible
from scripted_installer import Installer
from slicer_stand_in import LoadedModule
from user import User, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a '#!' script")


class Life:
    """One module after the other in one scene, with a case and a CT beside it."""

    def __init__(self, core: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.core, self.folder, self._monkeypatch = core, folder, monkeypatch
        self.views = [core.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2)]
        self.installs = False
        self.open()
        self.ct, self.other = load_ct(self.user, "CT1"), None
        self.case = make_case(self.user, self.ct, "case of CT1")
        self.user.widget.panel.case_changed(self.case)

    def open(self) -> None:
        self.module = LoadedModule(MODULE)
        self.engine: Any = None
        self.user = User(self.module, self.core)
        self.ui, self.logic = self.user.ui, self.user.logic

    def answer(self) -> None:
        """From now on there is an engine, which goes on for ever with what it is not asked to end."""
        self.engine = AnsweringEngine(self.module, self._monkeypatch)
        self.engine.answers["models.list"] = told.models()
        self.engine.answers["finetune.plan"] = told.plan()
        self.engine.answers["finetune.state"] = told.state("training", 3)

    # Jobs, each of which is under way afterwards.

    def segmenting(self) -> None:
        self.answer()
        self.module.enter()
        self.user.node.ct = self.ct
        until(lambda: self.logic.models.named("demo") is not None)
        self.user.node.model = "demo"
        until(lambda: self.ui.segmentButton.enabled)
        self.ui.segmentButton.click()
        until(lambda: self.logic.segmenting.running is not None)

    def exporting(self) -> None:
        self.answer()
        self.module.enter()
        self.user.node.segmentation = self.case.node
        self.user.node.dataset = str(self.folder / "Dataset801_Life")
        until(lambda: self.ui.exportButton.enabled)
        self.ui.exportButton.click()
        until(lambda: self.user.widget.panel.exporting.busy)

    def training(self) -> None:
        self.answer()
        project = self.folder / "livers"
        project.mkdir(exist_ok=True)
        (project / "project.json").write_text("{}")
        self.engine.answers["project.show"] = told.project(project, run=told.run("training"))
        self.module.enter()
        self.user.node.project = str(project)
        until(lambda: self.logic.project.summary is not None)
        until(lambda: self.logic.training.runs)

    def installing(self) -> None:
        self.installs = True
        installer = Installer(self.folder, self._monkeypatch)
        installer.works("install", "packages", "torch", fraction=0.42, step=3, steps=4)
        self.module.enter()
        until(lambda: not self.logic.installation.is_looking)
        self.user.widget.panel.steps.show(type(self.user.widget.panel.steps.current)["SEGMENT"])
        self.ui.setupButton.click()
        until(lambda: self.logic.installation.working is not None and self.logic.installation.working.stage)

    # What happens meanwhile.

    def close_scene(self) -> None:
        self.core.scene.Clear(0)
        self.views = [self.core.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2)]

    def delete_ct(self) -> None:
        self.core.scene.RemoveNode(self.ct)

    def delete_segmentation(self) -> None:
        self.core.scene.RemoveNode(self.case.node)

    def turn_to_another_ct_and_back(self) -> None:
        other = load_ct(self.user, "CT2", value=7)
        make_case(self.user, other, "case of CT2")
        self.user.node.ct = other
        pump()
        self.check()
        self.user.node.ct = self.ct

    def look_at_every_page(self) -> None:
        names = ("reviewStep", "editButton", "exportStep", "learnStep", "settingsButton", "segmentStep")
        for button in (getattr(self.ui, name) for name in names):
            if button.enabled:
                button.click()
            pump()
            self.check()

    def reload_module(self) -> None:
        self.module.close()
        assert [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE] == []
        self.open()
        if not self.installs:
            self.answer()
        self.module.enter()

    # What must hold.

    def check(self) -> None:
        from ActiveSegModuleLib.scene.case import Case

        scene, node, ui = self.core.scene, self.user.node, self.ui
        for chosen in (node.ct, node.segmentation):
            assert chosen is None or scene.IsNodePresent(chosen)
        case = Case.of(node.segmentation)
        assert self.user.case == case
        assert visible(self.user) <= ({case.name} if case is not None else set())
        for view in self.views:
            for shown in (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetLabelVolumeID()):
                assert shown is None or scene.GetNodeByID(shown) is not None
        assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") <= 1
        owned = {id for each in Case.all_in(scene) for id in (node.GetID() for node in each.companions())}
        maps = [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetAttribute("ActiveSeg.Role")]
        assert {each.GetID() for each in maps} <= owned, "a map without its case"
        steps = (ui.segmentStep, ui.reviewStep, ui.exportStep, ui.learnStep)
        assert [step.checked for step in steps].count(True) == 1
        shown_pages = [index for index in range(ui.pages.count) if not ui.pages.widget(index).isHidden()]
        assert shown_pages == [ui.pages.currentIndex]
        assert "Traceback" not in self.user.widget.panel.message.text
        made = self.user.widget.panel.editing.made_editor
        if made is not None:
            edited = made.mrmlSegmentEditorNode().GetSegmentationNode()
            assert edited is None or scene.IsNodePresent(edited)

    def close(self) -> None:
        self.module.close()


@pytest.fixture
def life(slicer_core: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    from ActiveSegModuleLib.panel import drafts

    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    monkeypatch.setattr(drafts, "LONGEST_WAIT_S", 0)  # nothing answers a draft here
    made = Life(slicer_core, tmp_path, monkeypatch)
    yield made
    made.close()


JOBS: dict[str, Callable[[Life], None]] = {
    "segmenting": Life.segmenting,
    "exporting": Life.exporting,
    "training": Life.training,
    "installing": Life.installing,
}
EVENTS: dict[str, Callable[[Life], None]] = {
    "closed scene": Life.close_scene,
    "CT deleted": Life.delete_ct,
    "segmentation deleted": Life.delete_segmentation,
    "another CT": Life.turn_to_another_ct_and_back,
    "every page": Life.look_at_every_page,
    "module reloaded": Life.reload_module,
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("job", JOBS)
def test_nothing_is_stacked_or_points_nowhere_when_something_happens_during_a_job(
    life: Life, job: str, event: str
) -> None:
    JOBS[job](life)
    pump()
    life.check()
    EVENTS[event](life)
    pump()
    until(lambda: not life.logic.installation.is_looking)
    life.check()
