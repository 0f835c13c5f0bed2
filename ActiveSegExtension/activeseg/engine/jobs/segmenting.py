"""The jobs about models: segment, check, warm, and the list of what there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from activeseg.core.errors import ActiveSegError, DeviceError, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.hounsfield_units import doubts
from activeseg.core.segmenter import Mode, Resample, Segmenter, Settings
from activeseg.core.uncertainty_scale import MOST_SHOWN_VOXELS, coarsened
from activeseg.core.volume import Volume
from activeseg.core.votes import Segmented
from activeseg.corrections import drafts
from activeseg.engine.planning.calibration import Calibration
from activeseg.engine.planning.estimate import (
    Estimate,
    Need,
    itself,
    member_count,
    need_of,
    network_sizes,
    package_of,
)
from activeseg.engine.planning.ladder import Rung, ladder
from activeseg.engine.worker import devices, memory
from activeseg.engine.worker.params import Params, WrongParams
from activeseg.engine.worker.warm import WarmModels, warm_bytes
from activeseg.engine.worker.worker import Job, Keeping
from activeseg.io import npy
from activeseg.io.images import read_volume
from activeseg.predictions.make_prediction import segment as segment_images
from activeseg.predictions.prediction import Prediction, check_output
from activeseg.predictions.region_files import write_regions
from activeseg.review.regions import body_volume_mm3, find_regions
from activeseg.system import heap
from activeseg.system.disk import refuse_full

Tell = Callable[..., None]
MEASURES = ("entropy", "variance", "mutual_information")
_PLANES_TO_SPLIT = 120  # on the network's grid; TotalSegmentator's thirds overlap by 20 planes
_PLENTY = 2.0  # times what is needed: memory enough to be wasted for speed
_LABEL_BYTES = 2
_HOPELESS = 2.0  # an estimate is no measurement: the last step down is tried up to so many times what is free


@runtime_checkable
class Splitting(Protocol):
    """A segmenter that can work on an image piece by piece."""

    force_split: bool


@dataclass(frozen=True)
class Voted:
    """What the members said about the last case, for another list of regions; ``draft`` tells which case it is."""

    draft: Path
    prediction: Prediction
    body_mm3: float


@dataclass
class Kept:
    """What stays between jobs."""

    models: WarmModels
    calibration: Calibration
    memory_limit: int
    tell: Tell
    rate: float | None = None
    voted: Voted | None = None


def keep(keeping: Keeping, tell: Tell) -> Kept:
    """Made once for this process; ``tell`` goes to the supervisor."""
    calibration = Calibration(keeping.home / "calibration.json")
    return Kept(WarmModels(keeping.warm_bytes), calibration, keeping.memory_bytes, tell)


def list_all(job: Job, kept: Kept) -> dict[str, Any]:
    """Every model that can be named without a folder."""
    from activeseg.segmenters import list_models

    with job.params:
        pass
    return {"models": [asdict(model) for model in list_models()]}


def check(job: Job, kept: Kept) -> dict[str, Any]:
    """Whether a model can run with these settings. Raises what ``Segmenter.check`` raises."""
    with job.params as params:
        model, settings = params.text("model"), read_settings(params.mapping("settings"))
    segmenter = kept.models.get(model)
    job.progress("check", 0.0)
    segmenter.check(settings)
    return {
        "model": segmenter.name,
        "channels": list(segmenter.channels),
        "schema": segmenter.schema.to_dict(),
    }


def warm(job: Job, kept: Kept) -> dict[str, Any]:
    """Import what a network needs, so that the next job does not; open ``model`` if one is given."""
    with job.params as params:
        model = params.text("model", "")
    job.progress("import", 0.0)
    version = devices.load_libraries(job.progress, model.startswith("totalsegmentator"))
    if model:
        kept.models.get(model)
    _tell(kept)
    return {"torch": version, "device": _device("auto")}


def segment(job: Job, kept: Kept) -> dict[str, Any]:
    """Segment, going down the ladder when memory is short; the result names files in the job's folder.

    The label is told as soon as it is there: with ``label_first`` before any view has voted, else before anything is
    saved. The result's label map is always the one that was told.
    """
    with job.params as params:
        model = params.text("model")
        settings = read_settings(params.mapping("settings"))
        focus, regions = params.texts("focus"), params.count("regions", 10)
        output, overwrite = params.optional_path("output"), params.flag("overwrite")
        allow_coarser, label_first = params.flag("allow_coarser"), params.flag("label_first")
        draft = params.optional_path("draft")
        given = _given_images(params)
    if output is not None:
        check_output(output, overwrite)
    kept.voted = None
    segmenter = kept.models.get(model)
    files = _by_channel(given, segmenter)
    for name in focus:
        segmenter.schema.named(name)
    job.progress("check", 0.0)
    segmenter.check(settings)
    job.progress("read", 0.0)
    images = {channel: read_image(file, job.notice) for channel, file in files.items()}
    for sentence in doubts(images):
        job.notice(sentence)
    geometry = next(iter(images.values())).geometry
    _refuse_full_disk(job.folder, images, draft, output, label_first)
    ways = _ladder(segmenter, geometry, settings, allow_coarser)
    result: dict[str, Any] = {}

    def tell(folder: Path, way: Rung, estimate: Estimate, prediction: Prediction) -> None:
        """The label to the client, and into the draft; ``result`` is what the job's would be now."""
        nonlocal result
        job.progress("save", 0.0)
        told, result = bool(result), _write(folder, prediction) | _run_said(way, estimate)
        if not told:
            job.label(result)
        if draft is not None:
            try:
                drafts.store_base(draft, prediction, images)
            except ActiveSegError as error:  # the user still wants the segmentation
                job.notice(f"{error} A crash of the application would lose this case.")

    early = partial(tell, job.folder / "label") if label_first else None
    try:
        way, estimate, prediction = _climb_down(job, kept, ways, images, focus, regions, _sources(files), early)
        if prediction.grid is not None:
            tell(job.folder, way, estimate, prediction)
            if draft is not None:
                kept.voted = Voted(draft, prediction, body_volume_mm3(next(iter(images.values()))))
        else:  # it was told, and nothing came after it
            result |= _run_said(way, estimate)
        if output is not None:
            prediction.save(output, images, overwrite)
            result["prediction"] = str(output)
    finally:
        kept.models.shrink()
        _tell(kept)
    key = kept.calibration.key(way.model, way.settings, str(prediction.details.get("device", "cpu")))
    voxels = math.prod(geometry.shape_kji)
    kept.calibration.learn(key, prediction.timings, estimate.need.tiles, voxels)
    return result


