"""A scene that is edited at random is exported as it is: ``Testing/soak/edits.py`` does the same for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_edits import EditedScene, Mismatch
from scene_cases import PLAIN, oblique
from slicer_application import SlicerCore, quiet

from activeseg.core.geometry import Geometry

EDITS = 60


@pytest.mark.parametrize(("seed", "geometry"), [(11, PLAIN), (12, oblique())], ids=["plain", "oblique"])
def test_whatever_is_edited_is_exported_voxel_by_voxel(
    core: SlicerCore, tmp_path: Path, seed: int, geometry: Geometry
) -> None:
    scene = EditedScene(core, seed, geometry)
    with quiet():
        for number in range(1, EDITS + 1):
            scene.edit()
            scene.check()
            if number % 6 == 0:
                scene.check_file(tmp_path)
    assert len(scene.done) > 15, "hardly anything was tried"


def test_the_comparison_sees_a_single_voxel(core: SlicerCore) -> None:
    scene = EditedScene(core, 1, PLAIN)
    scene.check()
    read_back = scene.segmentation.read_back

    def lies(*parameters: object) -> object:
        found = read_back(*parameters)
        found.labels[0, 0, 35] = 3
        return found

    scene.segmentation.read_back = lies
    with pytest.raises(Mismatch, match=r"differs from the reference in 1 voxels .* \(0, 0, 35\)"):
        scene.check()
