"""The tests that all segmenters share, for each of them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import pytest
from finetuned import piece
from nnunet_models import make_model
from running_engine import noise_ct
from segmenter_tests import SegmenterTests
from standin import piece_of_ct, volume_of, write_standin

from activeseg.core.segmenter import Segmenter
from activeseg.core.volume import Volume
from activeseg.core.votes import Segmented
from activeseg.learning.project.project import Project
from activeseg.models import open_model
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter


class TestHounsfield(SegmenterTests):
    HAS_NETWORK = False

    @pytest.fixture(scope="class")
    @classmethod
    def segmenter(cls) -> Segmenter:
        return open_model("hounsfield")

    @pytest.fixture(scope="class")
    @classmethod
    def ct(cls) -> Volume:
        return piece(0).ct


class TestDemo(SegmenterTests):
    @pytest.fixture(scope="class")
    @classmethod
    def segmenter(cls) -> Segmenter:
        return open_model("demo")

    @pytest.fixture(scope="class")
    @classmethod
    def ct(cls) -> Volume:
        return piece(0).ct


class TestNnUNet(SegmenterTests):
    SAME_IN_A_BOX = 0.2  # random weights and instance norms: what else is in a patch decides

    @pytest.fixture(scope="class")
    @classmethod
    def segmenter(cls, tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
        labels = {"background": 0, "one": 1, "two": 2, "three": 3}
        return NnUNetSegmenter(make_model(tmp_path_factory.mktemp("nnunet") / "model", labels))

    @pytest.fixture(scope="class")
    @classmethod
    def ct(cls) -> Volume:
        return noise_ct((24, 32, 32))


class TestTotalSegmentator(SegmenterTests):
    @pytest.fixture(scope="class")
    @classmethod
    def segmenter(cls, tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
        folder = tmp_path_factory.mktemp("home")
        home = UserHome(folder, folder / "weights")
        segmenter = TotalSegmentatorSegmenter("total-fast", home)
        coarsest = TotalSegmentatorSegmenter("total-fastest", home)
        windows = {"spleen": (0.0, 60.0), "vertebrae_T8": (180.0, 3000.0)}
        for model in (*segmenter.task.parts(), *coarsest.task.parts()):
            write_standin(home, model, windows, cls.image())
        return segmenter

    @pytest.fixture(scope="class")
    @classmethod
    def ct(cls) -> Volume:
        return volume_of(cls.image())

    @staticmethod
    def image() -> nibabel.Nifti1Image:
        return piece_of_ct((slice(38, 74), slice(36, 68), slice(2, 26)), smooth=1.5)


class TestProjectWithANewStructure(SegmenterTests):
    @pytest.fixture(scope="class")
    @classmethod
    def segmenter(cls, tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
        folder: Path = tmp_path_factory.mktemp("project")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ACTIVESEG_PRIVATE_DIR", str(folder / "private"))
            project = Project.create(folder / "tumours", "demo", new_structures=["tumour"])
            return open_model(f"project:{project.folder}")

    @pytest.fixture(scope="class")
    @classmethod
    def ct(cls) -> Volume:
        return piece(0).ct

    def test_the_new_structure_is_known_and_never_found(self, segmenter: Segmenter, result: Segmented) -> None:
        assert segmenter.schema.names[-1] == "tumour"
        assert "tumour" not in result.decided
        assert not (result.labels == segmenter.schema.named("tumour").value).any()