def _refuse_full_disk(
    scratch: Path, images: Mapping[str, Volume], draft: Path | None, output: Path | None, label_first: bool
) -> None:
    """Raise DeviceError when what the job will write does not fit; what is compressed counts as it is in memory."""
    voxels = math.prod(next(iter(images.values())).geometry.shape_kji)
    read = sum(volume.array.nbytes for volume in images.values())
    answer = _LABEL_BYTES * voxels + len(MEASURES) * 4 * min(voxels, MOST_SHOWN_VOXELS)
    needed = {scratch: (1 + label_first) * answer + 4 * voxels}  # and temporary files of the packages
    if draft is not None:
        needed[draft] = read + _LABEL_BYTES * voxels
    if output is not None:
        needed[output] = _LABEL_BYTES * voxels
    refuse_full(needed, "this segmentation")


def find_again(job: Job, kept: Kept) -> dict[str, Any]:
    """The regions of the last case anew, in other structures; the result names files in the job's folder."""
    with job.params as params:
        draft, focus, count = params.path("draft"), params.texts("focus"), params.count("regions", 10)
    voted = kept.voted
    if voted is None or voted.draft != draft or voted.prediction.grid is None:
        raise InputError(
            "What the members said about this case is no longer in the engine's memory.",
            "Segment the CT again with these structures in focus.",
        )
    prediction = voted.prediction
    job.progress("regions", 0.0)
    segmented = Segmented(prediction.labels.array, prediction.schema, prediction.decided, voted.prediction.grid)
    found = find_regions(segmented, prediction.labels.geometry, focus, count, body_mm3=voted.body_mm3)
    write_regions(job.folder, found, focus)
    return {
        "regions": [region.to_dict() for region in found],
        "regions_folder": str(job.folder),
        "geometry": npy.geometry_message(prediction.labels.geometry),
    }


