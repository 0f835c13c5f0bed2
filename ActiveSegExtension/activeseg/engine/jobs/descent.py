"""How one segmentation gets along with the memory that there is: the estimate, and the steps down the ladder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from activeseg.core.errors import DeviceError
from activeseg.core.geometry import Geometry
from activeseg.core.segmenter import Resample, Segmenter, Settings
from activeseg.core.sizes import size_text
from activeseg.core.volume import Volume
from activeseg.engine.planning.estimate import Estimate, Need, need_of
from activeseg.engine.planning.ladder import Rung, ladder
from activeseg.engine.worker import devices, memory
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.worker import Job
from activeseg.models import open_model
from activeseg.predictions.make_prediction import segment as segment_images
from activeseg.predictions.prediction import Prediction
from activeseg.system import heap

_PLANES_TO_SPLIT = 120  # on the network's grid; TotalSegmentator's thirds overlap by 20 planes
_PLENTY = 2.0  # times what is needed: memory enough to be wasted for speed
_HOPELESS = 2.0  # an estimate is no measurement: the last step down is tried up to so many times what is free


def ways_down(
    model: str, segmenter: Segmenter, geometry: Geometry, settings: Settings, allow_coarser: bool
) -> list[Rung]:
    """From what was asked for down to what needs least memory; ``model`` is the name that was asked for."""
    sizes = segmenter.networks(settings)
    device = devices.kind_of(settings.device) if sizes else "cpu"
    splits = segmenter.splits and settings.resample is Resample.GENUINE and bool(sizes)
    return ladder(
        model,
        settings,
        trained=sizes[-1].folds if sizes else 0,
        members=settings.members_of(sizes[-1], device != "cpu") if sizes else 1,
        on_gpu=device == "cuda",
        may_split=splits and sizes[-1].grid(geometry)[0] >= _PLANES_TO_SPLIT,
        coarser=_coarser(segmenter) if allow_coarser else (),
    )


def _coarser(segmenter: Segmenter) -> list[str]:
    """The models of the same structures on ever coarser grids."""
    names: list[str] = []
    while segmenter.coarser is not None:
        names.append(segmenter.coarser)
        segmenter = open_model(segmenter.coarser)
    return names


def climb_down(
    job: Job,
    kept: Kept,
    ways: list[Rung],
    images: Mapping[str, Volume],
    focus: tuple[str, ...],
    regions: int,
    sources: Mapping[str, Mapping[str, str]],
    tell_label: Callable[[Rung, Estimate, Prediction], object] | None,
) -> tuple[Rung, Estimate, Prediction]:
    """The first way that memory allows, by the estimate and then in fact. Raises DeviceError when there is none.

    With ``tell_label`` the trained members vote alone before the views; their label is told at once. It is the
    answer, without its ``grid``, when there is no memory for views.
    """
    geometry = next(iter(images.values())).geometry
    label: Prediction | None = None
    label_estimate: Estimate | None = None
    for number, way in enumerate(ways):
        last = number == len(ways) - 1
        for sentence in way.said[len(ways[number - 1].said) if number else 0 :]:
            job.notice(sentence)
        segmenter = kept.models.get(way.model)
        trained = _trained_only(segmenter, way) if tell_label else None
        if label is not None and label_estimate is not None and trained is None:
            return way, label_estimate, label
        estimate = _estimate(kept, segmenter, geometry, way)
        if not estimate.fits:
            kept.models.keep_only(way.model)
            memory.give_back()
            estimate = _estimate(kept, segmenter, geometry, way)
        if trained is not None and label is None:
            estimate = estimate.with_label_first(int(trained.settings.members) / max(estimate.need.members, 1))
        job.estimate(estimate.to_dict())
        if not estimate.fits:
            if not last:
                continue
            if estimate.need.ram > _HOPELESS * estimate.ram_free:
                raise _too_little(estimate)
        key, peak = _peak_key(kept, segmenter, way), memory.Peak()
        plenty = _PLENTY * estimate.need.ram <= estimate.ram_free
        heap.keep_freed(plenty)
        try:
            with memory.at_most(memory.budget(kept.memory_limit)):
                if tell_label and trained and label is None:
                    label = segment_images(images, segmenter, trained.settings, focus, regions, job.progress, sources)
                    tell_label(trained, estimate, label)
                    label, label_estimate = replace(label, grid=None), estimate  # views need the memory
                prediction = segment_images(images, segmenter, way.settings, focus, regions, job.progress, sources)
            taken = peak.taken()
            if not plenty or taken < estimate.need.ram:  # more than that is memory that was kept for speed
                kept.calibration.learn_peak(key, taken, estimate.need, math.prod(geometry.shape_kji))
            if label is not None:  # sums in another order may differ in a voxel, and this one is shown
                prediction = replace(prediction, labels=label.labels)
            return way, estimate, prediction
        except (MemoryError, RuntimeError, DeviceError) as error:
            if not heap.is_out_of_memory(error):
                raise
            if last:
                raise _too_little(estimate) from error
            job.notice("Not enough memory; trying again with less.")
        memory.give_back()  # outside of the handler, whose traceback holds the arrays
    raise AssertionError("a ladder has at least one way")


def _trained_only(segmenter: Segmenter, way: Rung) -> Rung | None:
    """The same way without views; None when it has none."""
    sizes = segmenter.networks(way.settings)
    if not sizes:
        return None
    trained = sizes[-1].folds
    members = way.settings.members_of(sizes[-1], devices.kind_of(way.settings.device) != "cpu")
    return replace(way, settings=replace(way.settings, members=trained)) if members > trained > 0 else None


def _estimate(kept: Kept, segmenter: Segmenter, geometry: Geometry, way: Rung) -> Estimate:
    sizes = segmenter.networks(way.settings)
    device = devices.kind_of(way.settings.device) if sizes else "cpu"
    loaded, voxels = segmenter.warm_bytes > 0, math.prod(geometry.shape_kji)
    need = need_of(geometry, sizes, way.settings, segmenter.overhead(way.settings), device, loaded)
    need = kept.calibration.peak(_peak_key(kept, segmenter, way), need, voxels)
    free = memory.budget(kept.memory_limit)
    free_gpu = memory.free_vram() if device == "cuda" else None
    stages = kept.calibration.stages(kept.calibration.key(way.model, way.settings, device), need.tiles, voxels)
    if stages:
        return Estimate(need, free, free_gpu, round(sum(stages.values()), 1), stages, "last run")
    if not need.flops:
        return Estimate(need, free, free_gpu)
    seconds = _timed_seconds(kept, need, way.settings)
    return Estimate(need, free, free_gpu, seconds, {"network": seconds}, "timed")


def _peak_key(kept: Kept, segmenter: Segmenter, way: Rung) -> str:
    return kept.calibration.peak_key(way.model, way.settings, way.settings.device, segmenter.warm_bytes > 0)


def _timed_seconds(kept: Kept, need: Need, settings: Settings) -> float:
    from activeseg.segmenters.nnunet.device import resolve_device

    if kept.rate is None:
        kept.rate = devices.timed_rate(resolve_device(settings.device))
    return round(need.flops / kept.rate, 1)


def _too_little(estimate: Estimate) -> DeviceError:
    need, free = size_text(estimate.need.ram), size_text(estimate.ram_free)
    return DeviceError(
        f"Not enough memory: about {need} needed, {free} available.",
        "Close other programs, crop the image, or allow a coarser model.",
        estimate=estimate.to_dict(),
    )
