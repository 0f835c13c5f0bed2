"""Prompts and the spread of corrections through a real engine: what is kept, computed again, refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_engine import WatchedEngine, array_message

from activeseg.core.errors import InputError
from activeseg.core.volume import Volume
from activeseg.corrections.drafts import store_base
from activeseg.corrections.opened import CaseOfDataset, OpenedLabels
from activeseg.predictions.region_files import read_regions
from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, Phantom, make_phantom, phantom_geometry


@dataclass(frozen=True)
class Case:
    """A segmented phantom, with what was sent and what came back."""

    phantom: Phantom
    labels: np.ndarray
    regions: list[dict[str, Any]]
    draft: Path
    folder: Path
    record: Mapping[str, Any]

    def file(self, name: str, array: np.ndarray) -> str:
        path = self.folder / f"{name}.npy"
        np.save(path, array)
        return str(path)

    def slices(self, number: int) -> tuple[slice, ...]:
        region = next(region for region in self.regions if region["number"] == number)
        return tuple(slice(*span) for span in region["box_kji"])

    def wrong_click(self, number: int) -> dict[str, Any]:
        """A click in the middle of the largest piece of a region that should be another structure."""
        from scipy.ndimage import distance_transform_edt

        where = self.slices(number)
        truth, now = self.phantom.labels.array[where], self.labels[where]
        missed = [(np.count_nonzero((truth == value) & (now == 0)), value) for value in range(1, 12)]
        value = max(missed)[1]
        depth = distance_transform_edt(np.pad((truth == value) & (now == 0), 1))[1:-1, 1:-1, 1:-1]
        at = np.unravel_index(depth.argmax(), depth.shape)
        point = [int(a) + s.start for a, s in zip(at, where, strict=True)]
        return {"kind": "point", "structure": PHANTOM_SCHEMA.name_of(int(value)), "points_kji": [point]}


def segmented(engine: WatchedEngine, folder: Path, model: str, patient: int = 6, **more: Any) -> Case:
    phantom = make_phantom(Domain.NATIVE, patient, geometry=phantom_geometry((6.0, 6.0, 6.0)))
    folder.mkdir(parents=True, exist_ok=True)
    image = array_message(folder / "ct.npy", phantom.ct)
    result = engine.do("segment", {"model": model, "image": image, "draft": str(folder / "draft"), **more})
    labels = np.load(result["labels"])
    return Case(phantom, labels, list(result["regions"]), folder / "draft", folder, result["record"])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedEngine]:
    with WatchedEngine(tmp_path_factory.mktemp("engine") / "home") as started:
        yield started


@pytest.fixture
def case(engine: WatchedEngine, tmp_path: Path) -> Case:
    return segmented(engine, tmp_path / "case", "demo")


def ask(engine: WatchedEngine, case: Case, session: str, number: int, *prompts: dict[str, Any]) -> dict[str, Any]:
    box = [[s.start, s.stop] for s in case.slices(number)]
    labels = case.file("box", case.labels[case.slices(number)])
    return dict(engine.do("refine", {"session": session, "labels": labels, "box_kji": box, "prompts": list(prompts)}))


def test_a_click_repairs_a_region_with_what_the_run_kept(engine: WatchedEngine, case: Case) -> None:
    opened = engine.do("refine.open", {"draft": str(case.draft)})
    assert opened["kept"]
    assert opened["spreads"]
    assert opened["refiners"][0] == "features"
    click = case.wrong_click(1)
    answer = ask(engine, case, opened["session"], 1, click)
    where = case.slices(1)
    truth, before = case.phantom.labels.array[where], case.labels[where]
    with np.load(answer["patch"]) as patch:
        after, changed = patch["labels"], patch["changed"]
    value = PHANTOM_SCHEMA.named(click["structure"]).value
    assert set(np.unique(after[changed])) == {value}
    assert np.array_equal(after[~changed], before[~changed])
    assert after[tuple(p - s.start for p, s in zip(click["points_kji"][0], where, strict=True))] == value
    assert np.count_nonzero(after != truth) < np.count_nonzero(before != truth)
    assert list(answer["alternative"]["gains"]) == [click["structure"]]
    assert engine.do("refine.open", {"draft": str(case.draft)})["session"] == opened["session"]


def test_a_case_that_the_engine_has_forgotten_is_read_from_its_draft(
    engine: WatchedEngine, case: Case, tmp_path: Path
) -> None:
    segmented(engine, tmp_path / "another", "hounsfield")
    box = [[s.start, s.stop] for s in case.slices(1)]
    opened = engine.do("refine.open", {"draft": str(case.draft), "box_kji": box})
    assert not opened["kept"]
    assert "features" in opened["refiners"]
    assert ask(engine, case, opened["session"], 1, case.wrong_click(1))["alternative"]["gains"]


def test_a_case_without_a_draft_is_opened_by_its_image_and_model(
    engine: WatchedEngine, case: Case, tmp_path: Path
) -> None:
    opened = engine.do(
        "refine.open",
        {
            "image": array_message(tmp_path / "again.npy", case.phantom.ct),
            "model": "demo",
            "predicted": case.file("predicted", case.labels),
        },
    )
    assert not opened["kept"]
    assert ask(engine, case, opened["session"], 1, case.wrong_click(1))["alternative"]["gains"]


def test_an_exact_run_keeps_no_features_and_a_click_has_them_all_the_same(
    engine: WatchedEngine, tmp_path: Path
) -> None:
    case = segmented(engine, tmp_path / "exact", "demo", settings={"mode": "exact", "members": 2})
    opened = engine.do("refine.open", {"draft": str(case.draft)})
    assert not opened["kept"]
    assert opened["refiners"][0] == "features"
    assert ask(engine, case, opened["session"], 1, case.wrong_click(1))["alternative"]["gains"]


def test_a_model_without_a_network_answers_clicks_and_spreads_nothing(engine: WatchedEngine, tmp_path: Path) -> None:
    case = segmented(engine, tmp_path / "rules", "hounsfield")
    opened = engine.do("refine.open", {"draft": str(case.draft)})
    assert opened["refiners"][0] == "walker"
    assert not opened["spreads"]
    assert "network" in opened["why_not"]
    k, j, i = np.argwhere(case.labels[case.slices(1)] != 1)[0]
    start = [s.start for s in case.slices(1)]
    point = [int(k) + start[0], int(j) + start[1], int(i) + start[2]]
    answer = ask(engine, case, opened["session"], 1, {"kind": "point", "structure": "body", "points_kji": [point]})
    assert answer["alternative"]["gains"]["body"]["voxels"] >= 1
    with pytest.raises(InputError, match="only where a network predicted"):
        engine.do("spread", spread_wish(case, opened["session"], case.labels, ()))


def test_a_case_of_a_dataset_that_no_model_predicted_answers_clicks(engine: WatchedEngine, tmp_path: Path) -> None:
    phantom = make_phantom(Domain.NATIVE, 7, geometry=phantom_geometry((8.0, 8.0, 8.0)))
    origin = CaseOfDataset(str(tmp_path / "Dataset001_X"), "CT_0001")
    labels = phantom.labels.array.copy()
    liver = np.argwhere(labels == PHANTOM_SCHEMA.named("liver").value)
    low, high = liver.min(axis=0), liver.max(axis=0) + 1
    middle = liver[len(liver) // 2]
    labels[tuple(slice(max(0, m - 2), m + 3) for m in middle)] = 0
    opened_case = OpenedLabels(Volume(labels, phantom.labels.geometry), PHANTOM_SCHEMA, PHANTOM_SCHEMA.names, origin)
    store_base(tmp_path / "draft", opened_case, {"CT": phantom.ct})
    opened = engine.do("refine.open", {"draft": str(tmp_path / "draft")})
    assert opened["refiners"] == ["walker"]
    box = [[int(a), int(b)] for a, b in zip(low, high, strict=True)]
    np.save(tmp_path / "box.npy", labels[tuple(slice(*span) for span in box)])
    prompt = {"kind": "point", "structure": "liver", "points_kji": [middle.tolist()]}
    wish = {"session": opened["session"], "labels": str(tmp_path / "box.npy"), "box_kji": box, "prompts": [prompt]}
    assert engine.do("refine", wish)["alternative"]["gains"]["liver"]["voxels"] > 50


def spread_wish(case: Case, session: str, labels: np.ndarray, reviewed: tuple[int, ...]) -> dict[str, Any]:
    regions = [
        {
            "number": region["number"],
            "box_kji": region["box_kji"],
            "state": "corrected" if region["number"] in reviewed else "open",
        }
        for region in case.regions
    ]
    return {"session": session, "labels": case.file("edited", labels), "regions": regions}


def test_ten_corrected_regions_repair_the_rest_and_new_regions_are_found(engine: WatchedEngine, tmp_path: Path) -> None:
    case = segmented(engine, tmp_path / "case", "demo", patient=8)
    truth, edited = case.phantom.labels.array, case.labels.copy()
    numbers = tuple(region["number"] for region in case.regions)
    inside = np.zeros(edited.shape, bool)
    for number in numbers:
        edited[case.slices(number)] = truth[case.slices(number)]
        inside[case.slices(number)] = True
    session = engine.do("refine.open", {"draft": str(case.draft)})["session"]
    wish = spread_wish(case, session, edited, numbers)
    proposal = engine.do("spread", wish)
    assert proposal["offered"], proposal["why"]
    assert proposal["regions_used"] == list(numbers)
    after = np.load(proposal["labels"])
    assert np.array_equal(after[inside], edited[inside])
    assert np.count_nonzero((after != truth)[~inside]) < np.count_nonzero((edited != truth)[~inside])
    moved = {change["name"]: change["voxels_gained"] + change["voxels_lost"] for change in proposal["changes"]}
    assert sum(moved.values()) >= np.count_nonzero(after != edited)
    taken = {"session": session, "labels": case.file("after", after), "reviewed": wish["regions"], "regions": 5}
    found = engine.do("spread.taken", taken)
    assert [region["number"] for region in found["regions"]] == list(range(len(numbers) + 1, len(numbers) + 6))
    listed = read_regions(Path(found["regions_folder"]))
    for region in listed:
        k, j, i = (int(a) for a in np.rint(case.phantom.ct.geometry.ijk_of_ras(region.center_ras))[::-1])
        assert not inside[k, j, i]
    with pytest.raises(InputError, match="No proposal"):
        engine.do("spread.taken", taken)
    again = engine.do("regions.find", {"draft": str(case.draft), "focus": ["liver"], "regions": 2})
    assert all("liver" in region["structures"] for region in again["regions"])


def test_two_reviewed_regions_are_too_few_and_the_sentence_says_so(engine: WatchedEngine, case: Case) -> None:
    edited = case.labels.copy()
    for number in (1, 2):
        edited[case.slices(number)] = case.phantom.labels.array[case.slices(number)]
    session = engine.do("refine.open", {"draft": str(case.draft)})["session"]
    with pytest.raises(InputError, match="this case has 2"):
        engine.do("spread", spread_wish(case, session, edited, (1, 2)))


def test_a_session_that_the_engine_let_go_of_is_told_apart(engine: WatchedEngine, case: Case) -> None:
    with pytest.raises(InputError, match="let go") as error:
        ask(engine, case, "another", 1, case.wrong_click(1))
    assert error.value.details["session"] == "unknown"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"box_kji": [[0, 9], [0, 9], [0, 9999]]}, "does not lie in the image"),
        ({"box_kji": [[5, 5], [0, 9], [0, 9]]}, "does not lie in the image"),
        ({"prompts": []}, "prompts"),
        ({"refiner": "magic"}, "magic"),
        ({"prompts": [{"kind": "point", "structure": "soul", "points_kji": [[1, 1, 1]]}]}, "soul"),
        ({"prompts": [{"kind": "box", "structure": "liver", "points_kji": [[0, 0, 0], [999999] * 3]}]}, "box"),
        ({"prompts": [{"kind": "point", "structure": "liver", "points_kji": [[1, 1, 10**30]]}]}, "in no image"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_and_the_engine_lives_on(
    engine: WatchedEngine, case: Case, change: dict[str, Any], said: str
) -> None:
    session = engine.do("refine.open", {"draft": str(case.draft)})["session"]
    box = [[s.start, s.stop] for s in case.slices(1)]
    wish = {
        "session": session,
        "labels": case.file("box", case.labels[case.slices(1)]),
        "box_kji": box,
        "prompts": [case.wrong_click(1)],
    }
    with pytest.raises(InputError, match=said):
        engine.do("refine", {**wish, **change})
    assert engine.do("refine", wish)["refiner"] == "features"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda labels: labels.astype(np.float32), "float32"),
        (lambda labels: labels.astype(bool), "bool"),
        (lambda labels: labels.astype(np.int16) - 5, "-5"),
        (lambda labels: labels.astype(np.uint16) + 60_000, "no structure"),
        (lambda labels: labels[1:], "voxels"),
    ],
)
def test_a_label_map_that_cannot_be_this_case_s_is_refused_by_every_message(
    engine: WatchedEngine, case: Case, change: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    image = array_message(case.folder / "again.npy", case.phantom.ct)
    session = engine.do("refine.open", {"draft": str(case.draft)})["session"]
    where, wrong = case.slices(1), change(case.labels)
    box = [[s.start, s.stop] for s in where]
    click = {"box_kji": box, "prompts": [case.wrong_click(1)]}
    for method, wish in (
        ("refine", {"session": session, "labels": case.file("box", change(case.labels[where])), **click}),
        ("spread", spread_wish(case, session, wrong, (1, 2, 3))),
        ("refine.open", {"image": image, "model": "demo", "predicted": case.file("predicted", wrong)}),
    ):
        with pytest.raises(InputError, match=said):
            engine.do(method, wish)


def test_regions_that_cannot_be_this_case_s_are_refused(engine: WatchedEngine, case: Case) -> None:
    session = engine.do("refine.open", {"draft": str(case.draft)})["session"]
    wish = spread_wish(case, session, case.labels, (1, 2, 3))
    first = wish["regions"][0]
    with pytest.raises(InputError, match="Region 1 is listed twice"):
        engine.do("spread", {**wish, "regions": [first] * 10})
    with pytest.raises(InputError, match="does not lie in the image"):
        engine.do("spread", {**wish, "regions": [{**first, "box_kji": [[0, 10**30]] * 3}]})
