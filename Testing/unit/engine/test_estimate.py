"""What a segmentation will need, and what to do when it does not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from activeseg.core.geometry import Geometry
from activeseg.core.network_size import NetworkSize
from activeseg.core.segmenter import Mode, Settings
from activeseg.engine.planning.estimate import Estimate, Need, need_of
from activeseg.engine.planning.ladder import ladder
from activeseg.segmenters.nnunet.network_size import size_of
from activeseg.segmenters.nnunet.segmenter import OVERHEAD as NNUNET
from activeseg.segmenters.totalsegmentator.segmenter import OVERHEAD as TOTALSEGMENTATOR
from activeseg.segmenters.totalsegmentator.segmenter import OVERHEAD_BY_NNUNET

GIB = 1 << 30


IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def geometry(*shape_kji: int, spacing: float = 3.0) -> Geometry:
    k, j, i = shape_kji
    return Geometry((k, j, i), (spacing,) * 3, (0.0, 0.0, 0.0), IDENTITY)


SMALL, LARGE = geometry(112, 101, 122), geometry(400, 512, 512, spacing=0.7)


def total_fast() -> NetworkSize:
    """The architecture of TotalSegmentator's 3 mm model (facts of the engine, section 6)."""
    plans = {
        "patch_size": [112, 112, 128],
        "spacing": [3.0, 3.0, 3.0],
        "architecture": {
            "arch_kwargs": {
                "n_stages": 5,
                "features_per_stage": [32, 64, 128, 256, 320],
                "strides": [[1, 1, 1]] + [[2, 2, 2]] * 4,
                "kernel_sizes": [[3, 3, 3]] * 5,
                "n_conv_per_stage": [2] * 5,
                "n_conv_per_stage_decoder": [2] * 4,
            }
        },
    }
    labels = {"background": 0, **{f"s{n}": n for n in range(1, 118)}}
    return size_of(plans, {"labels": labels, "channel_names": {"0": "CT"}}, 1, 66 * 10**6)


# Memory and time.


@pytest.mark.parametrize(
    ("image", "mode", "members", "measured_gib"),
    [
        (SMALL, Mode.FAST, 1, 0.94),
        (SMALL, Mode.FAST, 4, 1.28),
        (SMALL, Mode.EXACT, 1, 2.65),
        (SMALL, Mode.EXACT, 4, 3.99),
        (LARGE, Mode.FAST, 1, 3.09),
        (LARGE, Mode.EXACT, 1, 4.32),
    ],
)
def test_the_estimate_of_the_real_3_mm_model_is_near_what_was_measured(
    image: Geometry, mode: Mode, members: int, measured_gib: float
) -> None:
    """By ``benchmarks/memory.py``, where the network ran in bfloat16: in float32, as the estimate has it, more."""
    settings = Settings(mode=mode, members=members)
    need = need_of(image, [total_fast()], settings, TOTALSEGMENTATOR, loaded=True)
    assert measured_gib < need.ram / GIB < (2.5 if mode is Mode.FAST else 1.5) * measured_gib


def test_tiles_and_work_of_the_real_3_mm_model() -> None:
    need = need_of(SMALL, [total_fast()], Settings(mode=Mode.EXACT), TOTALSEGMENTATOR)
    assert (need.tiles, need.classes, need.members) == (1, 118, 1)
    assert 0.3e12 < need.flops < 3e12


def test_more_image_members_and_classes_need_more() -> None:
    size, settings = total_fast(), Settings()
    base = need_of(geometry(112, 112, 128), [size], settings, NNUNET)
    assert need_of(geometry(224, 112, 128), [size], settings, NNUNET).ram > base.ram
    assert need_of(geometry(112, 112, 128), [size], replace(settings, members=4), NNUNET).ram > base.ram
    assert need_of(geometry(112, 112, 128), [size], replace(settings, members=4), NNUNET).tiles == 4 * base.tiles
    assert need_of(geometry(112, 112, 128), [replace(size, heads=400)], settings, NNUNET).ram > base.ram
    assert need_of(geometry(112, 112, 128), [size], settings, NNUNET, loaded=True).ram < base.ram
    assert (
        need_of(geometry(336, 112, 128), [size], replace(settings, in_pieces=True), NNUNET).ram
        < need_of(geometry(336, 112, 128), [size], settings, NNUNET).ram
    )


