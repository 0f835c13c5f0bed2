"""The page *Export*: what is said before anything is written, and what comes after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import slicer
from loaded_cases import load_ct, make_case, pump
from pictures_checks import findings
from pictures_look import ROOMS, Room, Theme, dress, grab, place
from user import User, until

from activeseg.core.correction import RegionState


@pytest.fixture
def user(user: User) -> User:
    """In front of a view that shows volumes."""
    user.core.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    return user


@pytest.fixture
def case(user: User) -> Any:
    made = make_case(user, load_ct(user, "CT"), "case")
    user.widget.panel.case_changed(made)
    until(lambda: user.case == made)
    user.ui.exportStep.click()
    return made


def summary(user: User) -> str:
    return str(user.ui.summaryBrowser.plainText)


def test_what_is_unusual_comes_first(user: User, case: Any, tmp_path: Path) -> None:
    user.node.dataset = str(tmp_path / "Dataset801_Liver")
    until(lambda: "reviewed" in summary(user))
    lines = summary(user).splitlines()
    assert lines[0] == "A new case would be stored in Dataset801_Liver"
    assert "The engine is not installed." in lines[1], "why the button is off"
    assert "0 of 2 regions reviewed." in lines[2]
    assert "Nothing was changed" in lines[3]
    assert "<b>" in user.ui.summaryBrowser.html or "font-weight" in user.ui.summaryBrowser.html

    case.node.GetSegmentation().RemoveSegment(case.segmentation.segment_id(case.schema.named("spleen")))
    case.regions.set_state(1, RegionState.ACCEPTED)
    user.widget.panel.case_changed_by_user()
    until(lambda: "1 of 2 regions reviewed." in summary(user))
    assert "'spleen' was deleted" in summary(user).splitlines()[2]
    assert "spleen -" in summary(user), "what it did not gain is not said"


def test_what_is_wrong_with_a_field_stands_beside_it(user: User, case: Any, tmp_path: Path) -> None:
    ui = user.ui
    user.node.dataset = ""
    until(lambda: "Choose a folder" in ui.datasetStateLabel.text)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text.txt").write_text("x")
    user.node.dataset = str(tmp_path / "Dataset802_\u00fcber")
    until(lambda: ui.datasetStateLabel.text == "New dataset: Dataset802_uber")
    user.node.dataset = str(tmp_path / "notes" / "text.txt")
    until(lambda: ui.datasetStateLabel.text != "New dataset: Dataset802_uber")
    until(lambda: "patient of its own" in summary(user))
    assert "No annotator is named." in summary(user)
    ui.patientEdit.text, ui.annotatorEdit.text = "4711", "A. Reader"
    assert "Patient ID 4711: kept private" in summary(user)
    assert "No annotator is named." not in summary(user)
    assert list(tmp_path.iterdir()) == [tmp_path / "notes"]


def test_a_stored_case_says_so_until_it_is_changed(user: User, case: Any, tmp_path: Path) -> None:
    from ActiveSegModuleLib.logic.exporting import Export
    from ActiveSegModuleLib.panel.steps import Step

    ends: list[Any] = []
    user.logic.exporting.export = lambda *given: ends.append(given)
    user.node.dataset = str(tmp_path / "Dataset801_Liver")
    user.widget.panel.exporting.start(True)
    until(lambda: ends)
    ends[0][2](Export(tmp_path / "Dataset801_Liver", "CT_0001", ("liver: 3 mL more.",)))
    assert user.widget.panel.message.text == "Stored as CT_0001 in Dataset801_Liver"
    assert [user.ui.messageActionButton.text, user.ui.messageOtherButton.text] == ["Learn", "Next case"]
    assert "liver: 3 mL more." in summary(user)
    assert user.widget.panel.steps.state(Step.EXPORT).text == "stored"
    user.widget.panel.case_changed_by_user()
    until(lambda: user.widget.panel.steps.state(Step.EXPORT).text == "changed")
    until(lambda: "CT_0001 of Dataset801_Liver would get a new revision" in summary(user))


def test_next_case_is_a_loaded_ct_that_was_not_stored_else_a_file(
    user: User, case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ActiveSegModuleLib.panel.steps import Step
    from ActiveSegModuleLib.scene.stored import note_stored

    asked: list[None] = []
    monkeypatch.setattr(slicer.util, "openAddDataDialog", lambda: asked.append(None))
    note_stored(case.node, tmp_path, "CT_0001")
    first = user.node.ct
    other = load_ct(user, "other")
    user.node.ct = first
    until(lambda: user.case == case)
    user.widget.panel.next_case()
    assert user.node.ct is other
    assert user.widget.panel.steps.current is Step.SEGMENT
    done = make_case(user, other, "done")
    note_stored(done.node, tmp_path, "CT_0002")
    user.widget.panel.next_case()
    assert asked == [None]


@pytest.mark.parametrize("theme", Theme)
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_nothing_of_the_page_is_cut(
    user: User, case: Any, application: Any, room: Room, theme: Theme, tmp_path: Path
) -> None:
    user.node.dataset = str(tmp_path / "Dataset801_Liver")
    until(lambda: "reviewed" in summary(user))
    dress(application, theme)
    try:
        panel = user.module.parent
        place(panel, room)
        pump()
        grab(panel, tmp_path / "export.png")
        assert "\n".join(findings(panel, room)) == ""
        user.ui.casesButton.click()
        pump()
        assert findings(panel, room) == []
    finally:
        dress(application, Theme.LIGHT)