def read_settings(message: Mapping[str, Any]) -> Settings:
    """Settings from a request. Raises WrongParams."""
    default = Settings()
    with Params("settings", message) as params:
        members: str | int = default.members
        if params.has("members") and message["members"] != "auto":
            members = params.count("members", 1)
            if members < 1:
                raise WrongParams("The setting 'members' is 0.", "Give 'auto' or a number from 1.")
        return Settings(
            device=params.text("device", default.device),
            members=members,
            mode=params.choice("mode", Mode, default.mode),
            resample=params.choice("resample", Resample, default.resample),
            structures=params.texts("structures"),
            mirroring=params.flag("mirroring") if params.has("mirroring") else None,
            threads=params.count("threads", default.threads),
            usage_statistics=params.flag("usage_statistics"),
            offload=params.flag("offload"),
        )


def read_image(message: Any, notice: Callable[[str], None]) -> Volume:
    """An image from a path (with ``series`` for DICOM), or from an array file with its geometry. Raises InputError."""
    if isinstance(message, Mapping) and "array" in message:
        return npy.read_volume(message)
    with Params("image", message if isinstance(message, Mapping) else {"path": message}) as params:
        path, series = params.path("path"), params.text("series") if params.has("series") else None
    return read_volume(path, series, notice)


def _given_images(params: Params) -> Any:
    """``image`` for a model with one channel, ``images`` by channel for any."""
    if params.has("image") == params.has("images"):
        raise WrongParams("Give either 'image' or 'images'.", "'images' is an object: channel -> image.")
    return params.images() if params.has("images") else params.any("image")


def _by_channel(given: Any, segmenter: Segmenter) -> dict[str, Any]:
    channels = segmenter.channels
    if isinstance(given, Mapping) and not {"path", "array"} & set(given):
        unknown = sorted(set(given) - set(channels))
        if unknown:
            raise InputError(f"The model has no channel '{unknown[0]}'.", f"Its channels: {', '.join(channels)}.")
        return {channel: given[channel] for channel in channels if channel in given}
    if len(channels) != 1:
        raise InputError(f"The model needs {len(channels)} images.", f"Give 'images' for {', '.join(channels)}.")
    return {channels[0]: given}


