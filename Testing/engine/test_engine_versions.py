"""A project's version in the engine's worker: it is opened by the version's name, with the version's own weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from running_engine import array_message
from standin import environment_of, piece_of_ct, volume_of, write_standin

from activeseg.core.progress import Progress
from activeseg.engine.jobs import segmenting
from activeseg.engine.worker.kept import Keeping, keep
from activeseg.engine.worker.requests import read_request
from activeseg.engine.worker.worker import Job
from activeseg.io.npy import read_array
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE, MODEL, ModelKind, Version, add_version
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.tasks import task_named

NAME = "totalsegmentator:total-fast"
TASK = task_named(NAME)
(NETWORK,) = TASK.parts()
BASE_FINDS, VERSION_FINDS = "liver", "aorta"
SOFT_TISSUE = (0.0, 110.0)


@pytest.fixture(scope="module")
def ct() -> nibabel.Nifti1Image:
    return piece_of_ct((slice(38, 74), slice(36, 68), slice(2, 26)), smooth=1.5)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, ct: nibabel.Nifti1Image) -> Iterator[Project]:
    """The user's network finds livers only, that of the project's version nothing but aortas."""
    folder = tmp_path_factory.mktemp("versions")
    user, own = (UserHome(folder / name, folder / name / "weights") for name in ("user", "own"))
    write_standin(user, NETWORK, {BASE_FINDS: SOFT_TISSUE}, ct)
    write_standin(own, NETWORK, {VERSION_FINDS: SOFT_TISSUE}, ct)
    with environment_of(user), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVESEG_PRIVATE_DIR", str(folder / "private"))
        project = Project.create(folder / "project", NAME)
        versions = project.version_folder("v0001").parent
        versions.mkdir(exist_ok=True)
        staging = versions.parent / "staging"
        shutil.copytree(own.weights, staging / MODEL)
        schema, kind = TASK.schema.to_dict(), ModelKind.TOTALSEGMENTATOR
        add_version(
            versions, staging, lambda id: Version(id, BASE, "", kind, TASK.name, {}, {}, {}, schema, {}, (0,), {}, 0.0)
        )
        yield project


def test_a_warm_version_segments_with_its_own_weights_beside_the_task_it_came_from(
    project: Project, ct: nibabel.Nifti1Image, tmp_path: Path
) -> None:
    version = f"project:{project.folder}@v0001"
    kept = keep(Keeping(tmp_path, 1 << 30, 0), lambda **_: None)
    image = array_message(tmp_path / "ct.npy", volume_of(ct))

    def found(model: str, number: int) -> tuple[str, set[str]]:
        """The model that the result names, and the structures in it."""
        settings = {"mode": "exact", "device": "cpu"}
        wish = {"model": model, "image": image, "regions": 0, "settings": settings, "label_first": True}
        job = Job(tmp_path / f"job{number}", Progress(), *[lambda _: None] * 3)
        job.folder.mkdir()
        result = segmenting.segment(read_request("segment", wish), job, kept)
        values = set(np.unique(read_array(result.labels)).tolist()) - {0}
        return result.record["model"], {label.name for label in TASK.schema.labels if label.value in values}

    for number, model in enumerate((NAME, version, NAME, version)):
        assert found(model, number) == (model, {VERSION_FINDS if model == version else BASE_FINDS})
    assert kept.models.names == (NAME, version), "both stay in memory, each by its own name"
