"""HU rules on phantoms with known truth, on turned grids, and on what is no CT."""

from __future__ import annotations

import numpy as np
import pytest

from activeseg.core.errors import Cancelled, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import MemberKind, Segmented
from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, Phantom, make_phantom, phantom_geometry
from activeseg.segmenters.hounsfield import HOUNSFIELD_SCHEMA, HounsfieldSegmenter


def segment(ct: Volume, settings: Settings | None = None, progress: Progress | None = None) -> Segmented:
    return HounsfieldSegmenter().segment({"CT": ct}, settings or Settings(), progress or Progress())


def is_a(segmented: Segmented, structure: str) -> np.ndarray:
    return segmented.labels == HOUNSFIELD_SCHEMA.named(structure).value


def truth(phantom: Phantom, *structures: str) -> np.ndarray:
    return np.isin(phantom.labels.array, [PHANTOM_SCHEMA.named(name).value for name in structures])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def ball_in_air(hu: float, shape=(20, 24, 24), radius=8.0, air=-1000, spacing=(2.0, 2.0, 2.0)) -> Volume:
    k, j, i = np.indices(shape)
    inside = (k - 10) ** 2 + (j - 12) ** 2 + (i - 12) ** 2 <= radius**2
    array = np.where(inside, hu, air).astype(np.int16)
    return Volume(array, Geometry(shape, spacing, (0.0, 0.0, 0.0), tuple(np.eye(3).ravel())))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(Domain.CONTRAST, 3)


@pytest.fixture(scope="module")
def segmented(phantom) -> Segmented:
    return segment(phantom.ct)


def test_lungs_are_the_lungs(phantom, segmented):
    assert dice(is_a(segmented, "lungs"), truth(phantom, "lung_right", "lung_left")) > 0.9


def test_organs_are_soft_tissue(phantom, segmented):
    for organ in ("liver", "spleen", "kidney_right", "kidney_left", "heart", "aorta"):
        assert is_a(segmented, "soft_tissue")[truth(phantom, organ)].mean() > 0.9, organ


def test_vertebrae_are_bone_with_their_marrow(phantom, segmented):
    assert is_a(segmented, "bone")[truth(phantom, "vertebrae")].mean() > 0.8


def test_table_and_surrounding_air_are_outside(phantom, segmented):
    found = segmented.labels > 0
    assert not found[:, :, :3].any()
    _, y, _ = np.moveaxis(phantom.ct.geometry.ras_of_ijk(np.indices(found.shape)[::-1].transpose(1, 2, 3, 0)), -1, 0)
    assert y[found].min() > -125
    assert found[phantom.labels.array > 0].mean() > 0.999


def test_gas_in_the_bowel_is_air_and_not_lung(phantom, segmented):
    low = np.zeros(segmented.labels.shape, bool)
    low[:12] = True  # below all lung
    assert is_a(segmented, "air")[low].any()
    assert not is_a(segmented, "lungs")[low].any()


def test_airways_are_air_and_the_lungs_around_them_stay():
    ct = make_phantom(Domain.CONTRAST, 2, geometry=phantom_geometry((2.5, 2.5, 4.0)), noise=False).ct
    x, y, z = np.moveaxis(ct.geometry.ras_of_ijk(np.indices(ct.array.shape)[::-1].transpose(1, 2, 3, 0)), -1, 0)
    airway = ((x - 60) ** 2 + (y - 0) ** 2 <= 9**2) & (z > 85)
    array = ct.array.copy()
    array[airway] = -1000
    found = segment(Volume(array, ct.geometry), Settings(members=1))
    assert is_a(found, "air")[airway].mean() > 0.9
    around = (np.hypot(x - 60, y) > 16) & (np.hypot(x - 60, y) < 24) & (z > 85)
    assert is_a(found, "lungs")[around].mean() > 0.6


@pytest.mark.parametrize(
    "direction",
    [np.diag([-1, -1, 1]), np.diag([1, 1, -1]), [[0, 0, 1], [1, 0, 0], [0, 1, 0]]],
    ids=["LPS", "upside down", "sagittal"],
)
def test_same_image_on_a_flipped_or_swapped_grid_gives_the_same_answer(phantom, segmented, direction):
    grid = phantom_geometry(direction_ras=direction)
    points = phantom.ct.geometry.ras_of_ijk(np.argwhere(np.ones(phantom.ct.array.shape, bool))[:, ::-1])
    i, j, k = np.rint(grid.ijk_of_ras(points)).astype(int).T
    turned = np.empty(grid.shape_kji, np.int16)
    turned[k, j, i] = phantom.ct.array.ravel()
    labels = segment(Volume(turned, grid), Settings(members=1)).labels
    assert (labels[k, j, i] == segmented.labels.ravel()).mean() > 0.9999


