"""One click on a CT in a real scene, answered by a genuine engine with the network that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from slicer_application import SlicerCore
from watched_process import WatchedProcess, until

from activeseg.core.correction import RegionState
from activeseg.core.errors import ActiveSegError, Cancelled, InputError
from activeseg.samples.phantom import Domain, Phantom, make_phantom
from ActiveSegModuleLib.engine.listener import Listener
from ActiveSegModuleLib.logic.run import Choice
from ActiveSegModuleLib.logic.segmenting import Segmenting
from ActiveSegModuleLib.scene.case import Case

DEMO = Choice("demo", members=4)
"""So many that its networks are not over before a test has stopped them."""


class Heard(Listener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.errors: list[ActiveSegError] = []
        self.notices: list[str] = []
        self.stages: list[str] = []
        self.segmenting: Segmenting | None = None

    def segmenting_changed(self) -> None:
        running = self.segmenting.running if self.segmenting else None
        self.stages.append(running.stage if running else "idle")

    def case_changed(self, case: Case) -> None:
        self.cases.append(case)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def error(self, error: ActiveSegError) -> None:
        self.errors.append(error)


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return make_phantom(Domain.NATIVE, 12)


@pytest.fixture
def core() -> SlicerCore:
    return SlicerCore.start()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def segmenting(core: SlicerCore, process: WatchedProcess, tmp_path: Path, heard: Heard) -> Segmenting:
    heard.segmenting = Segmenting(core.scene, process, tmp_path / "drafts", heard)
    return heard.segmenting


@pytest.fixture
def ct(core: SlicerCore, phantom: Phantom) -> Any:
    return core.add_volume(phantom.ct.array, phantom.ct.geometry, "Phantom")


def ended(segmenting: Segmenting) -> None:
    until(lambda: segmenting.running is None)


def reached(heard: Heard, stage: str) -> None:
    until(lambda: stage in heard.stages)


def test_a_click_brings_structures_uncertainty_and_regions_into_the_scene(
    segmenting: Segmenting, ct: Any, heard: Heard, phantom: Phantom, tmp_path: Path
) -> None:
    segmenting.start(ct, DEMO)
    ended(segmenting)
    assert heard.errors == []
    case = segmenting.last_case
    assert case is not None
    assert case.ct_node is ct
    found = case.read_back().labels
    overlap = (
        2 * ((found > 0) & (phantom.labels.array > 0)).sum() / ((found > 0).sum() + (phantom.labels.array > 0).sum())
    )
    assert overlap > 0.6
    assert set(case.uncertainty) >= {"entropy", "variance"}
    assert case.regions is not None
    assert case.regions.states()
    assert any(case.alternatives(region.number) for region in case.regions.regions)
    assert case.record["model"] == "demo"
    assert not case.touched
    assert (tmp_path / "drafts" / case.id / "draft.json").is_file()


def test_the_label_is_shown_before_the_views_vote(segmenting: Segmenting, ct: Any, heard: Heard) -> None:
    segmenting.start(ct, Choice("demo", members=6))
    until(lambda: heard.cases)
    running = segmenting.running
    assert running is not None
    assert running.label_shown
    first = heard.cases[0]
    before = first.read_back().labels.copy()
    assert len(first.record["members"]) == 4
    ended(segmenting)
    assert Case.all_in(ct.GetScene()) == [first]
    assert len(first.record["members"]) == 6
    assert (first.read_back().labels == before).all()


def test_stopping_while_views_vote_keeps_the_label(
    segmenting: Segmenting, ct: Any, heard: Heard, process: WatchedProcess
) -> None:
    segmenting.start(ct, Choice("demo", members=6))
    until(lambda: heard.cases)
    segmenting.cancel()
    assert segmenting.running is None
    assert segmenting.last_case == heard.cases[0]
    process.ask("system.info").result()
    assert Case.all_in(ct.GetScene()) == [heard.cases[0]]
    assert heard.errors == []


def test_regions_that_were_reviewed_meanwhile_stay(segmenting: Segmenting, ct: Any, heard: Heard) -> None:
    segmenting.start(ct, Choice("demo", members=6))
    until(lambda: heard.cases)
    table = heard.cases[0].regions
    assert table is not None
    table.set_state(1, RegionState.ACCEPTED)
    ended(segmenting)
    table = heard.cases[0].regions
    assert table is not None
    assert table.states()[1] is RegionState.ACCEPTED
    assert any("you have begun to review" in text for text in heard.notices)


def test_cancelling_leaves_nothing_and_the_next_click_works(
    segmenting: Segmenting, ct: Any, heard: Heard, tmp_path: Path
) -> None:
    segmenting.start(ct, DEMO)
    reached(heard, "network")
    segmenting.cancel()
    assert segmenting.running is None
    assert isinstance(segmenting.last_error, Cancelled)
    assert heard.errors == []
    segmenting.start(ct, Choice("demo", members=1))
    ended(segmenting)
    assert len(Case.all_in(ct.GetScene())) == 1
    assert len([path for path in (tmp_path / "drafts").iterdir() if path.is_dir()]) == 1


def test_a_second_run_makes_a_node_of_its_own(segmenting: Segmenting, ct: Any) -> None:
    for _ in range(2):
        segmenting.start(ct, Choice("demo", members=1))
        ended(segmenting)
    one, other = Case.all_in(ct.GetScene())
    assert one.name != other.name


def test_a_preview_is_a_preview_until_the_result_takes_its_place(segmenting: Segmenting, ct: Any, heard: Heard) -> None:
    """The engine tells of a label in both runs; only that of the model that was chosen is the result."""
    segmenting.start(ct, Choice("demo", members=2, preview="hounsfield"))
    until(lambda: heard.cases)
    preview = heard.cases[0]
    assert preview.is_preview
    assert preview.record["model"] == "hounsfield"
    assert segmenting.running is not None
    assert not segmenting.running.label_shown
    ended(segmenting)
    assert heard.errors == []
    (case,) = Case.all_in(ct.GetScene())
    assert case == segmenting.last_case
    assert not case.is_preview
    assert case.record["model"] == "demo"
    assert case.regions is not None
    assert case.regions.regions


def test_a_preview_that_stays_after_a_cancel_goes_with_the_next_result(
    segmenting: Segmenting, ct: Any, heard: Heard
) -> None:
    segmenting.start(ct, Choice("demo", members=4, preview="hounsfield"))
    until(lambda: heard.cases)
    segmenting.cancel()
    assert [case.is_preview for case in Case.all_in(ct.GetScene())] == [True]
    segmenting.start(ct, Choice("demo", members=1))
    ended(segmenting)
    assert [case.is_preview for case in Case.all_in(ct.GetScene())] == [False]


def test_a_preview_that_was_edited_is_hidden_and_told_instead_of_removed(
    segmenting: Segmenting, ct: Any, heard: Heard
) -> None:
    segmenting.start(ct, Choice("demo", members=4, preview="hounsfield"))
    until(lambda: heard.cases)
    preview = heard.cases[0]
    preview.node.GetSegmentation().RemoveSegment(preview.node.GetSegmentation().GetNthSegmentID(0))
    ended(segmenting)
    assert segmenting.last_case is not None
    assert {case.name for case in Case.all_in(ct.GetScene())} == {preview.name, segmenting.last_case.name}
    assert not preview.node.GetDisplayVisibility()
    assert any("was edited" in text for text in heard.notices)


def test_the_ct_of_a_result_is_known_by_the_fingerprint_in_its_record(segmenting: Segmenting, ct: Any) -> None:
    segmenting.start(ct, Choice("demo", members=1))
    ended(segmenting)
    case = segmenting.last_case
    assert case is not None
    assert case.fits(ct)
    assert case.record["images"]


def test_only_the_structures_that_were_chosen_come(segmenting: Segmenting, ct: Any, heard: Heard) -> None:
    segmenting.start(ct, Choice("demo", members=2, structures=("liver", "spleen"), focus=("liver",), regions=3))
    ended(segmenting)
    assert heard.errors == []
    case = segmenting.last_case
    assert case is not None
    assert set(case.decided) == {"liver", "spleen"}
    assert case.regions is not None
    assert len(case.regions.regions) <= 3


def test_the_result_of_a_ct_that_is_removed_meanwhile_is_kept(
    segmenting: Segmenting, ct: Any, heard: Heard, tmp_path: Path
) -> None:
    scene = ct.GetScene()
    segmenting.start(ct, DEMO)
    reached(heard, "network")
    scene.RemoveNode(ct)
    ended(segmenting)
    assert Case.all_in(scene) == []
    assert [type(error) for error in heard.errors] == [InputError]
    assert "removed from the scene while it was segmented. The result is kept" in str(heard.errors[0])
    assert (tmp_path / "drafts" / heard.errors[0].details["draft"] / "draft.json").is_file()


def test_an_engine_that_is_killed_is_one_error_and_the_next_click_starts_it_again(
    segmenting: Segmenting, ct: Any, heard: Heard, process: WatchedProcess
) -> None:
    segmenting.start(ct, DEMO)
    reached(heard, "network")
    psutil.Process(process.engine["pid"]).kill()
    ended(segmenting)
    assert [error.code for error in heard.errors] == ["crashed"]
    segmenting.start(ct, Choice("demo", members=1))
    ended(segmenting)
    assert segmenting.last_case is not None
    assert len(heard.errors) == 1


def test_two_runs_at_once_are_refused(segmenting: Segmenting, ct: Any) -> None:
    segmenting.start(ct, DEMO)
    with pytest.raises(InputError, match="'Phantom' is being segmented"):
        segmenting.start(ct, DEMO)
    segmenting.cancel()


def test_an_empty_volume_is_refused_before_anything_begins(segmenting: Segmenting, core: SlicerCore) -> None:
    empty = core.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(InputError, match="'nothing' has no voxels"):
        segmenting.start(empty, DEMO)
    with pytest.raises(InputError, match="No CT is chosen"):
        segmenting.start(None, DEMO)
    assert segmenting.running is None


def test_a_model_that_is_not_there_is_one_clear_error(segmenting: Segmenting, ct: Any, heard: Heard) -> None:
    segmenting.start(ct, Choice("nnunet:/nowhere"))
    ended(segmenting)
    assert [error.code for error in heard.errors] == ["model"]
    assert np.any([("nowhere" in str(error)) for error in heard.errors])


def test_what_was_sent_to_the_engine_is_removed(segmenting: Segmenting, ct: Any, process: WatchedProcess) -> None:
    segmenting.start(ct, Choice("demo", members=1))
    ended(segmenting)
    assert list(Path(process.engine["inbox"]).iterdir()) == []
