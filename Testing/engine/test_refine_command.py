"""``activeseg refine`` and ``activeseg spread``, as a user calls them, on the demonstration model and a phantom."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from called_command import activeseg

from activeseg.core.geometry import slices_of
from activeseg.core.volume import Volume
from activeseg.io.images import write_volume
from activeseg.predictions.prediction import Prediction
from activeseg.review.regions import FoundRegion
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry


@dataclass(frozen=True)
class Segmented:
    """A phantom that was segmented, and its truth."""

    folder: Path
    prediction: Prediction
    truth: np.ndarray

    def missed(self) -> tuple[FoundRegion, str, str]:
        """The region where most of a structure is missing, that structure, and a voxel (R,A,S) that it lacks."""
        found = []
        for region in self.prediction.regions:
            truth, now = self.truth[region.slices], self.prediction.labels.array[region.slices]
            found += [(np.count_nonzero((truth == v) & (now == 0)), region.number, v) for v in range(1, 12)]
        _, number, value = max(found)
        region = self.prediction.regions[number - 1]
        missing = (self.truth[region.slices] == value) & (self.prediction.labels.array[region.slices] == 0)
        places = np.argwhere(missing)
        at = places[len(places) // 2] + [low for low, _ in region.box_kji]
        ras = self.prediction.labels.geometry.ras_of_ijk(at[::-1])
        return region, self.prediction.schema.name_of(value), ",".join(f"{mm:.2f}" for mm in ras)

    def corner(self) -> str:
        """The place (R,A,S) of the first voxel, which lies in no region."""
        assert all(max(low for low, _ in region.box_kji) > 0 for region in self.prediction.regions)
        return ",".join(f"{mm:.2f}" for mm in self.prediction.labels.geometry.ras_of_ijk(np.zeros(3)))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Segmented:
    folder = tmp_path_factory.mktemp("case")
    phantom = make_phantom(Domain.NATIVE, 8, geometry=phantom_geometry((6.0, 6.0, 6.0)))
    write_volume(phantom.ct, folder / "ct.nii.gz")
    done = activeseg("segment", folder / "ct.nii.gz", "-m", "demo", "-o", folder / "case", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return Segmented(folder / "case", Prediction.load(folder / "case"), phantom.labels.array)


def test_a_click_repairs_a_region_and_the_result_is_a_prediction(case: Segmented, tmp_path: Path) -> None:
    region, structure, at = case.missed()
    out = tmp_path / "out"
    done = activeseg("refine", case.folder, "--at", at, "--structure", structure, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["refiner"], said["region"]) == ("features", region.number)
    refined = Prediction.load(out)
    moved = refined.labels.array != case.prediction.labels.array
    assert moved.sum() == said["voxels_changed"] > 0
    assert set(np.unique(refined.labels.array[moved])) == {case.prediction.schema.named(structure).value}
    outside = np.ones(moved.shape, bool)
    outside[region.slices] = False
    assert not moved[outside].any()
    assert refined.details["corrected"][0]["voxels_changed"] == said["voxels_changed"]
    assert [region.number for region in refined.regions] == [region.number for region in case.prediction.regions]
    assert (out / "overview.png").is_file()


def test_outside_of_the_regions_a_click_is_answered_only_when_that_is_said(case: Segmented, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = activeseg(
        "refine", case.folder, "--at", case.corner(), "--structure", "liver", "--anywhere", "-o", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["region"] is None
    assert [low for low, _ in said["box_kji"]] == [0, 0, 0]


def test_corrected_regions_are_applied_to_the_rest(case: Segmented, tmp_path: Path) -> None:
    edited = case.prediction.labels.array.copy()
    for region in case.prediction.regions:
        edited[region.slices] = case.truth[region.slices]
    write_volume(Volume(edited, case.prediction.labels.geometry), tmp_path / "edited.nii.gz")
    out = tmp_path / "out"
    done = activeseg("spread", case.folder, "--labels", tmp_path / "edited.nii.gz", "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["offered"], said["why"]
    assert said["expected_gain"] > 0
    after = Prediction.load(out)
    inside = np.zeros(edited.shape, bool)
    for region in case.prediction.regions:
        inside[slices_of(region.box_kji)] = True
    assert np.array_equal(after.labels.array[inside], edited[inside])
    wrong = (after.labels.array != case.truth)[~inside].sum(), (edited != case.truth)[~inside].sum()
    assert wrong[0] < wrong[1]
    old = case.prediction.labels.array
    corrected = [r.number for r in case.prediction.regions if (old[r.slices] != edited[r.slices]).any()]
    assert [region.number for region in after.regions if region.state.value == "corrected"] == corrected
    assert [region.state.value for region in after.regions if region.number > 10] == ["open"] * 10


def test_what_does_not_pay_is_not_offered_and_nothing_is_written(case: Segmented, tmp_path: Path) -> None:
    edited = case.prediction.labels.array.copy()
    noise = np.random.default_rng(0)
    for region in case.prediction.regions[:3]:
        edited[region.slices] = noise.integers(0, 12, edited[region.slices].shape)
    write_volume(Volume(edited, case.prediction.labels.geometry), tmp_path / "edited.nii.gz")
    out = tmp_path / "out"
    done = activeseg("spread", case.folder, "--labels", tmp_path / "edited.nii.gz", "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["offered"] is False
    assert said["why"]
    assert said["folder"] is None
    assert not out.exists()


def test_too_few_reviewed_regions_are_told_before_anything_is_computed(case: Segmented, tmp_path: Path) -> None:
    done = activeseg("spread", case.folder, "--labels", case.folder / "labels.nii.gz", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "from 3 reviewed regions on; this case has 0" in done.stderr
    assert "network" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--structure", "liver"), "No prompt"),
        (("--structure", "liver", "--at", "0,0,nan"), "--at"),
        (("--structure", "liver", "--at", "0,0,9999"), "outside of the image"),
        (("--structure", "liver", "--lasso", "0,0,0 9,0,0"), "lasso"),
        (("--structure", "liver", "--at", "0,0,0", "--refiner", "magic"), "magic"),
        (("--structure", "liver", "--at", "FAR"), "do not lie in one of the listed regions"),
        (("--structure", "liver", "--at", "FAR", "--region", "1"), "do not all lie in region 1"),
        (("--structure", "liver", "--at", "FAR", "--region", "1", "--anywhere"), "exclude each other"),
    ],
)
def test_a_wish_that_makes_no_sense_is_one_sentence_and_writes_nothing(
    case: Segmented, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    far = case.corner()
    done = activeseg("refine", case.folder, *(far if a == "FAR" else a for a in arguments), "-o", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert "network" not in done.stderr, "it is found out before anything is computed"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_image_that_was_moved_is_named_and_can_be_given(case: Segmented, tmp_path: Path) -> None:
    ct = case.folder.parent / "ct.nii.gz"
    moved = ct.rename(tmp_path / "elsewhere.nii.gz")
    try:
        _, structure, at = case.missed()
        wish = ("refine", case.folder, "--at", at, "-s", structure, "-o", tmp_path / "out")
        refused = activeseg(*wish)
        assert refused.returncode == 2
        assert "--image" in refused.stderr
        assert activeseg(*wish, "--image", moved).returncode == 0
    finally:
        moved.rename(ct)