def test_oblique_scan_is_segmented_as_well():
    turn = np.radians(20)
    tilted = phantom_geometry((4, 4, 5), [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    oblique = make_phantom(Domain.CONTRAST, 0, geometry=tilted)
    found = segment(oblique.ct, Settings(members=1))
    assert dice(is_a(found, "lungs"), truth(oblique, "lung_right", "lung_left")) > 0.85
    assert is_a(found, "soft_tissue")[truth(oblique, "liver")].mean() > 0.9


def test_lungs_that_the_image_cuts_through_are_still_lungs(phantom):
    cut = (slice(None), slice(None), slice(24, 64))
    geometry = phantom.ct.geometry
    origin = geometry.ijk_to_lps @ [24, 0, 0, 1]
    part = Geometry((56, 72, 40), geometry.spacing_xyz, tuple(origin[:3]), geometry.direction_lps)
    found = segment(Volume(phantom.ct.array[cut], part), Settings(members=1))
    lungs = truth(phantom, "lung_right", "lung_left")[cut]
    assert is_a(found, "lungs")[lungs].mean() > 0.8


def test_nominal_rules_decide_and_shifted_ones_only_vote(segmented):
    assert [member.kind for member in segmented.grid.members] == [MemberKind.TRAINED] + 6 * [MemberKind.VIEW]
    assert np.array_equal(segmented.grid.votes[0], segmented.labels)
    assert all((vote != segmented.labels).any() for vote in segmented.grid.votes[1:])
    assert segmented.grid.default_measure == "variance"


def test_shifted_thresholds_disagree_where_tissue_is_ambiguous():
    certain, doubtful = segment(ball_in_air(60)), segment(ball_in_air(-40))
    inside = certain.grid.geometry.shape_kji[0] // 2, 12, 12
    assert certain.grid.variance[inside] == 0
    assert doubtful.grid.variance[inside] > 0.1
    assert doubtful.grid.entropy[inside] > 0.1


@pytest.mark.parametrize("count", [1, 3, 7])
def test_as_many_members_vote_as_were_asked_for(count):
    found = segment(ball_in_air(60), Settings(members=count))
    assert len(found.grid.members) == len(found.grid.votes) == count
    assert (found.grid.variance is None) == (count == 1)


@pytest.mark.parametrize("count", [0, 8, "many"])
def test_impossible_number_of_members_is_refused(count):
    with pytest.raises(InputError, match="members"):
        HounsfieldSegmenter().check(Settings(members=count))


def test_subset_leaves_the_rest_background_and_says_what_was_decided(phantom, segmented):
    found = segment(phantom.ct, Settings(structures=("lungs", "bone")))
    assert found.decided == ("lungs", "bone")
    assert set(np.unique(found.labels)) == {0, 2, 3}
    assert np.array_equal(found.labels == 2, is_a(segmented, "lungs"))
    assert set(np.unique(found.grid.votes[3])) == {0, 2, 3}


def test_unknown_structure_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="lungs"):
        segment(ball_in_air(60), Settings(structures=("lung",)))


def test_image_of_air_has_no_structures():
    air = ball_in_air(-1000)
    found = segment(air)
    assert not found.labels.any()
    assert not found.grid.entropy.any()


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 5, 4), (2, 2, 2)])
def test_tiny_images_are_segmented(shape):
    array = np.full(shape, -300, np.int16)
    array.flat[-1] = 50
    found = segment(Volume(array, Geometry(shape, (1.0, 1.0, 1.0), (0.0,) * 3, tuple(np.eye(3).ravel()))))
    assert found.labels.shape == shape


def test_body_without_air_around_it_is_segmented():
    fat = ball_in_air(60, air=-100)
    found = segment(Volume(np.where(fat.array > 0, 60, -230).astype(np.int16), fat.geometry), Settings(members=1))
    assert is_a(found, "soft_tissue")[10, 12, 12]


def test_mr_image_is_refused_in_words():
    with pytest.raises(InputError, match="needs a CT in HU, and the darkest voxel of this image is 0"):
        segment(ball_in_air(300, air=0))


def test_image_with_nan_is_refused():
    ball = ball_in_air(60)
    array = ball.array.astype(np.float32)
    array[3, 3, 3] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        segment(Volume(array, ball.geometry))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_other_number_types_give_the_same(phantom, segmented, dtype):
    found = segment(Volume(phantom.ct.array.astype(dtype), phantom.ct.geometry), Settings(members=1))
    assert np.array_equal(found.labels, segmented.labels)


def test_other_device_runs_on_the_cpu_and_says_so():
    details = segment(ball_in_air(60), Settings(device="cuda")).details
    assert details["device"] == "cpu"
    assert "cuda" in details["device_note"]


def test_cancel_stops_it(phantom):
    with pytest.raises(Cancelled):
        segment(phantom.ct, progress=Progress(cancelled=lambda: True))


def test_missing_channel_is_named():
    with pytest.raises(InputError, match="'CT'"):
        HounsfieldSegmenter().segment({"T1": ball_in_air(60)}, Settings(), Progress())


def test_every_structure_has_a_snomed_meaning():
    assert all(label.terminology and label.terminology.type.scheme == "SCT" for label in HOUNSFIELD_SCHEMA.labels)
