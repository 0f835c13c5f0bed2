"""The genuine ``nnUNetv2_plan_and_preprocess --verify_dataset_integrity`` takes our datasets, exactly as listed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.migration import migrate_dataset

SCHEMA = LabelSchema.from_names(["liver", "spleen"])
IGNORE = SCHEMA.ignore_value
TRUTH = Provenance(Origin.TRUTH)


def turned(degrees: float, flips: tuple[int, int, int], shape: tuple[int, int, int]) -> Geometry:
    angle = np.radians(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return Geometry(shape, (1.5, 1.25, 3.0), (-20.0, 35.5, 110.0), tuple((turn @ np.diag(flips)).ravel()))


GEOMETRIES = [
    turned(0, (1, 1, 1), (20, 26, 30)),
    turned(0, (-1, 1, -1), (22, 24, 28)),
    turned(18, (1, -1, 1), (20, 28, 26)),
    turned(-12, (-1, -1, -1), (24, 26, 26)),
]


def phantom(seed: int, geometry: Geometry) -> tuple[Volume, np.ndarray]:
    """HU noise with two organs, and some voxels that nobody vouches for."""
    random = np.random.default_rng(seed)
    k, j, i = np.indices(geometry.shape_kji)
    labels = np.zeros(geometry.shape_kji, np.uint8)
    labels[(k - 10) ** 2 + (j - 10) ** 2 + (i - 9) ** 2 < 36] = 1
    labels[(k - 10) ** 2 + (j - 18) ** 2 + (i - 19) ** 2 < 25] = 2
    hu = np.array([40.0, 110.0, 150.0])[labels] + gaussian_filter(random.normal(0, 60, geometry.shape_kji), 1)
    labels[random.random(geometry.shape_kji) < 0.01] = IGNORE
    return Volume(hu.astype(np.int16), geometry), labels


@dataclass(frozen=True)
class Run:
    """What the command made of two datasets: one as it was filled, one after everything that can happen to one."""

    said: str
    fresh: Path
    changed: Path
    updated_labels: np.ndarray


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("nnunet")
    fresh = Dataset.create(folder / "raw" / "organs", SCHEMA, private_dir=folder / "private")
    for seed, geometry in enumerate(GEOMETRIES):
        image, labels = phantom(seed, geometry)
        fresh.add_case(NewCase(image, labels, geometry, TRUTH))
    (fresh.folder / "imagesTr" / "CT_0099_0000.nii.gz").write_bytes(b"what a crashed writer left")

    changed = migrate_dataset(
        fresh, folder / "raw" / "more organs", LabelSchema.from_names(["aorta", "spleen", "liver"])
    )
    changed.remove_case("CT_0002")
    for name in ("CT_0001", "CT_0004"):
        opened = changed.open_case(name)
        updated = opened.labels.array.copy()
        updated[0] = 1
        changed.add_case(NewCase(opened.images, updated, opened.labels.geometry, TRUTH))

    environment = os.environ | {
        "nnUNet_raw": str(folder / "raw"),
        "nnUNet_preprocessed": str(folder / "preprocessed"),
        "nnUNet_results": str(folder / "results"),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = [str(Path(sys.executable).with_name("nnUNetv2_plan_and_preprocess")), "--verify_dataset_integrity"]
    command += ["-d", "501", "502", "-c", "3d_fullres", "-np", "1", "-npfp", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(
        done.stdout + done.stderr,
        folder / "preprocessed" / fresh.folder.name,
        folder / "preprocessed" / changed.folder.name,
        Volume(updated, opened.labels.geometry).canonical().array,
    )


def cases(preprocessed: Path) -> list[str]:
    found = sorted(path.name.removesuffix(".nii.gz") for path in (preprocessed / "gt_segmentations").iterdir())
    assert [(preprocessed / "nnUNetPlans_3d_fullres" / f"{name}.b2nd").is_file() for name in found] == [True] * len(
        found
    )
    return found


def test_the_integrity_check_passes_without_a_warning(run: Run) -> None:
    assert run.said.count("verify_dataset_integrity Done") == 2
    assert "WARNING" not in run.said
    assert "mismatch" not in run.said


def test_images_that_nnunet_predicts_on_are_turned_the_way_the_cases_are_stored(run: Run) -> None:
    assert "Using <class 'nnunetv2.imageio.nibabel_reader_writer.NibabelIOWithReorient'>" in run.said


def test_exactly_the_listed_cases_are_used(run: Run) -> None:
    assert cases(run.fresh) == ["CT_0001", "CT_0002", "CT_0003", "CT_0004"]


def test_after_migration_removal_and_update_removed_and_waiting_cases_are_not_used(run: Run) -> None:
    assert cases(run.changed) == ["CT_0001", "CT_0004"]
    used = nibabel.load(run.changed / "gt_segmentations" / "CT_0004.nii.gz")
    assert np.array_equal(np.asarray(used.dataobj).transpose(2, 1, 0), run.updated_labels)
