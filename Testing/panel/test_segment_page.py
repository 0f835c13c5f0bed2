"""The page *Segment*: its models, what they need, what it says while it works and when it cannot; and how it looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from listed_models import listed_models
from loaded_cases import MODULE, load_ct, make_case, pump
from pictures_checks import cut_cells, findings, without_check_box
from pictures_look import ROOMS, Room, Theme, dress, grab, place
from slicer_stand_in import LoadedModule
from user import User, until

from activeseg.core.errors import Crashed, DeviceError, InputError


@pytest.fixture
def user(slicer_core: Any, engine_python: Path) -> Iterator[User]:
    """The module with an engine that is starting for as long as the test lasts."""
    module = LoadedModule(MODULE)
    module.widget.logic.engine.request = lambda *_given, **_callbacks: "job"
    module.enter()
    made = User(module, slicer_core)
    yield made
    type(made.logic.segmenting).running = property(lambda _self: None)
    made.widget.panel.segmenting_changed()
    module.close()


@pytest.fixture
def listed(user: User) -> User:
    """The engine has told which models there are, and a CT is loaded."""
    for model in listed_models():
        user.logic.models.offer(model)
    user.widget.panel.models.show_list()
    load_ct(user, "CT Abdomen")
    until(lambda: user.node.ct is not None and user.ui.segmentButton.enabled)
    return user


def tree_of(user: User) -> Any:
    return user.widget.panel.models.tree


def rows(user: User) -> dict[str, list[tuple[str, str]]]:
    """Group -> title and weights of its models, as they are shown."""
    tree = user.ui.modelTree
    groups = [tree.topLevelItem(number) for number in range(tree.topLevelItemCount)]
    return {
        group.text(0): [
            (group.child(number).text(0), group.child(number).text(1))
            for number in range(group.childCount())
            if not group.child(number).isHidden()
        ]
        for group in groups
        if not group.isHidden()
    }


def press_row(user: User, title: str) -> None:
    pump()
    tree = user.ui.modelTree
    groups = [tree.topLevelItem(number) for number in range(tree.topLevelItemCount)]
    items = [group.child(number) for group in groups for number in range(group.childCount())]
    tree.setCurrentItem(next(item for item in items if item.text(0).startswith(title)))


# The models.


def test_models_are_in_groups_and_say_what_their_weights_need(listed: User) -> None:
    shown = rows(listed)
    assert list(shown) == ["Whole body", "Organs", "Your models", "Your projects", "Demonstration"]
    assert shown["Whole body"][:2] == [("total, 1.5 mm", "1170 MB to download"), ("total-fast, 3 mm", "present")]
    assert shown["Organs"] == [
        ("lung vessels", "to download"),
        ("tissue types", "licence needed"),
        ("liver segments", "download again"),
    ]
    assert shown["Your projects"] == [("livers", "present")]


def test_a_search_finds_names_and_structures_and_the_row_says_which(listed: User) -> None:
    listed.ui.modelSearch.text = "pancreas"
    shown = rows(listed)
    assert ("total, 1.5 mm: pancreas", "1170 MB to download") in shown["Whole body"]
    assert "Organs" not in shown
    assert shown["Your models"][0][0].startswith("Dataset700_Pancreas"), "its name says it already"
    listed.ui.modelSearch.text = "rib"
    assert rows(listed)["Whole body"][0][0] == "total, 1.5 mm: rib left 1, rib left 2, rib left 3 +21"
    listed.ui.modelSearch.text = "unicorn"
    assert not listed.ui.modelTree.isVisibleTo(listed.ui.modelTab)
    assert listed.ui.modelNothingLabel.text == "No model is called 'unicorn' or segments it."
    listed.ui.modelSearch.text = "liver"
    listed.ui.modelSearch.returnPressed.emit()
    assert listed.node.model == tree_of(listed).names[0]


def test_the_chosen_model_is_described_with_a_button_for_what_it_needs(listed: User) -> None:
    asked: list[str] = []
    panel = listed.widget.panel
    panel.add_weights, panel.enter_licence = lambda: asked.append("weights"), lambda: asked.append("licence")
    button = listed.ui.modelStateButton
    press_row(listed, "demo")
    until(lambda: listed.ui.modelHelpLabel.text == "7 structures, CT")
    assert not button.isVisibleTo(listed.ui.modelTab)
    press_row(listed, "total, 1.5")
    until(lambda: button.text == "Add weights...")
    button.click()
    press_row(listed, "tissue types")
    until(lambda: button.text == "Enter licence...")
    assert "licence number" in listed.ui.modelHelpLabel.toolTip
    button.click()
    assert asked == ["weights", "licence"]


def test_a_chosen_model_that_a_search_hides_is_named(listed: User) -> None:
    press_row(listed, "demo")
    until(lambda: listed.ui.modelHelpLabel.text == "7 structures, CT")
    listed.ui.modelSearch.text = "tissue types"
    assert listed.ui.modelHelpLabel.text == "Chosen: demo"
    listed.ui.modelSearch.text = ""
    assert listed.ui.modelHelpLabel.text == "7 structures, CT"


def test_a_model_that_is_chosen_stays_in_the_next_scene(listed: User) -> None:
    press_row(listed, "liver segments")
    assert listed.node.model == "totalsegmentator:liver_segments"
    listed.core.scene.Clear(0)
    until(lambda: listed.node is not None and listed.node.model == "totalsegmentator:liver_segments")
    until(lambda: tree_of(listed).current == "totalsegmentator:liver_segments")


def test_a_projects_new_version_takes_over_once_and_a_later_choice_stays(listed: User) -> None:
    from types import SimpleNamespace

    models, project = listed.widget.panel.models, "/data/projects/livers"
    summary = SimpleNamespace(project=project, current="v0002", base_model="totalsegmentator:total")
    press_row(listed, "total, 1.5")
    models.project_offered(summary)
    assert listed.node.model == f"project:{project}"
    press_row(listed, "total, 1.5")
    models.project_offered(summary)
    assert listed.node.model == "totalsegmentator:total"
    models.project_offered(SimpleNamespace(**{**vars(summary), "current": "v0003"}))
    assert listed.node.model == f"project:{project}"


def test_while_the_engine_starts_the_page_says_so(user: User) -> None:
    load_ct(user, "CT")
    until(lambda: user.node.ct is not None)
    user.widget.panel.update()
    assert "Its models are listed here in a moment" in user.ui.modelNothingLabel.text
    assert not user.ui.segmentButton.enabled
    assert not user.ui.segmentHintLabel.isVisibleTo(user.ui.segmentPage), "the list says so"
    assert user.ui.segmentStep.text == "Segment\nstarting"


# Structures and options.


def test_all_and_none_go_for_what_the_search_shows(listed: User) -> None:
    press_row(listed, "demo")
    until(lambda: listed.ui.structureList.count == 7)
    assert without_check_box(listed.ui.structureList) == []
    listed.ui.structureSearch.text = "kidney"
    listed.ui.structureNoneButton.click()
    assert listed.node.structures == "spleen\nliver\nstomach\npancreas\naorta"
    until(lambda: listed.ui.segmentTabs.tabText(1) == "Structures: 5 of 7")
    listed.ui.structureAllButton.click()
    assert listed.node.structures == ""
    listed.ui.structureSearch.text = "unicorn"
    assert listed.ui.structureNothingLabel.text == "There is no structure 'unicorn'."
    assert not listed.ui.structureList.isVisibleTo(listed.ui.structuresTab)


def test_options_that_are_not_the_usual_ones_are_counted_on_their_tab(listed: User) -> None:
    assert listed.ui.segmentTabs.tabText(2) == "Options"
    listed.node.exact, listed.node.device = True, "cpu"
    until(lambda: listed.ui.segmentTabs.tabText(2) == "Options: 2 changed")


# A run.


def run(user: User, **state: Any) -> None:
    """The run is that far."""
    from ActiveSegModuleLib.logic.run import Running

    segmenting = user.logic.segmenting
    now = replace(segmenting.running or Running("CT Abdomen", "demo"), **state)
    type(segmenting).running = property(lambda _self: now)  # of this test's module alone
    user.widget.panel.segmenting_changed()


def test_a_run_tells_its_stage_in_plain_words_and_its_part_on_the_step(listed: User) -> None:
    run(listed, stage="load", fraction=0.05, is_first=True)
    assert listed.ui.stageLabel.text == "First run after the start: loading the model"
    assert not listed.ui.segmentButton.isVisibleTo(listed.ui.segmentPage), "there is nothing to press meanwhile"
    run(listed, stage="network", fraction=0.426, eta_s=125.0)
    assert listed.ui.stageLabel.text == "Segmenting, 2 min 5 s left"
    assert listed.ui.segmentStep.text == "Segment\nrunning 42 %"
    run(listed, stage="uncertainty", eta_s=None)
    assert listed.ui.stageLabel.text == "Estimating uncertainty"
    run(listed, stage="something new", label_shown=True)
    assert "something" not in listed.ui.stageLabel.text
    assert listed.ui.cancelButton.text == "Stop"


def test_the_time_left_is_counted_down_without_the_engine(listed: User) -> None:
    from ActiveSegModuleLib.logic.countdown import Countdown

    now = [100.0]
    progress = listed.widget.panel.segmenting.progress
    progress.countdown = Countdown(lambda: now[0])
    run(listed, stage="resample", fraction=0.9, eta_s=19.0)
    assert listed.ui.stageLabel.text.endswith("19 s left")
    now[0] += 12
    progress.update()
    assert listed.ui.stageLabel.text.endswith("7 s left")
    now[0] += 60
    progress.update()
    assert listed.ui.stageLabel.text.endswith("longer than expected")


def test_a_run_says_of_which_ct_it_is_when_another_one_is_chosen(listed: User) -> None:
    run(listed, stage="network")
    assert listed.ui.stageLabel.text == "Segmenting"
    run(listed, ct_name="CT Thorax")
    assert listed.ui.stageLabel.text == "CT Thorax: Segmenting"


def test_a_run_whose_ct_was_removed_says_what_becomes_of_it(listed: User) -> None:
    run(listed, stage="network", has_ct=False)
    assert "CT Abdomen is not in the scene any more; its result will be kept" in listed.ui.stageLabel.text


def test_a_segmentation_leads_to_its_regions_once_and_back(listed: User) -> None:
    panel = listed.widget.panel
    panel.case_changed(make_case(listed, listed.node.ct, "CT segmentation"))
    assert panel.steps.current.value == "review"
    assert panel.message.text == "Segmented: 2 regions to review."
    until(lambda: listed.logic.review.current == 1)
    until(lambda: listed.ui.segmentStep.text == "Segment\ndone")
    listed.ui.messageActionButton.click()
    assert panel.steps.current.value == "segment"
    panel.case_changed(listed.case)
    pump()
    assert panel.steps.current.value == "segment"


def test_a_preview_says_so_and_moves_nothing(listed: User) -> None:
    panel = listed.widget.panel
    panel.case_changed(make_case(listed, listed.node.ct, "CT preview", preview=True))
    assert panel.steps.current.value == "segment"
    assert "quick preview" in panel.message.text
    until(lambda: listed.ui.segmentStep.text == "Segment\npreview")


def test_another_frame_of_a_sequence_is_told_once(listed: User) -> None:
    import numpy as np

    panel, ct = listed.widget.panel, listed.node.ct
    case = make_case(listed, ct, "CT segmentation")
    panel.case_changed(case)
    until(lambda: listed.case == case)
    panel.update()
    from ActiveSegModuleLib.scene.labelmap import array_of
    from ActiveSegModuleLib.scene.volume_node import voxel_image

    frame = array_of(ct.GetImageData()).copy()
    before = frame.copy()
    frame += np.int16(5)
    ct.SetAndObserveImageData(voxel_image(frame))
    assert "another image than the one that was segmented" in panel.message.text
    panel.message.clear()
    ct.SetAndObserveImageData(voxel_image(frame + np.int16(1)))
    assert panel.message.text == ""
    ct.SetAndObserveImageData(voxel_image(before))
    ct.SetAndObserveImageData(voxel_image(frame))
    assert "another image" in panel.message.text


# Failures.


@pytest.mark.parametrize(
    ("error", "button", "changed"),
    [
        (DeviceError("Not enough memory.", estimate={}), "Use a lower-resolution model", {"allowCoarser": True}),
        (DeviceError("There is no GPU.", setting="device"), "Use the CPU", {"device": "cpu"}),
        (DeviceError("The disk is full.", cause="disk"), "Try again", {}),
        (Crashed("It ended unexpectedly."), "Try again", {}),
    ],
)
def test_a_failure_has_the_button_that_helps(listed: User, error: Any, button: str, changed: dict[str, Any]) -> None:
    press_row(listed, "total, 1.5")
    started: list[Any] = []
    listed.logic.segmenting.start = lambda _ct, choice: started.append(choice)
    listed.widget.panel.error(error)
    assert listed.ui.messageActionButton.text == button
    listed.ui.messageActionButton.click()
    assert len(started) == 1
    assert {name: getattr(listed.node, name) for name in changed} == changed


def test_a_result_whose_ct_is_gone_can_be_opened(listed: User) -> None:
    opened: list[str] = []
    listed.logic.drafts.open = lambda id, *_: opened.append(id)
    listed.widget.panel.error(InputError("The CT was removed.", "The result is kept.", draft="d1", ct_name="CT"))
    assert listed.ui.messageActionButton.text == "Open the result"
    listed.ui.messageActionButton.click()
    assert opened == ["d1"]


# How it looks.


def state_models(user: User) -> None:
    press_row(user, "total, 1.5")


def state_search(user: User) -> None:
    user.ui.modelSearch.text = "pancreas"


def state_nothing(user: User) -> None:
    user.ui.modelSearch.text = "unicorn"


def state_structures(user: User) -> None:
    user.ui.segmentTabs.currentIndex = 1


def state_options(user: User) -> None:
    user.node.exact = True
    user.ui.segmentTabs.currentIndex = 2


def state_running(user: User) -> None:
    run(user, stage="network", fraction=0.42, eta_s=75.0)


def state_late(user: User) -> None:
    run(user, stage="load", fraction=0.9, is_first=True, is_late=True)


STATES = (state_models, state_search, state_nothing, state_structures, state_options, state_running, state_late)
WITHOUT_ROW = 43 + 6


@pytest.mark.parametrize("theme", Theme, ids=str)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_nothing_is_cut_or_squashed(listed: User, application: Any, tmp_path: Path, state: Any, theme: Theme) -> None:
    dress(application, theme)
    try:
        state(listed)
        pump()
        page = listed.ui.segmentPage
        page.setParent(None)
        for room in ROOMS:
            inner = Room(room.name, room.width, room.height - WITHOUT_ROW)
            place(page, inner)
            assert findings(page, inner) == []
            assert cut_cells(listed.ui.modelTree) == []
            grab(page, tmp_path / f"{state.__name__}_{theme.value}_{room.height}.png")
        listed.ui.pages.insertWidget(1, page)
    finally:
        dress(application, Theme.LIGHT)


@pytest.mark.parametrize("tab", [0, 1, 2])
def test_a_message_and_a_run_fit_together(listed: User, tab: int) -> None:
    root, panel = listed.module.parent, listed.widget.panel
    root.layout().setContentsMargins(0, 0, 0, 0)
    listed.ui.segmentTabs.currentIndex = tab
    run(listed, stage="load", fraction=0.4, is_first=True, is_late=True)
    panel.message.notice("This is a quick preview by a coarser model. The result will take its place when it is ready.")
    pump()
    for room in ROOMS[:2]:
        place(root, room)
        assert findings(root, room) == []


def test_a_laptop_shows_five_models_and_the_button(listed: User) -> None:
    page = listed.ui.segmentPage
    press_row(listed, "total, 1.5")
    pump()
    page.setParent(None)
    place(page, Room("smallest", 421, 365 - WITHOUT_ROW))
    tree = listed.ui.modelTree
    assert tree.viewport().height // tree.sizeHintForRow(0) >= 5
    assert page.rect.contains(listed.ui.segmentButton.geometry)
    listed.ui.pages.insertWidget(1, page)
