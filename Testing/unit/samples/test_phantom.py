"""The phantoms: same person on every grid, plausible HU, right is right."""

from __future__ import annotations

import numpy as np
import pytest

from activeseg.core.errors import InputError
from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, Phantom, make_phantom, phantom_geometry


def centre_ras(phantom: Phantom, structure: str) -> np.ndarray:
    kji = np.argwhere(phantom.labels.array == PHANTOM_SCHEMA.named(structure).value)
    return phantom.labels.geometry.ras_of_ijk(kji.mean(0)[::-1])


def mean_hu(phantom: Phantom, structure: str) -> float:
    return float(phantom.ct.array[phantom.labels.array == PHANTOM_SCHEMA.named(structure).value].mean())


@pytest.fixture(scope="module")
def contrast() -> Phantom:
    return make_phantom(Domain.CONTRAST, 3)


@pytest.fixture(scope="module")
def native() -> Phantom:
    return make_phantom(Domain.NATIVE, 3)


def test_default_grid_is_small_and_ras(contrast):
    assert contrast.ct.geometry.shape_kji == (56, 72, 88)
    assert np.allclose(contrast.ct.geometry.ijk_to_ras[:3, :3], np.diag([4, 4, 4]))
    assert contrast.ct.array.dtype == np.int16
    assert contrast.labels.array.dtype == np.uint8


def test_same_seed_gives_the_same_voxels_and_another_seed_another_person(contrast):
    again, other = make_phantom(Domain.CONTRAST, 3), make_phantom(Domain.CONTRAST, 4)
    assert np.array_equal(again.ct.array, contrast.ct.array)
    assert np.array_equal(again.labels.array, contrast.labels.array)
    assert (other.labels.array != contrast.labels.array).mean() > 0.02


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("domain", Domain)
def test_every_structure_is_there_in_every_person(domain, seed):
    counts = np.bincount(make_phantom(domain, seed).labels.array.ravel(), minlength=len(PHANTOM_SCHEMA) + 1)
    assert len(counts) == len(PHANTOM_SCHEMA) + 1
    assert counts.min() > 60


def test_right_is_right_front_is_front_and_up_is_up(contrast):
    right, left = centre_ras(contrast, "kidney_right"), centre_ras(contrast, "kidney_left")
    assert right[0] > 20
    assert left[0] < -20
    assert centre_ras(contrast, "liver")[0] > 10
    assert centre_ras(contrast, "spleen")[0] < -50
    assert centre_ras(contrast, "aorta")[1] > centre_ras(contrast, "vertebrae")[1] + 20
    assert centre_ras(contrast, "heart")[2] > centre_ras(contrast, "liver")[2] > right[2]


def test_hu_are_those_of_a_ct(contrast, native):
    assert contrast.ct.array.min() >= -1024
    assert mean_hu(contrast, "lung_left") < -600
    assert 90 < mean_hu(contrast, "liver") < 140
    assert mean_hu(contrast, "aorta") > mean_hu(native, "aorta") + 80
    assert 45 < mean_hu(native, "liver") < 75
    assert 15 < mean_hu(native, "kidney_left") < 55
    assert mean_hu(native, "vertebrae") > 150


def test_native_domain_is_noisier(contrast, native):
    def local_noise(phantom):
        liver = phantom.labels.array == PHANTOM_SCHEMA.named("liver").value
        both = liver[1:] & liver[:-1]
        return np.diff(phantom.ct.array.astype(float), axis=0)[both].std()

    assert local_noise(native) > 1.5 * local_noise(contrast)


def test_flipped_and_permuted_grids_hold_the_same_voxels():
    plain = make_phantom(Domain.CONTRAST, 1, noise=False)
    flipped = make_phantom(
        Domain.CONTRAST, 1, geometry=phantom_geometry(direction_ras=np.diag([-1, -1, 1])), noise=False
    )
    assert np.array_equal(flipped.labels.array[:, ::-1, ::-1], plain.labels.array)
    assert np.array_equal(flipped.ct.array[:, ::-1, ::-1], plain.ct.array)
    swapped = phantom_geometry(direction_ras=[[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # i = anterior, j = superior, k = right
    coronal = make_phantom(Domain.CONTRAST, 1, geometry=swapped, noise=False)
    assert coronal.ct.geometry.shape_kji == (88, 56, 72)
    assert np.array_equal(coronal.labels.array.transpose(1, 2, 0), plain.labels.array)


def test_oblique_and_finer_grids_show_the_same_person(contrast):
    turn = np.radians(12)
    oblique = phantom_geometry(
        (3.0, 3.0, 6.0), [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    turned = make_phantom(Domain.CONTRAST, 3, geometry=oblique)
    for structure in ("liver", "kidney_right", "spleen", "lung_left"):
        assert np.allclose(centre_ras(turned, structure), centre_ras(contrast, structure), atol=1.5)
        value = PHANTOM_SCHEMA.named(structure).value
        volume = (turned.labels.array == value).sum() * oblique.voxel_mm3
        expected = (contrast.labels.array == value).sum() * contrast.labels.geometry.voxel_mm3
        assert volume == pytest.approx(expected, rel=0.05)


def test_grid_of_any_shape_can_be_asked_for_and_outside_is_air():
    geometry = phantom_geometry((8, 8, 8), shape_kji=(5, 40, 60), centre_ras=(0, 0, 40))
    phantom = make_phantom(Domain.NATIVE, 0, geometry=geometry, noise=False)
    assert phantom.ct.array.shape == (5, 40, 60)
    assert (phantom.ct.array[:, :, 0] < -980).all()
    assert np.allclose(geometry.ras_of_ijk([29.5, 19.5, 2]), [0, 0, 40])


def test_wrong_direction_is_refused():
    with pytest.raises(InputError, match="3 x 3"):
        phantom_geometry(direction_ras=np.eye(4))
    with pytest.raises(InputError, match="right angles"):
        phantom_geometry(direction_ras=[[1, 0.3, 0], [0, 1, 0], [0, 0, 1]])


def test_every_structure_has_a_snomed_meaning():
    assert all(label.terminology and label.terminology.type.scheme == "SCT" for label in PHANTOM_SCHEMA.labels)
    assert PHANTOM_SCHEMA.named("kidney_left").terminology.modifier.meaning == "Left"
