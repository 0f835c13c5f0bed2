"""A whole day with the panel, from a Slicer without an engine to a trained version and a scene that is opened again.

Every step is done with ``Hands`` and says what the user sees then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
from day_hands import Hands
from loaded_cases import stroke
from pictures_checks import findings
from pictures_look import ROOMS, grab
from PySide6 import QtCore
from pythonqt import FileDialog
from user import User, until

from activeseg.samples.phantom import Domain, make_phantom

_Key = QtCore.Qt.Key
SECOND_SEED = 13


class Day(User):
    """One user, one day. The steps are in the order of the day."""

    def __init__(self, module: Any, core: Any, hands: Hands, folder: Path, monkeypatch: Any) -> None:
        super().__init__(module, core)
        self.hands, self.folder = hands, folder
        self.panel = module.widget.panel
        self.dataset = folder / "Dataset801_Day"
        self.project = folder / "day"
        self.questions: list[str] = []
        self.unsightly: list[str] = []
        self._looks = 0
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(self.panel, "confirm", self._agree)
        monkeypatch.setattr(slicer.util, "openAddDataDialog", self._open_second_ct, raising=False)

    def walk(self, python: Path) -> None:
        """All of it; ``python`` has the engine's packages."""
        step = self.hands.ledger.step
        with step("install"):
            self.arrive()
            self.set_up(python)
        with step("segment"):
            self.segment()
        with step("review"):
            self.review()
            self.reopen_and_decide_again()
        with step("export"):
            self.export("4711", "CT_0001")
        with step("next case"):
            self.next_case()
            self.segment_while_typing()
            self.review_quickly()
            self.export("4712", "CT_0002")
        with step("train"):
            self.begin_project()
            self.train()
        with step("use the version"):
            self.use_version()
        with step("open again"):
            self.close_and_open_again()

    # What the user sees.

    @property
    def page(self) -> str:
        return str(self.ui.pages.currentWidget().objectName)

    @property
    def told(self) -> str:
        """The message in the bar."""
        return str(self.panel.message.text)

    @property
    def offered(self) -> list[str]:
        """Its buttons."""
        buttons = (self.ui.messageActionButton, self.ui.messageOtherButton)
        return [str(button.text) for button in buttons if button.isVisible()]

    def state(self, step: str) -> str:
        """The second line of a step's button."""
        return str(getattr(self.ui, f"{step}Step").text).partition("\n")[2]

    def check_look(self) -> None:
        """Whatever the state, the page can be read in the room that a laptop gives it."""
        QtCore.QCoreApplication.processEvents()
        QtCore.QCoreApplication.sendPostedEvents()  # a text that has just changed gets its room in the next turn
        self._looks += 1
        picture = f"{self._looks:02d}_{self.page}"
        grab(self.hands.window, self.folder / "pictures" / f"{picture}.png")
        self.unsightly += [f"{picture}: {found}" for found in findings(self.module.parent, ROOMS[0])]

    # Before noon.

    def arrive(self) -> None:
        """The module is opened in a Slicer that has no engine."""
        assert self.page == "setupPage"
        assert self.state("segment") == "set up"
        assert self.told == ""
        assert self.ui.setupButton.isVisible()
        assert self.ui.setupButton.text == "Install"
        until(lambda: "free" in self.ui.setupSizeLabel.text)
        self.check_look()

    def set_up(self, python: Path) -> None:
        """A Python that is there already is named on the card; meanwhile the sample CT is looked at."""
        FileDialog.answer = str(python)
        self.hands.click(self.ui.setupMoreButton)
        self.check_look()
        self.hands.click(self.ui.setupPythonButton)
        assert self.ui.setupProgressFrame.isVisible()
        assert not self.ui.segmentButton.isVisible()
        self.check_look()
        self.hands.click(self.ui.setupSampleButton)
        until(lambda: self.node.ct is not None)
        assert self.node.ct.GetName() == "ActiveSeg phantom"
        until(lambda: self.logic.installation.python is not None or self.logic.installation.working is None)
        until(lambda: self.page == "segmentPage")
        assert self.told == "Your own Python is used from now on."
        assert self.node.ct.GetName() == "ActiveSeg phantom"
        until(lambda: self.logic.models.named("demo") is not None)
        self.check_look()

    def segment(self) -> None:
        """The demo model on the CT that is chosen already; *Review* comes by itself."""
        self._choose_in_tree("demo")
        until(lambda: self.ui.segmentButton.enabled)
        self.hands.click(self.ui.segmentButton)
        assert not self.ui.segmentButton.enabled
        until(lambda: self.state("segment").startswith("running"))
        self.check_look()
        until(lambda: self.page == "reviewPage" and self.listed)
        assert self.told == f"Segmented: {len(self.listed)} regions to review."
        assert self.offered == ["Back to Segment"]
        assert self.logic.review.current == self.listed[0] == 1
        assert self.ui.regionLabel.text.startswith(f"Region 1 of {len(self.listed)}, ")
        scores = [region.score for region in self.case.regions.regions]
        assert scores == sorted(scores, reverse=True)
        assert self.state("review") == f"0 of {len(self.listed)}"
        self.check_look()
        until(lambda: self.logic.segmenting.running is None)
        assert self.state("segment") == "done"
        assert self.page == "reviewPage"

    def review(self) -> None:
        """Every region by keys alone, right after the page has come; one alternative, one edit."""
        total, start = len(self.listed), self.logic.review.current
        for number in self.listed[1:]:
            self.hands.key("n")
            assert self.logic.review.current == number
        self.hands.key("n", shift=True)
        assert self.logic.review.current == self.listed[-2]
        self.hands.key("?")
        assert self.panel.review.keys.is_shown
        self.hands.key("?")
        assert not self.panel.review.keys.is_shown
        self._take_alternative()
        self._edit()
        while "open" in self.states():
            before = self.states()
            here = before[self.logic.review.current - 1]
            self.hands.key("k" if here == "open" and before.count("open") == 2 else "c")
            assert (self.states() != before) == (here == "open"), "accepting what was corrected only goes on"
        assert self.hands.focus.objectName in ("regionTable", "views")
        assert self.states().count("skipped") == 1
        assert self.states().count("corrected") >= 2
        assert start == 1
        assert self.told.startswith(f"All {total} regions are decided: ")
        assert self.offered == ["Export", "Apply to the rest..."]
        assert self.page == "reviewPage", "the last decision offers, and does not turn"
        assert self.state("review") == "done"
        self.check_look()

    def reopen_and_decide_again(self) -> None:
        """A decision is taken back with a key, and taken again."""
        self.hands.key("c", shift=True)
        assert self.states().count("open") == 1
        assert self.state("review") == f"{len(self.listed) - 1} of {len(self.listed)}"
        self.hands.key("c")
        assert "open" not in self.states()

    def export(self, patient: str, name: str) -> None:
        """What is unusual is told before; the patient's ID and the annotator are entered once."""
        self.hands.click(self.ui.messageActionButton)
        assert self.page == "exportPage"
        assert self.told == ""
        if not self.ui.annotatorEdit.text:
            self.hands.fill(self.ui.annotatorEdit, "Ada")
            self.hands.fill(self.ui.datasetEdit, str(self.dataset))
            self.hands.choose(self.ui.reviewSelector, self.ui.reviewSelector.itemData(2))
        self.hands.fill(self.ui.patientEdit, patient)
        until(lambda: "Counting" not in self.ui.summaryBrowser.plainText)
        assert self.ui.summaryBrowser.plainText.startswith("A new case would be stored in Dataset801_Day")
        assert self.state("export") == "not stored"
        self.check_look()
        self.hands.click(self.ui.exportButton)
        until(lambda: self.ui.exportProgressFrame.isVisible())
        self.check_look()
        until(lambda: self.told)
        assert self.told == f"Stored as {name} in Dataset801_Day"
        assert self.offered == ["Learn", "Next case"]
        assert self.state("export") == "stored"
        self.check_look()

    # The second patient.

    def next_case(self) -> None:
        """No other CT is loaded: Slicer asks for files, and what is loaded is chosen."""
        self.hands.click(self.ui.messageOtherButton)
        assert self.page == "segmentPage"
        until(lambda: self.node.ct is not None and self.node.ct.GetName() == "Second")
        until(lambda: self.case is None)
        assert self.state("review") == ""
        assert self.state("export") == ""
        self.check_look()

    def segment_while_typing(self) -> None:
        """Whoever types when the result comes is not led away: the message offers it."""
        first = self.logic.segmenting.last_case
        until(lambda: self.ui.segmentButton.enabled and self.chosen_model == "demo")
        self.hands.click(self.ui.segmentButton)
        self.hands.click(self.ui.modelSearch)
        until(lambda: self._type_on("demo") and self.case is not None and self.case != first)
        until(lambda: self.logic.segmenting.running is None)
        assert self.page == "segmentPage"
        assert self.hands.focus == self.ui.modelSearch
        assert self.ui.modelSearch.text == "demo"
        assert self.offered == ["Review"]
        self.check_look()
        self.hands.click(self.ui.messageActionButton)
        assert self.page == "reviewPage"
        assert self.logic.review.current == 1

    def review_quickly(self) -> None:
        """Accept, accept, accept."""
        while "open" in self.states():
            self.hands.key("c")
        assert set(self.states()) == {"accepted"}
        assert self.offered == ["Export"]

    # The afternoon.

    def begin_project(self) -> None:
        """From the message to a project on the dataset that was just exported to."""
        self.hands.click(self.ui.messageActionButton)
        assert self.page == "learnPage"
        assert self.face == "beginFace"
        self.check_look()
        self.hands.fill(self.ui.projectEdit, str(self.project))
        until(lambda: self.ui.projectNewButton.enabled)
        assert self.ui.projectModelSelector.currentData == "demo"
        assert self.ui.projectDatasetLabel.text == "Dataset801_Day"
        self.hands.click(self.ui.projectNewButton)
        until(lambda: self.logic.project.summary)
        assert self.told.startswith("The project day is ready.")
        assert self.face == "planFace"
        assert sorted(map(str, self.logic.project.summary.cases.values())) == ["held out", "train"]
        assert self.state("learn") == "1 waiting"
        self.check_look()

    def train(self) -> None:
        """As little as can be, so that the day ends; the decision and its reason are told."""
        until(lambda: self.ui.finetuneButton.enabled)
        self.hands.click(self.ui.numbersButton)
        for spin, value in (
            (self.ui.epochsSpin, "2"),
            (self.ui.iterationsSpin, "1"),
            (self.ui.trainMembersSpin, "1"),
        ):
            self.hands.fill(spin, value)
        self.check_look()
        self.hands.click(self.ui.planButton)
        until(lambda: "2 epochs of 1" in self.ui.planBrowser.toPlainText())
        until(lambda: self.ui.finetuneButton.enabled)
        self.check_look()
        self.hands.click(self.ui.finetuneButton)
        until(lambda: self.logic.training.runs)
        assert self.face == "trainingFace"
        until(lambda: self.state("learn").startswith("running"))
        self.check_look()
        until(lambda: self.face == "decisionFace")
        until(lambda: "v0001" in self.told)
        current = self.logic.project.summary.current
        assert ("is better" in self.told) == (current == "v0001")
        assert ("is kept, and not used" in self.told) == (current == "base")
        assert self.ui.decisionTable.rowCount > 0
        self.check_look()

    def use_version(self) -> None:
        """Where it was refused the user takes it himself; the next *Segment* uses it."""
        self.hands.click(self.ui.projectVersionsButton)
        assert self.face == "versionsFace"
        self.check_look()
        if self.logic.project.summary.current == "base":
            self.hands.click_row(self.ui.versionsTable, self.ui.versionsTable.model().index(1, 0))
            until(lambda: self.ui.versionPromoteButton.enabled)
            self.hands.click(self.ui.versionPromoteButton)
            until(lambda: self.told == "v0001 is the current version now.")
            assert self.questions == ["Make v0001 the current version, whatever the comparison says?"]
        assert self.state("learn") == "v0001"
        self.hands.click(self.ui.segmentStep)
        until(lambda: self.node.model == f"project:{self.project}")
        self.hands.fill(self.ui.modelSearch, "")
        until(lambda: self.chosen_model == f"project:{self.project}")
        until(lambda: self.ui.segmentButton.enabled)
        self.hands.click(self.ui.segmentButton)
        until(lambda: self.logic.segmenting.running is not None)
        until(lambda: self.logic.segmenting.running is None)
        until(lambda: self.page == "reviewPage")
        assert self.case.record["model"] == f"project:{self.project}@v0001"
        self.check_look()

    def close_and_open_again(self) -> None:
        """What was saved is what is there: both patients, what was decided, and where they are stored."""
        scene = self.folder / "day.mrb"
        before, told = self._everything(), self.told
        self.core.save(scene)
        self.core.scene.Clear(False)
        until(lambda: self.case is None)
        assert self.page in ("segmentPage", "reviewPage")
        self.check_look()
        self.core.load(scene)
        until(lambda: self.case is not None and self.logic.review.rows())
        assert self._everything() == before
        assert self.told in ("", told), "nothing went wrong"
        self.check_look()

    # Parts of steps.

    @property
    def face(self) -> str:
        """What the page *Learn* shows."""
        return str(self.ui.learnFaces.currentWidget().objectName)

    def _agree(self, question: str, *_buttons: str) -> bool:
        self.questions.append(question)
        self.hands.ledger.now.clicks += 1
        return True

    def _open_second_ct(self) -> bool:
        """Slicer's dialog: a file is chosen, and its volume shown."""
        phantom = make_phantom(Domain.NATIVE, SECOND_SEED)
        node = self.core.add_volume(phantom.ct.array, phantom.ct.geometry, "Second")
        self.core.app.GetSelectionNode().SetActiveVolumeID(node.GetID())
        self.hands.ledger.now.clicks += 2
        return True

    def _choose_in_tree(self, name: str) -> None:
        tree, role = self.ui.modelTree, QtCore.Qt.ItemDataRole.UserRole
        groups = [tree.topLevelItem(number) for number in range(tree.topLevelItemCount)]
        items = [group.child(number) for group in groups for number in range(group.childCount())]
        item = next(item for item in items if item.data(0, role) == name)
        self.hands.click_row(tree, tree.indexFromItem(item))
        until(lambda: self.chosen_model == name)

    def _type_on(self, text: str) -> bool:
        """One letter more of a word."""
        done = len(self.ui.modelSearch.text)
        if done < len(text):
            self.hands.type(text[done])
        return done == len(text)

    def _take_alternative(self) -> None:
        """Along the list to a region that has some; an arrow shows the first, Return takes it."""
        while not self.panel.review.alternatives.count:
            self.hands.key("n")
        number, before = self.logic.review.current, self.case.read_back().labels
        self.hands.tab_to(self.ui.alternativesList)
        self.hands.key(_Key.Key_Down)
        until(lambda: self.logic.review.preview is not None)
        self.hands.key(_Key.Key_Return)
        assert (self.case.read_back().labels != before).any()
        assert self.states()[number - 1] == "corrected"

    def _edit(self) -> None:
        """A key to the editor, one stroke in the region's own structure, the key back."""
        while self.states()[self.logic.review.current - 1] != "open" or not self._structures:
            self.hands.key("n")
        number = self.logic.review.current
        self.hands.key("d", shift=True)
        assert self.panel.editing.is_open
        self.check_look()
        editor = self.panel.editing.editor
        chosen = self.case.node.GetSegmentation().GetSegment(editor.currentSegmentID())
        assert chosen.GetName().replace("_", " ") == self._structures[0].replace("_", " ")
        box = self.case.regions.region(number).box_kji
        stroke(editor, self.case, tuple(slice(start, stop) for start, stop in box))
        self.hands.ledger.now.clicks += 1
        until(lambda: self.states()[number - 1] == "corrected")
        until(lambda: self.ui.keptLabel.text.startswith("Kept "))
        self.hands.key("d", shift=True)
        assert not self.panel.editing.is_open
        assert self.hands.focus == self.ui.regionTable

    @property
    def _structures(self) -> tuple[str, ...]:
        """Of the current region."""
        return tuple(self.case.regions.region(self.logic.review.current).structures)

    def _everything(self) -> dict[str, Any]:
        """All that a saved scene must bring back."""
        from ActiveSegModuleLib.scene.case import Case

        def about(case: Any) -> dict[str, Any]:
            labels = case.read_back().labels
            return {
                "ct": case.ct_node.GetName(),
                "id": case.id,
                "voxels": tuple(np.bincount(labels.ravel()).tolist()),
                "states": {number: str(state) for number, state in case.regions.states().items()},
                "patient": case.patient,
                "notes": case.notes,
                "maps": sorted(case.uncertainty),
                "model": case.record["model"],
            }

        node = self.node
        return {
            "cases": sorted((about(case) for case in Case.all_in(self.core.scene)), key=lambda each: each["id"]),
            "chosen": (node.ct.GetName(), node.segmentation.GetName(), node.model, node.dataset, node.project),
            "review": (self.state("review"), self.state("export"), self.state("learn")),
        }