def test_what_several_networks_views_mirroring_and_resampling_of_logits_need() -> None:
    size, exact = replace(total_fast(), folds=2), Settings(mode=Mode.EXACT, members=2, mirroring=False)
    wide = geometry(250, 250, 250)
    members = need_of(wide, [size], exact, NNUNET)
    assert need_of(wide, [replace(size, folds=1)], exact, NNUNET).ram > members.ram + size.heads * members.voxels
    folds = need_of(SMALL, [size], exact, NNUNET)
    helper = need_of(SMALL, [replace(size, folds=1, helps=True), replace(size, folds=1)], exact, NNUNET)
    assert (helper.members, helper.tiles) == (2, 3 * folds.tiles // 2)
    assert (
        need_of(SMALL, [size] * 5, exact, NNUNET, loaded=True).ram
        > need_of(SMALL, [size], exact, NNUNET, loaded=True).ram
    )
    mirrored = need_of(SMALL, [size], replace(exact, mirroring=None), NNUNET)
    assert mirrored.tiles == 8 * folds.tiles
    assert mirrored.ram >= folds.ram
    assert need_of(SMALL, [size], replace(exact, mirroring=None), TOTALSEGMENTATOR).tiles == folds.tiles
    fast = Settings(members=1)
    resampled = need_of(LARGE, [size], fast, OVERHEAD_BY_NNUNET)
    assert resampled.ram > need_of(LARGE, [size], fast, TOTALSEGMENTATOR).ram


def test_a_gpu_needs_less_when_sums_are_kept_elsewhere() -> None:
    size, where = total_fast(), geometry(400, 200, 200)
    on_gpu = need_of(where, [size], Settings(mode=Mode.EXACT, members=1), TOTALSEGMENTATOR, "cuda")
    offloaded = need_of(where, [size], Settings(mode=Mode.EXACT, members=1, offload=True), TOTALSEGMENTATOR, "cuda")
    assert offloaded.vram < on_gpu.vram
    assert offloaded.ram > on_gpu.ram
    assert need_of(where, [size], Settings(), NNUNET).vram == 0


def test_weights_that_are_on_the_gpu_already_are_not_needed_again() -> None:
    size, where = total_fast(), geometry(400, 200, 200)
    first = need_of(where, [size], Settings(members=1), NNUNET, "cuda")
    again = need_of(where, [size], Settings(members=1), NNUNET, "cuda", loaded=True)
    assert first.vram - again.vram == size.weight_bytes


def test_tiles_are_counted_as_nnunet_lays_them() -> None:
    pytest.importorskip("nnunetv2")
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    size = total_fast()
    for shape in ((112, 112, 128), (113, 112, 128), (300, 200, 256), (168, 400, 129)):
        grid = size.grid(geometry(*shape))
        steps = compute_steps_for_sliding_window(grid, size.patch, 0.5)
        assert size.tiles(grid) == np.prod([len(axis) for axis in steps])


def test_the_estimate_fits_only_where_both_memories_do() -> None:
    need = Need(ram=10, vram=10)
    assert Estimate(need, 10, 10).fits
    assert Estimate(need, 10, None).fits
    assert not Estimate(need, 9, 10).fits
    assert not Estimate(need, 10, 9).fits


def test_the_ladder_goes_from_what_was_asked_to_what_needs_least_and_says_each_step() -> None:
    name = "totalsegmentator:total"
    asked = Settings(members=6)
    ways = ladder(
        name, asked, trained=1, members=6, on_gpu=True, may_split=True, coarser=(f"{name}-fast", f"{name}-fastest")
    )
    assert (ways[0].model, ways[0].settings, ways[0].said) == (name, asked, ())
    assert [len(way.said) for way in ways] == list(range(len(ways)))
    assert [way.settings.offload for way in ways] == [False] + [True] * (len(ways) - 1)
    assert [way.settings.members for way in ways] == [6, 6] + [1] * (len(ways) - 2)
    assert [way.settings.in_pieces for way in ways] == [False, False, False, True, True, True]
    assert [way.model for way in ways[-2:]] == [f"{name}-fast", f"{name}-fastest"]
    assert "total-fastest" in ways[-1].said[-1]


def test_no_coarser_model_is_taken_unless_it_is_allowed() -> None:
    ways = ladder(
        "totalsegmentator:total",
        Settings(),
        trained=1,
        members=1,
        on_gpu=False,
        may_split=False,
        coarser=(),
    )
    assert [way.model for way in ways] == ["totalsegmentator:total"]
