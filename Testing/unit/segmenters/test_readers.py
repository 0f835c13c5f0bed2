"""Images as nnU-Net's readers give them to a model, against nibabel's own way of turning axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.segmenters.nnunet.case import READERS

orientations = pytest.importorskip("nibabel.orientations")


@pytest.mark.parametrize("seed", range(60))
def test_the_reorienting_reader_turns_axes_as_nibabel_does_and_back(seed: int) -> None:
    random = np.random.default_rng(seed)
    turn = np.eye(3)[:, random.permutation(3)] * random.choice([-1, 1], 3)
    if seed % 2:
        turn = Rotation.from_rotvec(random.normal(size=3) * random.choice([0.05, 0.3, 0.8])).as_matrix() @ turn
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * random.uniform(0.4, 5, 3), random.normal(size=3) * 100
    array = random.integers(0, 99, (4, 5, 6)).astype(np.int16)
    geometry = replace(Geometry.from_ijk_to_ras(affine, array.shape), assumed=seed % 5 == 0)
    image = READERS["NibabelIOWithReorient"](Volume(array, geometry))

    to_ras = orientations.io_orientation(geometry.nibabel_affine)
    turned = orientations.apply_orientation(array.transpose(2, 1, 0), to_ras).transpose(2, 1, 0)
    assert np.array_equal(image.array, turned)
    expected = geometry.ijk_to_ras @ orientations.inv_ornt_aff(to_ras, array.shape[::-1])
    assert np.allclose(image.geometry.ijk_to_ras, expected, rtol=0, atol=1e-9)
    assert np.array_equal(image.restore(image.array), array)