def _sources(files: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Where images came from, as an export needs it; an image in memory came from nowhere."""
    found = {}
    for channel, file in files.items():
        named = file if isinstance(file, Mapping) else {"path": file}
        kept = {key: str(named[key]) for key in ("path", "series") if named.get(key)}
        if "path" in kept:
            kept["path"] = str(Path(kept["path"]).expanduser().absolute())
        found[channel] = kept
    return found


def _ladder(segmenter: Segmenter, geometry: Geometry, settings: Settings, allow_coarser: bool) -> list[Rung]:
    sizes = network_sizes(segmenter, settings)
    device = _device(settings.device) if sizes else "cpu"
    trained = sizes[-1].folds if sizes else 0
    members = member_count(sizes[-1], settings, device != "cpu") if sizes else 1
    splits = isinstance(itself(segmenter), Splitting) and settings.resample is Resample.GENUINE and bool(sizes)
    return ladder(
        segmenter.name,
        settings,
        trained=trained,
        members=members,
        on_gpu=device == "cuda",
        may_split=splits and sizes[-1].grid(geometry)[0] >= _PLANES_TO_SPLIT,
        allow_coarser=allow_coarser,
    )


def _climb_down(
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

    With ``tell_label`` the trained members are heard alone before the views; what they say is told at once. It is the
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
        job.estimate(estimate.to_dict())
        if not estimate.fits:
            if not last:
                continue
            if estimate.need.ram > _HOPELESS * estimate.ram_free:
                raise _too_little(estimate)
        heap.keep_freed(_PLENTY * estimate.need.ram <= estimate.ram_free)
        try:
            with memory.at_most(memory.budget(kept.memory_limit)):
                if tell_label and trained and label is None:
                    label = _run(segmenter, trained, images, focus, regions, job, sources)
                    tell_label(trained, estimate, label)
                    label, label_estimate = replace(label, grid=None), estimate  # views need the memory
                prediction = _run(segmenter, way, images, focus, regions, job, sources)
            if label is not None:  # sums in another order may differ in a voxel, and this one is shown
                prediction = replace(prediction, labels=label.labels)
            return way, estimate, prediction
        except (MemoryError, RuntimeError, DeviceError) as error:
            if not heap.is_out_of_memory(error):
                raise
            if last:
                raise _too_little(estimate) from error
            job.notice("The memory was not enough; trying with less.")
        memory.give_back()  # outside of the handler, whose traceback holds the arrays
    raise AssertionError("a ladder has at least one way")


def _trained_only(segmenter: Segmenter, way: Rung) -> Rung | None:
    """The same way without views; None when it has none."""
    sizes = network_sizes(segmenter, way.settings)
    if not sizes:
        return None
    trained = sizes[-1].folds
    members = member_count(sizes[-1], way.settings, _device(way.settings.device) != "cpu")
    return replace(way, settings=replace(way.settings, members=trained)) if members > trained > 0 else None


def _run(
    segmenter: Segmenter,
    way: Rung,
    images: Mapping[str, Volume],
    focus: tuple[str, ...],
    regions: int,
    job: Job,
    sources: Mapping[str, Mapping[str, str]],
) -> Prediction:
    model = itself(segmenter)  # a project's new structures lie over it
    if isinstance(model, Splitting):
        model.force_split = way.in_pieces
    return segment_images(images, segmenter, way.settings, focus, regions, job.progress, sources)


def _estimate(kept: Kept, segmenter: Segmenter, geometry: Geometry, way: Rung) -> Estimate:
    sizes = network_sizes(segmenter, way.settings)
    device = _device(way.settings.device) if sizes else "cpu"
    on_gpu = device == "cuda"
    if device != "cpu":  # where views vote by themselves, and others beside them
        sizes = network_sizes(segmenter, way.settings, True)
    need = need_of(
        geometry,
        sizes,
        way.settings,
        on_gpu,
        pieces=3 if way.in_pieces else 1,
        loaded=warm_bytes(segmenter) > 0,
        package=package_of(segmenter, way.settings),
    )
    free = memory.budget(kept.memory_limit)
    free_gpu = memory.free_vram() if on_gpu else None
    voxels = math.prod(geometry.shape_kji)
    stages = kept.calibration.stages(kept.calibration.key(way.model, way.settings, device), need.tiles, voxels)
    if stages:
        return Estimate(need, free, free_gpu, round(sum(stages.values()), 1), stages, "last run")
    if not need.flops:
        return Estimate(need, free, free_gpu)
    seconds = _timed_seconds(kept, need, way.settings)
    return Estimate(need, free, free_gpu, seconds, {"network": seconds}, "timed")


def _timed_seconds(kept: Kept, need: Need, settings: Settings) -> float:
    from activeseg.segmenters.nnunet.device import resolve_device

    if kept.rate is None:
        kept.rate = devices.timed_rate(resolve_device(settings.device))
    return round(need.flops / kept.rate, 1)


def _device(name: str) -> str:
    from activeseg.segmenters.nnunet.device import resolve_device

    return str(resolve_device(name).type)


def _too_little(estimate: Estimate) -> DeviceError:
    need, free = estimate.need.ram / memory.GIB, estimate.ram_free / memory.GIB
    return DeviceError(
        f"The memory is not enough: about {need:.1f} GB are needed, {free:.1f} GB can be used.",
        "Close other programs, crop the image, or allow a coarser model.",
        estimate=estimate.to_dict(),
    )


def _run_said(way: Rung, estimate: Estimate) -> dict[str, Any]:
    return {"fallbacks": list(way.said), "estimate": estimate.to_dict(), "peak_bytes": memory.peak_bytes()}


def _tell(kept: Kept) -> None:
    """What only this process knows: the devices that torch sees, and which models are warm."""
    kept.tell(devices=devices.seen(), warm=list(kept.models.names), torch=devices.torch_version())


def _write(folder: Path, prediction: Prediction) -> dict[str, Any]:
    """The prediction's arrays as files, and everything else in words."""
    folder.mkdir(exist_ok=True)
    grid = prediction.grid
    assert grid is not None
    maps = {
        name: coarsened(Volume(measure, grid.geometry))
        for name in MEASURES
        if (measure := grid.measure(name)) is not None
    }
    write_regions(folder, prediction.regions, prediction.focus)
    return {
        **prediction.to_dict(),
        "labels": npy.write_array(folder / "labels.npy", prediction.labels.array),
        "geometry": npy.geometry_message(prediction.labels.geometry),
        "measures": {name: npy.write_array(folder / f"{name}.npy", shown.array) for name, shown in maps.items()},
        "measures_geometry": npy.geometry_message(next(iter(maps.values())).geometry),
        "regions_folder": str(folder),
        "regions": [region.to_dict() for region in prediction.regions],
    }
