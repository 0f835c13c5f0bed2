"""What is exported from a scene, and what is said about it, between a real scene and an original engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from asked import Asked
from slicer_application import SlicerCore
from watched_process import WatchedProcess, until

from activeseg.core.correction import Review
from activeseg.core.errors import InputError
from ActiveSegModuleLib.logic.drafts import Drafts
from ActiveSegModuleLib.logic.exporting import ExportChoice, Exporting
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.volume_node import voxel_image


@pytest.fixture(autouse=True)
def private_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))


@pytest.fixture
def exporting(core: SlicerCore, process: WatchedProcess, drafts: Drafts) -> Exporting:
    return Exporting(core.scene, process, drafts)


@pytest.fixture
def choice(tmp_path: Path) -> ExportChoice:
    return ExportChoice(tmp_path / "Dataset801_Bones", Review.ALL)


def test_a_segment_that_was_named_and_then_deleted_is_no_obstacle(
    exporting: Exporting,
    case: Case,
    choice: ExportChoice,
) -> None:
    added = case.node.GetSegmentation().AddEmptySegment("", "lump")
    with pytest.raises(InputError, match="'lump'"):
        exporting.summarise(case, choice, lambda _: None, lambda _: None)
    said = ExportChoice(choice.dataset, Review.ALL, mapping={added: "fat"})
    assert Asked().result(exporting.summarise, case, said).sentences
    case.node.GetSegmentation().RemoveSegment(added)
    assert Asked().result(exporting.summarise, case, said).sentences


def test_a_case_of_a_dataset_is_opened_once(
    exporting: Exporting,
    case: Case,
    choice: ExportChoice,
    core: SlicerCore,
) -> None:
    exported = Asked().result(exporting.export, case, choice)
    opened = Asked().result(exporting.open_case, exported.dataset, exported.case)
    assert Asked().result(exporting.open_case, exported.dataset / ".." / exported.dataset.name, exported.case) == opened
    opened.remove()
    both = Asked(), Asked()
    for asked in both:
        exporting.open_case(exported.dataset, exported.case, lambda *t, a=asked: a.told.append(t), asked.errors.append)
    until(lambda: all(asked.told or asked.errors for asked in both))
    assert both[0].told == both[1].told
    assert sum(bool(c.origin) for c in Case.all_in(core.scene)) == 1


def test_another_frame_in_the_cts_place_is_told_and_never_stored_with_these_labels(
    exporting: Exporting,
    case: Case,
    choice: ExportChoice,
    drafts: Drafts,
) -> None:
    shape = case.ct_node.GetImageData().GetDimensions()[::-1]
    first = case.ct_node.GetImageData()
    other = voxel_image(np.random.default_rng(0).normal(40, 10, shape).astype(np.int16))
    Asked().result(drafts.discard, case.id)  # the engine kept one with the image, when it was segmented
    case.ct_node.SetAndObserveImageData(other)
    assert "not those that were segmented" in str(Asked().error(exporting.summarise, case, choice))
    case.ct_node.SetAndObserveImageData(first)
    assert not any("frame" in s for s in Asked().result(exporting.summarise, case, choice).sentences)
    case.ct_node.SetAndObserveImageData(other)  # the draft holds what was segmented now
    assert "another frame of a sequence?" in Asked().result(exporting.summarise, case, choice).sentences[0]


def test_a_segmentation_that_was_moved_out_of_the_ct_is_not_stored_as_nothing(
    exporting: Exporting,
    case: Case,
    choice: ExportChoice,
    core: SlicerCore,
) -> None:
    matrix = np.eye(4)
    matrix[0, 3] = 5000.0
    case.node.SetAndObserveTransformNodeID(core.add_transform(matrix).GetID())
    with pytest.raises(InputError, match=r"No segment of .* lies inside"):
        exporting.export(case, choice, lambda _: None, lambda _: None)
    assert not choice.dataset.exists()
