"""What the user did outlives a crash of the application: drafts between a real scene and a genuine engine."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import Asked
from PySide6 import QtCore
from seen_segments import seen
from settings import Settings
from slicer_application import SlicerCore
from watched_process import WatchedProcess, until

from activeseg.core.correction import RegionState
from activeseg.core.errors import InputError
from activeseg.core.volume import Volume
from ActiveSegModuleLib.engine.engine_process import Listeners
from ActiveSegModuleLib.engine.installed_engine import InstalledEngine
from ActiveSegModuleLib.logic.drafts import Drafts, OfferedDraft
from ActiveSegModuleLib.logic.installation import FOLDER, Installation
from ActiveSegModuleLib.scene.case import Case
from ActiveSegModuleLib.scene.labelmap import CLOSED_SURFACE, image_of
from ActiveSegModuleLib.scene.placement import geometry_of, ijk_to_ras
from ActiveSegModuleLib.scene.volume_node import volume_of


def save(drafts: Drafts, case: Case) -> None:
    Asked().result(drafts.save, case)


def offered(drafts: Drafts) -> list[OfferedDraft]:
    return drafts.offered()


def after_a_crash(process: WatchedProcess) -> SlicerCore:
    """Another Slicer with an empty scene."""
    process.shutdown()
    return SlicerCore.start()


def paint(core: SlicerCore, case: Case, structure: str, first_ijk: tuple[int, int, int] = (1, 1, 1)) -> None:
    segment_id = case.segmentation.add_structure(case.schema.named(structure))
    editor = core.editor(case.node, case.ct_node)
    stroke = image_of(np.ones((3, 3, 3), np.uint8), ijk_to_ras(case.ct_node), first_ijk)
    editor.SaveStateForUndo()
    editor.ModifySegmentByLabelmap(case.node, segment_id, stroke, editor.ModificationModeAdd, False, False)


def test_nothing_is_offered_of_what_was_only_looked_at(drafts: Drafts, case: Case) -> None:
    assert offered(drafts) == []
    save(drafts, case)
    assert offered(drafts) == []


def test_edits_come_back_after_a_crash(
    drafts: Drafts,
    case: Case,
    core: SlicerCore,
    folder: Path,
    image: Volume,
    make_process: Callable[..., WatchedProcess],
    process: WatchedProcess,
) -> None:
    paint(core, case, "fat")
    assert case.regions is not None
    case.regions.set_state(2, RegionState.SKIPPED)
    case.notes, case.seconds = "a remark", 61.0
    save(drafts, case)
    expected = seen(case.node), case.read_back().labels, case.regions.states(), case.name, case.record
    alternatives = [case.alternatives(number) for number in case.regions.states()]
    inbox = Path(process.engine["inbox"])
    assert list(inbox.iterdir()) == []
    again = after_a_crash(process)
    drafts = Drafts(make_process(), folder)
    (draft,) = offered(drafts)
    assert (draft.id, draft.name, draft.ct_name) == (case.id, case.name, "Phantom")
    assert (draft.reviewed, draft.regions) == (1, len(expected[2]))
    assert datetime.now(UTC) - draft.saved < timedelta(hours=1)
    assert draft.size > image.array.nbytes
    found = Asked().result(drafts.open, draft.id, again.scene)
    assert found == Case.all_in(again.scene)[0]
    assert found.id == draft.id
    assert seen(found.node) == expected[0]
    assert np.array_equal(found.read_back().labels, expected[1])
    assert found.regions is not None
    assert (found.regions.states(), found.name, found.record) == expected[2:]
    assert (found.notes, found.seconds) == ("a remark", 61.0)
    assert volume_of(found.ct_node).sha256() == image.sha256()
    assert {segment.structure for segment in found.read_back().segments if segment.edited} == {"fat"}
    assert found.uncertainty.keys() == {found.record["measure"]}
    assert [[offer.summary for offer in found.alternatives(number)] for number in found.regions.states()] == [
        [offer.summary for offer in offers] for offers in alternatives
    ]
    refused = Asked().error(drafts.open, draft.id, again.scene)
    assert isinstance(refused, InputError)
    assert "in the scene already" in refused.message


@pytest.mark.parametrize("change", ["edit", "rename", "delete", "review", "note"])
def test_whatever_would_be_lost_is_offered(drafts: Drafts, case: Case, core: SlicerCore, change: str) -> None:
    bone = case.segmentation.segment_id(case.schema.named("bone"))
    if change == "edit":
        paint(core, case, "bone")
    elif change == "rename":
        case.node.GetSegmentation().GetSegment(bone).SetName("Knochen")
    elif change == "delete":
        case.node.GetSegmentation().RemoveSegment(bone)
    elif change == "review":
        assert case.regions is not None
        case.regions.set_state(1, RegionState.ACCEPTED)
    else:
        case.notes = "look again"
    save(drafts, case)
    assert [draft.id for draft in offered(drafts)] == [case.id]


def test_a_discarded_draft_is_written_again_from_the_scene_alone(
    drafts: Drafts, case: Case, core: SlicerCore, folder: Path, process: WatchedProcess
) -> None:
    """As after an export, or for a scene that came from another computer."""
    paint(core, case, "fat")
    Asked().result(drafts.discard, case.id)
    assert not (folder / case.id).exists()
    save(drafts, case)
    (draft,) = offered(drafts)
    original, expected = case.original.array.copy(), seen(case.node)
    maps = {measure: volume.array() for measure, volume in case.uncertainty.items()}
    states, record = case.regions.states(), case.record
    again = SlicerCore.start()
    found = Asked().result(drafts.open, draft.id, again.scene)
    assert np.array_equal(found.original.array, original)
    assert seen(found.node) == expected
    assert found.regions.states() == states
    measure = record["measure"]
    np.testing.assert_allclose(found.uncertainty[measure].array(), maps[measure], atol=1e-6)
    assert {key: found.record[key] for key in ("model", "members", "schema", "decided", "threshold")} == {
        key: record[key] for key in ("model", "members", "schema", "decided", "threshold")
    }
    assert list(Path(process.engine["inbox"]).iterdir()) == []


def test_a_case_without_uncertainty_or_alternatives_is_saved_too(drafts: Drafts, case: Case, core: SlicerCore) -> None:
    Asked().result(drafts.discard, case.id)
    for volume in case.uncertainty.values():
        core.scene.RemoveNode(volume.node)
    core.scene.RemoveNode(case.node.GetNodeReference("ActiveSeg.Alternatives"))
    paint(core, case, "fat")
    save(drafts, case)
    again = SlicerCore.start()
    found = Asked().result(drafts.open, case.id, again.scene)
    assert found.uncertainty == {}
    assert found.regions.states() == case.regions.states()
    assert all(found.alternatives(number) == () for number in found.regions.states())


def test_a_case_of_a_dataset_becomes_a_draft(drafts: Drafts, core: SlicerCore, image: Volume) -> None:
    """Nobody predicted it: it has no regions and no uncertainty, but voxels that nobody vouches for."""
    names = ["one", "two"]
    schema = {
        "labels": [
            {"value": n, "name": name, "color": [200, n, 0], "terminology": None} for n, name in enumerate(names, 1)
        ]
    }
    labels = np.zeros(image.array.shape, np.uint8)
    labels[2:6, 4:8, 4:8], labels[8:12, 4:8, 4:8] = 1, 3
    record = {"schema": schema, "decided": names, "origin": {"dataset": "/data/Dataset801_A", "case": "CT_0007"}}
    ct_node = core.add_volume(image.array, image.geometry, "CT_0007")
    case = Case.create(core.scene, ct_node, Volume(labels, image.geometry), record, "CT_0007 segmentation")
    save(drafts, case)
    assert offered(drafts) == [], "what a dataset ignores is no edit"
    paint(core, case, "two")
    save(drafts, case)
    (draft,) = offered(drafts)
    assert (draft.reviewed, draft.regions) == (0, 0)
    expected = seen(case.node)
    again = SlicerCore.start()
    found = Asked().result(drafts.open, draft.id, again.scene)
    assert seen(found.node) == expected
    assert found.origin == record["origin"]
    assert found.regions is None


def test_what_cannot_be_saved_as_it_is_is_said(process: WatchedProcess, case: Case, folder: Path) -> None:
    notices: list[str] = []
    case.node.CreateClosedSurfaceRepresentation()
    case.node.GetSegmentation().SetSourceRepresentationName(CLOSED_SURFACE)
    save(Drafts(process, folder, notices.append), case)
    assert ["saved as voxels" in notice for notice in notices] == [True]


def test_an_old_draft_in_which_nothing_was_done_is_removed(
    drafts: Drafts, case: Case, core: SlicerCore, folder: Path, process: WatchedProcess
) -> None:
    save(drafts, case)
    record = folder / case.id / "draft.json"
    drafts.tidy_up()
    process.ask("draft.list", {"folder": str(folder)}).result()
    assert record.is_file(), "it is young"
    year = datetime.now(UTC).year
    record.write_text(record.read_text().replace(f'"saved": "{year}', f'"saved": "{year - 1}'))
    assert offered(drafts) == []
    drafts.tidy_up()
    until(lambda: not record.exists())


def test_errors_come_as_answers(drafts: Drafts, case: Case, core: SlicerCore, folder: Path, process: Any) -> None:
    gone = Asked().error(drafts.open, "no such draft", SlicerCore.start().scene)
    assert "no draft" in gone.message
    ct_node = case.ct_node
    core.scene.RemoveNode(ct_node)
    assert "no longer in the scene" in Asked().error(drafts.save, case).message


def test_saving_starts_an_engine_that_has_ended(
    case: Case, folder: Path, core: SlicerCore, make_process: Callable[..., WatchedProcess]
) -> None:
    paint(core, case, "fat")
    other = make_process()
    drafts = Drafts(other, folder)
    save(drafts, case)
    assert [draft.id for draft in offered(drafts)] == [case.id]
    assert geometry_of(case.ct_node).shape_kji == case.original.array.shape


@pytest.fixture
def without_engine(folder: Path, tmp_path: Path) -> Iterator[Drafts]:
    """As in a Slicer whose engine was removed."""
    settings = Settings({FOLDER: str(tmp_path / "nothing")})
    engine = InstalledEngine(
        QtCore, Installation(QtCore, settings, lambda: None, environment={}), tmp_path / "home", {}, Listeners()
    )
    yield Drafts(engine, folder, settings=settings)
    engine.close()


def test_corrections_come_back_without_an_engine(
    drafts: Drafts, case: Case, core: SlicerCore, image: Volume, process: WatchedProcess, without_engine: Drafts
) -> None:
    paint(core, case, "fat")
    assert case.regions is not None
    case.regions.set_state(2, RegionState.SKIPPED)
    case.patient = "4711"
    save(drafts, case)
    expected = seen(case.node), case.read_back().labels, case.regions.states(), case.record
    again = after_a_crash(process)
    (draft,) = without_engine.offered()
    found = Asked().result(without_engine.open, draft.id, again.scene)
    assert seen(found.node) == expected[0]
    assert np.array_equal(found.read_back().labels, expected[1])
    assert (found.regions.states(), found.record) == expected[2:]
    assert found.patient == "4711"
    assert volume_of(found.ct_node).sha256() == image.sha256()
    assert found.uncertainty.keys() == {found.record["measure"]}


def test_a_draft_is_discarded_without_an_engine(
    drafts: Drafts, case: Case, core: SlicerCore, folder: Path, process: WatchedProcess, without_engine: Drafts
) -> None:
    paint(core, case, "fat")
    save(drafts, case)
    process.shutdown()
    (folder / case.id / "notes of mine.txt").write_text("mine", encoding="utf-8")
    Asked().result(without_engine.discard, case.id)
    assert [path.name for path in (folder / case.id).iterdir()] == ["notes of mine.txt"]
    assert without_engine.offered() == []


def test_what_lies_in_a_saved_scene_is_not_offered_until_it_is_edited_again(
    process: WatchedProcess, case: Case, core: SlicerCore, folder: Path, tmp_path: Path
) -> None:
    drafts = Drafts(process, folder, settings=Settings())
    paint(core, case, "fat")
    save(drafts, case)
    drafts.note_saved(case)
    assert [draft.id for draft in drafts.offered()] == [case.id], "nobody has saved the scene"
    core.save(tmp_path / "case.mrb")
    drafts.note_saved(case)
    assert drafts.offered() == []
    assert (folder / case.id / "draft.json").is_file()
    assert case.regions is not None
    case.regions.set_state(1, RegionState.ACCEPTED)
    save(drafts, case)
    drafts.note_saved(case)
    assert [draft.id for draft in drafts.offered()] == [case.id]


WRONG_RECORDS: tuple[tuple[str, Any], ...] = (
    ("base", "../elsewhere"),
    ("edits", "/etc"),
    ("saved", "yesterday"),
    ("images", {}),
    ("images", {"CT": {"file": "../x.npy", "geometry": {}}}),
    ("state", 7),
    ("format", 2),
)


def test_a_draft_with_a_wrong_record_is_refused_and_hides_no_other(
    drafts: Drafts, case: Case, core: SlicerCore, folder: Path
) -> None:
    paint(core, case, "fat")
    save(drafts, case)
    record = json.loads((folder / case.id / "draft.json").read_text())
    other = folder / ("0" * 32)
    other.mkdir()
    for key, value in WRONG_RECORDS:  # one case for all: it takes seconds to make
        (other / "draft.json").write_text(json.dumps({**record, key: value}))
        assert [draft.id for draft in offered(drafts)] == [case.id], key
        refused = Asked().error(drafts.open, other.name, SlicerCore.start().scene)
        assert isinstance(refused, InputError), key


def test_a_draft_whose_layers_would_fill_the_memory_is_refused(
    drafts: Drafts, case: Case, core: SlicerCore, folder: Path
) -> None:
    paint(core, case, "fat")
    save(drafts, case)
    (layers,) = (folder / case.id).glob("edits-*/layers.npz")
    with zipfile.ZipFile(layers, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("0.npy", "w") as entry:
        header = {"shape": (20 << 22,), "fortran_order": False, "descr": "|u1"}
        np.lib.format.write_array_header_1_0(entry, header)
        for _ in range(20):
            entry.write(bytes(1 << 22))
    refused = Asked().error(drafts.open, case.id, SlicerCore.start().scene)
    assert f"announces {20 << 22} bytes" in refused.message


def test_a_link_in_place_of_a_draft_is_not_followed(folder: Path, tmp_path: Path, without_engine: Drafts) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "draft.json").write_text("{}", "utf-8")
    folder.mkdir()
    (folder / ("a" * 32)).symlink_to(elsewhere)
    Asked().result(without_engine.discard, "a" * 32)
    assert (elsewhere / "draft.json").is_file()
