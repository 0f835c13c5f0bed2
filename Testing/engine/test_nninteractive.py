"""The refiner ``nninteractive``: the original package on stand-in weights, its answers kept within bounds."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from nninteractive_standin import write_standin

from activeseg.core.errors import DeviceError, InputError, ModelError
from activeseg.core.geometry import Box, Geometry, slices_of
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes
from activeseg.corrections.live_case import LiveCase
from activeseg.refiners.base import RefinableCase
from activeseg.refiners.choosing import available, refiner_named
from activeseg.refiners.nninteractive import NnInteractiveRefiner
from activeseg.segmenters.nninteractive.model_folder import check_folder
from activeseg.segmenters.nninteractive.session import InteractiveSession, middle_slice
from activeseg.segmenters.nninteractive.weights import choose, confirm, standing

BOX: Box = ((6, 34), (8, 36), (10, 38))
SHAPE = (44, 46, 48)
ON_CPU = Settings(device="cpu")


@pytest.fixture(autouse=True, scope="module")
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_standin(tmp_path_factory.mktemp("nninteractive") / "weights")


@pytest.fixture(scope="module")
def refiner(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NnInteractiveRefiner]:
    """On weights whose licence the user confirmed."""
    own = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("activeseg.segmenters.nninteractive.weights.data_folder", lambda: own)
        choose(weights)
        licence = standing().licence
        assert licence is not None
        confirm(licence.sha256)
        yield NnInteractiveRefiner()


@pytest.fixture(scope="module")
def case() -> RefinableCase:
    """A bright cube in noise; the refiner looks at no votes."""
    voxels = np.random.default_rng(15).normal(0, 20, SHAPE).astype(np.int16)
    voxels[14:26, 16:28, 18:30] += 200
    geometry = Geometry(SHAPE, (1.0, 1.0, 1.5), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    nothing = np.zeros(SHAPE, np.uint8)
    votes = GridVotes(geometry, nothing, (), (), nothing.astype(np.float32))
    return RefinableCase(Volume(voxels, geometry), LabelSchema.from_names(["liver", "spleen"]), votes, ON_CPU)


def labels() -> npt.NDArray[np.uint8]:
    """Over the box: a part of the cube is liver, and a spleen lies in the corner."""
    found = np.zeros([high - low for low, high in BOX], np.uint8)
    found[8:14, 8:20, 8:20] = 1
    found[22:, 22:, 22:] = 2
    return found


def point(k: int, j: int, i: int, structure: str = "liver", include: bool = True) -> Prompt:
    return Prompt(PromptKind.POINT, structure, ((k, j, i),), include)


def scribble(include: bool = True) -> Prompt:
    return Prompt(PromptKind.SCRIBBLE, "liver", ((20, 18, 20), (20, 25, 27), (20, 25, 20)), include)


LASSO = Prompt(PromptKind.LASSO, "liver", ((20, 14, 16), (20, 14, 32), (20, 30, 32), (20, 30, 16)))
SOLID_BOX = Prompt(PromptKind.BOX, "liver", ((14, 16, 18), (25, 27, 29)))
FLAT_BOX = Prompt(PromptKind.BOX, "liver", ((20, 16, 18), (20, 27, 29)))
ASKED = (labels(), BOX, [point(20, 22, 24)])


@pytest.mark.parametrize(
    "prompt", [point(20, 22, 24), scribble(), LASSO, FLAT_BOX, SOLID_BOX], ids=lambda prompt: prompt.kind.value
)
def test_every_kind_of_prompt_is_answered_and_neighbours_stay(
    refiner: NnInteractiveRefiner, case: RefinableCase, prompt: Prompt
) -> None:
    now = labels()
    found = refiner.refine(case, now, BOX, [prompt])
    assert (found.members, found.votes) == (("nninteractive",), 0)
    assert found.changed.any()
    assert set(np.unique(now[found.changed])) <= {0, 1}
    assert set(np.unique(found.labels[found.changed])) == {1}
    assert (found.labels[~found.changed] == now[~found.changed]).all()


def test_the_answer_is_that_of_the_original_package(
    refiner: NnInteractiveRefiner, case: RefinableCase, weights: Path
) -> None:
    from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

    now = labels()
    prompts = [(point(20, 22, 24), True), (scribble(False), False), (LASSO, True)]
    ours = InteractiveSession.load(check_folder(weights), "cpu").answer(case.ct, now == 1, BOX, prompts)
    with redirect_stdout(io.StringIO()):
        original = nnInteractiveInferenceSession(device=torch.device("cpu"), torch_n_threads=2, do_autozoom=False)
        original.initialize_from_trained_model_folder(str(weights))
        original.set_image(case.ct.array[None])
        original.set_target_buffer(np.zeros(SHAPE, np.uint8))
        before = np.zeros(SHAPE, np.uint8)
        before[slices_of(BOX)] = now == 1
        original.add_initial_seg_interaction(before)
        original.add_point_interaction((20, 22, 24), True, run_prediction=False)
        line = np.zeros((1, 9, 9), np.uint8)
        for _, j, i in prompts[1][0].voxels_kji() - (20, 18, 20):
            line[0, j : j + 2, i : i + 2] = 1
        original.add_scribble_interaction(
            line, False, run_prediction=False, interaction_bbox=[[20, 21], [18, 27], [20, 29]]
        )
        original.add_lasso_interaction(
            np.ones((1, 17, 17), np.uint8), True, interaction_bbox=[[20, 21], [14, 31], [16, 33]]
        )
    assert ours.any()
    assert not ours.all()
    np.testing.assert_array_equal(ours, original.target_buffer[slices_of(BOX)] > 0)


def test_not_this_takes_voxels_away_and_gives_none(refiner: NnInteractiveRefiner, case: RefinableCase) -> None:
    now = labels()
    found = refiner.refine(case, now, BOX, [point(16, 20, 22, include=False)])
    assert found.changed[10, 12, 12]
    assert set(np.unique(now[found.changed])) == {1}
    assert set(np.unique(found.labels[found.changed])) == {0}


def test_a_neighbour_that_was_clicked_at_gives_way(refiner: NnInteractiveRefiner, case: RefinableCase) -> None:
    at = (30, 32, 34)  # in the spleen
    found = refiner.refine(case, labels(), BOX, [point(*at)])
    assert labels()[24, 24, 24] == 2
    assert found.labels[24, 24, 24] == 1


def test_earlier_prompts_are_remembered(refiner: NnInteractiveRefiner, case: RefinableCase) -> None:
    first, second = point(20, 22, 24), point(29, 31, 14, include=False)
    alone = refiner.refine(case, labels(), BOX, [second])
    both = refiner.refine(case, labels(), BOX, [first, second])
    assert (both.labels != alone.labels).any()
    assert both.labels[14, 14, 14] == 1


def test_what_was_said_about_a_neighbour_is_told_to_the_network(
    refiner: NnInteractiveRefiner, case: RefinableCase
) -> None:
    spleen, liver = point(24, 26, 28, "spleen"), point(20, 22, 24)
    with_it = refiner.refine(case, labels(), BOX, [spleen, liver])
    without = refiner.refine(case, labels(), BOX, [liver])
    assert (with_it.changed != without.changed).any()
    assert with_it.labels[18, 18, 18] != 1


def test_the_same_prompts_have_the_same_answer(refiner: NnInteractiveRefiner, case: RefinableCase) -> None:
    one, two = (refiner.refine(case, *ASKED) for _ in range(2))
    np.testing.assert_array_equal(one.labels, two.labels)


def test_the_ct_is_prepared_once_and_what_stays_in_memory_is_known(
    refiner: NnInteractiveRefiner, case: RefinableCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnInteractive.inference.inference_session import nnInteractiveInferenceSession as Original

    prepared = []
    genuine = Original.set_image
    monkeypatch.setattr(Original, "set_image", lambda self, image: prepared.append(1) or genuine(self, image))
    other = replace(case, ct=Volume(case.ct.array + 1, case.ct.geometry))
    for asked in (other, other, case, case):
        refiner.refine(asked, *ASKED)
    assert len(prepared) == 2
    voxels = np.prod(SHAPE)
    assert voxels * (4 + 1 + 7 * 2) <= refiner.warm_bytes <= voxels * 20 + (1 << 20)


def test_large_images_have_compressed_prompts_and_the_same_answer(
    case: RefinableCase, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (case.ct, labels() == 1, BOX, [(point(20, 22, 24), True)])
    plain = InteractiveSession.load(check_folder(weights), "cpu")
    expected = plain.answer(*asked)
    monkeypatch.setattr("activeseg.segmenters.nninteractive.session.DENSE_BYTES", 0)
    packed = InteractiveSession.load(check_folder(weights), "cpu")
    np.testing.assert_array_equal(packed.answer(*asked), expected)
    assert packed.memory_bytes < plain.memory_bytes


def test_without_a_prompt_the_outline_itself_is_refined(case: RefinableCase, weights: Path) -> None:
    session, now = InteractiveSession.load(check_folder(weights), "cpu"), labels() == 1
    found = session.answer(case.ct, now, BOX, ())
    assert found.any()
    assert (found != now).any()
    with pytest.raises(InputError, match="nothing to refine"):
        session.answer(case.ct, np.zeros_like(now), BOX, ())


def test_a_case_keeps_it_for_the_next_prompt(
    refiner: NnInteractiveRefiner, case: RefinableCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, loaded = InteractiveSession.load, []

    def load(*given: Any) -> InteractiveSession:
        loaded.append(given[1:])
        return genuine(*given)

    monkeypatch.setattr(InteractiveSession, "load", load)
    live = LiveCase({"CT": case.ct}, case.schema, np.zeros(SHAPE, np.uint8), None, Settings("cpu", threads=1))
    for _ in range(2):
        assert live.refine(*ASKED, Progress(), "nninteractive").members == ("nninteractive",)
    assert loaded == [("cpu", 1)]


@pytest.mark.parametrize(
    ("box", "middle"),
    [
        (((10, 20), (0, 8), (5, 30)), ((10, 20), (4, 5), (5, 30))),
        (((7, 8), (0, 8), (5, 30)), ((7, 8), (0, 8), (5, 30))),
    ],
)
def test_a_solid_box_is_its_middle_slice(box: Box, middle: Box) -> None:
    assert middle_slice(box) == middle


def test_nothing_that_the_package_prints_or_changes_gets_out(
    refiner: NnInteractiveRefiner, case: RefinableCase, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.backends.cudnn.benchmark = False
    np.random.seed(1)
    lots = np.random.get_state()[1].copy()
    NnInteractiveRefiner().refine(case, *ASKED)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert torch.backends.cudnn.benchmark is False
    assert torch.get_num_threads() == 2
    np.testing.assert_array_equal(np.random.get_state()[1], lots)


def test_an_image_of_one_value_is_refused_and_the_next_one_is_answered(
    refiner: NnInteractiveRefiner, case: RefinableCase
) -> None:
    flat = replace(case, ct=Volume(np.full(SHAPE, 7, np.int16), case.ct.geometry))
    with pytest.raises(InputError, match="same value everywhere"):
        refiner.refine(flat, *ASKED)
    assert refiner.refine(case, *ASKED).changed.any()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_an_error_and_not_the_cpu(refiner: NnInteractiveRefiner, case: RefinableCase) -> None:
    with pytest.raises(DeviceError, match="'cuda' is not available"):
        NnInteractiveRefiner().refine(replace(case, settings=Settings(device="cuda")), *ASKED)


def test_too_little_memory_is_told_in_words(
    refiner: NnInteractiveRefiner, case: RefinableCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnInteractive.inference.inference_session import nnInteractiveInferenceSession as Original

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Original, "add_point_interaction", full)
        with pytest.raises(DeviceError, match="more memory than is free"):
            refiner.refine(case, *ASKED)
    assert refiner.refine(case, *ASKED).changed.any()


def test_it_is_offered_once_the_licence_is_confirmed_and_taken_only_by_its_name(
    weights: Path, case: RefinableCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activeseg.segmenters.nninteractive.weights.data_folder", lambda: tmp_path)
    found = choose(weights)
    assert available(case) == ("walker",)
    for ask in (lambda: refiner_named("nninteractive", case), lambda: NnInteractiveRefiner().refine(case, *ASKED)):
        with pytest.raises(ModelError, match=r"licence 'CC0 1\.0', which you have not confirmed"):
            ask()
    assert found.licence is not None
    confirm(found.licence.sha256)
    assert available(case) == ("walker", "nninteractive")
    assert refiner_named("auto", case).name == "walker"
    assert refiner_named("nninteractive", case).name == "nninteractive"
