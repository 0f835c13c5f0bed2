"""Any model that nnU-Net v2 trained, from its folder: folds, 2d, 3d, regions, several channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.channel_names import different_names
from activeseg.core.clock import Clock
from activeseg.core.errors import InputError, ModelError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import IGNORE, LabelSchema
from activeseg.core.network_size import NetworkSize, Overhead
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Resample, Segmenter, Settings, Trainable, TrainableNetwork
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Segmented
from activeseg.segmenters.nnunet.device import cpu_threads, resolve_device
from activeseg.segmenters.nnunet.model_folder_check import check_model_folder
from activeseg.segmenters.nnunet.network_size import read_only_size, read_size

LabelArray = npt.NDArray[Any]
OVERHEAD = Overhead(40, 5, 28, mirrors=True)
"""Measured with ``Testing/benchmarks/memory.py``."""
_MOST_VOXELS = 1 << 32  # on a network's grid


class NnUNetSegmenter(Segmenter):
    """``nnunet:<folder>``: the folder with plans.json, dataset.json and fold_*.

    The model is loaded at the first ``segment`` and stays in memory for the next.
    """

    def __init__(self, folder: Path, name: str | None = None, schema: LabelSchema | None = None) -> None:
        """Read the folder's two JSON files. Raises ModelError when they are missing or say something unsupported."""
        self.folder = Path(folder)
        self._name = name or f"nnunet:{folder}"
        model = check_model_folder(self.folder)
        own = schema_of_dataset(model.dataset, self.folder)
        if schema is not None and len(schema) != len(own):
            raise ModelError(
                f"The model in {folder} has {len(own)} structures, but {len(schema)} names were given for them.",
                "Copy the model's folder again.",
            )
        self._schema = schema or own
        self._channels = channels_of_dataset(model.dataset)
        reader = model.plans["image_reader_writer"]
        if reader not in READERS:
            raise ModelError(
                f"The model in {folder} was trained on images read by '{reader}', which is not supported.",
                f"Supported are {', '.join(READERS)}.",
            )
        self._reader = READERS[reader]
        self._network: Any = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def schema(self) -> LabelSchema:
        return self._schema

    @property
    def channels(self) -> tuple[str, ...]:
        return self._channels

    @property
    def warm_bytes(self) -> int:
        """Memory that the loaded model takes; 0 before the first ``segment``."""
        return 0 if self._network is None else int(self._network.memory_bytes)

    @property
    def files(self) -> tuple[Path, ...]:
        """Fine-tuning may put another model in its folder."""
        weights = sorted(self.folder.glob("fold_*/checkpoint_final.pth"))
        return (self.folder / "plans.json", self.folder / "dataset.json", *weights)

    @property
    def trainable(self) -> Trainable:
        values = {label.name: label.value for label in self._schema.labels}
        return Trainable("nnunet", "", (TrainableNetwork(self.folder, None, values),))

    def networks(self, settings: Settings) -> tuple[NetworkSize, ...]:
        size = read_size(self.folder, self.folder.name.split("__")[-1]) or read_only_size(self.folder)
        return (size,) if size else ()

    def overhead(self, settings: Settings) -> Overhead:
        return OVERHEAD

    def check(self, settings: Settings) -> None:
        """Raise before any work when it cannot run."""
        from activeseg.segmenters.nnunet.network import model_folds

        for structure in settings.structures:
            self._schema.named(structure)
        resolve_device(settings.device)
        model_folds(self.folder)

    def segment(self, images: Mapping[str, Volume], settings: Settings, progress: Progress) -> Segmented:
        """See ``Segmenter.segment``. The grid of the votes is nnU-Net's own, which aligns voxel edges with the CT's."""
        from activeseg.segmenters.nnunet import ensemble

        self.check(settings)
        volumes = _one_grid(images, self._channels)
        clock = Clock()
        progress("load", 0.0, self._name)
        network = self._load(settings)
        clock.lap("load")
        progress("preprocess", 0.0)
        case = self._preprocess(network, volumes)
        clock.lap("preprocess")
        same_grid = case.network_shape == case.cropped_shape
        with cpu_threads(settings.threads):
            result = ensemble.run(network, case.data, settings, progress, keep_logits=not same_grid)
        clock.lap("network")
        decision = ensemble.Decision.of(network)
        labels = result.labels
        if not same_grid:
            assert result.logits is not None
            labels = on_cropped_grid(network, case, result.logits, labels, decision, settings, progress)
        full = case.uncropped(labels)
        clock.lap("resample")
        keep = _subset(self._schema, settings.structures)
        grid = GridVotes(
            geometry=case.network_geometry,
            labels=keep(result.labels),
            members=result.members,
            votes=tuple(keep(vote) for vote in result.votes),
            entropy=result.entropy,
            variance=result.variance,
            mutual_information=result.mutual_information,
            voters=result.voters,
            entropy_bound=result.entropy_bound,
        )
        details = {
            "folder": str(self.folder),
            "folds": list(network.folds),
            "device": str(network.device),
            "arithmetic": result.arithmetic,
            "versions": {name: metadata.version(name) for name in ("nnunetv2", "torch")},
        }
        return Segmented(keep(full), self._schema, settings.structures or self._schema.names, grid, clock.laps, details)

    def _load(self, settings: Settings) -> Any:
        from activeseg.segmenters.nnunet.network import Network

        device = resolve_device(settings.device)
        if self._network is None or self._network.device != device:
            self._network = Network.load(self.folder, device=device)
        return self._network

    def _preprocess(self, network: Any, volumes: list[Volume]) -> PreprocessedCase:
        import torch

        predictor = network.predictor
        oriented = [self._reader(volume) for volume in volumes]
        stack = np.stack([o.array for o in oriented]).astype(np.float32, copy=False)
        data, properties = preprocessed(predictor, stack, {"spacing": oriented[0].spacing_kji}, self._name)
        return PreprocessedCase(
            torch.from_numpy(data),
            properties,
            tuple(predictor.plans_manager.transpose_forward),
            tuple(predictor.plans_manager.transpose_backward),
            oriented[0],
        )


def preprocessed(
    predictor: Any, stack: npt.NDArray[Any], properties: dict[str, Any], name: str
) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """nnU-Net's own preprocessing of the images (channel, k, j, i): (channel, z, y, x) float32 and its properties.

    Raises InputError when the image has not one voxel, or too many, on the network's grid, or cannot be normalized.
    """
    _check_grid(predictor, stack, properties["spacing"], name)
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    try:
        preprocessor = configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            stack, None, properties, plans, configuration, predictor.dataset_json
        )
    except (AssertionError, ValueError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"nnU-Net could not prepare the image for {name}: {said}",
            "Check that it is of the kind that the model needs.",
        ) from error
    return data, properties


def _check_grid(predictor: Any, stack: npt.NDArray[Any], spacing_kji: Sequence[float], name: str) -> None:
    """As nnU-Net will crop (to the box of what is not zero) and resample."""
    order = predictor.plans_manager.transpose_forward
    wanted = [float(s) for s in predictor.configuration_manager.spacing]
    there = np.any(stack != 0, axis=0)
    shape, spacing = [], [float(spacing_kji[axis]) for axis in order]
    for axis in order:
        planes = np.flatnonzero(there.any(axis=tuple(a for a in range(3) if a != axis)))
        shape.append(int(planes[-1] - planes[0]) + 1 if len(planes) else stack.shape[1 + axis])
    wanted = [spacing[0], *wanted] if len(wanted) < 3 else wanted
    network = [round(n * own / new) for n, own, new in zip(shape, spacing, wanted, strict=True)]
    thin = min(range(3), key=lambda axis: network[axis])
    if network[thin] == 0:
        raise InputError(
            f"The image is only {shape[thin] * spacing[thin]:.3g} mm thick where it is not zero, but {name} looks at "
            f"voxels of {wanted[thin]:.3g} mm.",
            "Give more slices, or choose another model.",
        )
    if math.prod(network) > _MOST_VOXELS:
        raise InputError(
            f"The image would have {' x '.join(map(str, network))} voxels for {name}, which looks at voxels of "
            f"{' x '.join(f'{s:.3g}' for s in wanted)} mm.",
            "Crop the image, or choose another model.",
        )


@dataclass(frozen=True)
class OrientedImage:
    """An image as one of nnU-Net's readers gives it to the model.

    Attributes
    ----------
    array : (k, j, i) of the reader's orientation
    spacing_kji : mm, as the reader rounds it
    geometry : where that grid lies
    restore : takes a label array from this orientation to the CT's own
    """

    array: npt.NDArray[Any]
    spacing_kji: list[float]
    geometry: Geometry
    restore: Callable[[LabelArray], LabelArray]


def _as_stored(volume: Volume) -> OrientedImage:
    spacing = [abs(s) for s in volume.geometry.spacing_xyz[::-1]]
    return OrientedImage(volume.array, spacing, volume.geometry, lambda labels: labels)


def _as_stored_nifti(volume: Volume) -> OrientedImage:
    """NIfTI headers hold the spacing as float32, and nibabel's readers take it from there."""
    spacing = [float(np.float32(s)) for s in volume.geometry.spacing_xyz[::-1]]
    return OrientedImage(volume.array, spacing, volume.geometry, lambda labels: labels)


def _reoriented(volume: Volume) -> OrientedImage:
    """Closest canonical RAS, by nibabel's own choice of axes (``NibabelIOWithReorient``), also where it assumes it."""
    from nibabel import orientations

    affine = volume.geometry.ijk_to_ras
    to_ras = orientations.io_orientation(volume.geometry.nibabel_affine)
    xyz = volume.array.transpose(2, 1, 0)
    turned = orientations.apply_orientation(xyz, to_ras).transpose(2, 1, 0)
    new_affine = affine @ orientations.inv_ornt_aff(to_ras, xyz.shape)
    geometry = Geometry.from_ijk_to_ras(new_affine, turned.shape)
    back = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), to_ras)

    def restore(labels: LabelArray) -> LabelArray:
        return np.asarray(orientations.apply_orientation(labels.transpose(2, 1, 0), back).transpose(2, 1, 0))

    spacing = [float(np.float32(s)) for s in geometry.spacing_xyz[::-1]]
    return OrientedImage(turned, spacing, geometry, restore)


READERS: dict[str, Callable[[Volume], OrientedImage]] = {
    "SimpleITKIO": _as_stored,
    "NibabelIO": _as_stored_nifti,
    "NibabelIOWithReorient": _reoriented,
    "SimpleITKIOWithReorient": _reoriented,
}


@dataclass(frozen=True)
class PreprocessedCase:
    """One case on the network's grid, and the way back.

    Attributes
    ----------
    data : (c, z, y, x) float32 tensor
    properties : nnU-Net's own record of cropping and shapes
    forward, backward : the plans' axis orders
    """

    data: Any
    properties: Mapping[str, Any]
    forward: tuple[int, ...]
    backward: tuple[int, ...]
    image: OrientedImage

    @property
    def network_shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.data.shape[1:])

    @property
    def cropped_shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.properties["shape_after_cropping_and_before_resampling"])

    @property
    def network_geometry(self) -> Geometry:
        """Array axes (z, y, x) of the network as (k, j, i); voxel edges of crop and network grid coincide."""
        step = np.zeros((3, 3))  # columns: network axes z, y, x; rows: i, j, k of the oriented image
        start = np.zeros(3)
        for axis, (n, c, (low, _)) in enumerate(
            zip(self.network_shape, self.cropped_shape, self.properties["bbox_used_for_cropping"], strict=True)
        ):
            row = 2 - self.forward[axis]
            step[row, axis] = c / n
            start[row] = low + 0.5 * c / n - 0.5
        to_oriented = np.eye(4)
        to_oriented[:3, :3] = step[:, ::-1]
        to_oriented[:3, 3] = start
        return Geometry.from_ijk_to_ras(self.image.geometry.ijk_to_ras @ to_oriented, self.network_shape)

    def uncropped(self, labels: LabelArray) -> LabelArray:
        """Labels of the cropped, transposed image in the CT's own array."""
        full = np.zeros(tuple(self.properties["shape_before_cropping"]), labels.dtype)
        full[tuple(slice(a, b) for a, b in self.properties["bbox_used_for_cropping"])] = labels
        return np.ascontiguousarray(self.image.restore(full.transpose(self.backward)))


def channels_of_dataset(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the images that a checked dataset.json says a case has, in their order.

    nnU-Net's names say how an image is normalized, so that several may be equal: they are made different.
    """
    names = dataset.get("channel_names") or dataset.get("modality") or {}
    return different_names(str(names[key]) for key in sorted(names, key=int))


def schema_of_dataset(dataset: Mapping[str, Any], folder: Path) -> LabelSchema:
    """The structures of a checked dataset.json.

    Of a region-based model each value is named after what it stands for in the label map: the region that writes it
    (``regions_class_order``) without those that are written over it. Raises ModelError when the values are not 0..N.
    """
    labels = {name: value for name, value in dataset["labels"].items() if name != IGNORE}
    regions = {n: v for n, v in labels.items() if isinstance(v, list) and len(v) > 1}
    names = _region_parts(dataset, labels) if regions else {}
    if not regions:
        for name, value in labels.items():
            number = int(value[0] if isinstance(value, list) else value)
            if number > 0:
                names[number] = name
    if not names or sorted(names) != list(range(1, len(names) + 1)):
        raise ModelError(f"The labels of {folder}/dataset.json are {sorted(names)}; they must be 1, 2, 3, ...")
    try:
        return LabelSchema.from_names(names[value] for value in sorted(names))
    except InputError as error:
        raise ModelError(f"The labels of {folder}/dataset.json cannot be used: {error.message}") from error


def _region_parts(dataset: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[int, str]:
    """Value -> its name in a region-based model's label map: ``tumour without core``."""
    foreground = {n: set(v if isinstance(v, list) else [v]) for n, v in labels.items() if v not in (0, [0])}
    order = [int(v) for v in dataset["regions_class_order"]]
    written = list(zip(order, foreground, strict=True))
    names: dict[int, str] = {}
    for place, (value, name) in enumerate(written):
        over = [later for other, later in written[place + 1 :] if other != value]
        inside = [later for later in over if foreground[later] & foreground[name]]
        inside = [one for one in inside if not any(foreground[one] < foreground[other] for other in inside)]
        names[value] = f"{name} without {' and '.join(inside)}" if inside else name
    for value in sorted({v for values in foreground.values() for v in values} - {0}):
        names.setdefault(value, f"label {value}")
    return names


def _one_grid(images: Mapping[str, Volume], channels: tuple[str, ...]) -> list[Volume]:
    missing = [name for name in channels if name not in images]
    if missing:
        raise InputError(
            f"The model needs {len(channels)} images ({', '.join(channels)}); '{missing[0]}' is missing.",
            f"Give the image of channel '{missing[0]}', too.",
            setting="channel",
        )
    volumes = [images[name] for name in channels]
    for name, volume in zip(channels, volumes, strict=True):
        if not volume.geometry.same_voxels(volumes[0].geometry):
            raise InputError(
                f"The image of channel '{name}' lies on another grid than that of '{channels[0]}'.",
                "Resample it to the first image's grid.",
            )
    return [volume.in_order_of(volumes[0].geometry) for volume in volumes]


def _subset(schema: LabelSchema, structures: tuple[str, ...]) -> Callable[[LabelArray], LabelArray]:
    """Keeps the chosen structures of a label map and makes the rest background."""
    if not structures:
        return lambda labels: labels
    table = np.zeros(len(schema) + 1, np.uint16)
    for name in structures:
        value = schema.named(name).value
        table[value] = value
    return lambda labels: np.asarray(table[labels], labels.dtype)


def on_cropped_grid(
    network: Any,
    case: PreprocessedCase,
    logits: Any,
    labels: LabelArray,
    decision: Any,
    settings: Settings,
    progress: Progress,
) -> LabelArray:
    """The label map on the grid before nnU-Net's resampling, one class at a time.

    ``genuine`` calls the plan's own resampling on every class (in fast mode on those that are present), as the original
    package's ``convert_predicted_logits_to_segmentation_with_correct_shape`` does with all at once.
    """
    from activeseg.segmenters.nnunet import resampling

    order = decision.regions_class_order
    if settings.resample is Resample.SMOOTH:
        coordinates = resampling.edge_aligned(case.network_shape, case.cropped_shape)
        if order is not None:
            return resampling.regions_resampled(logits.class_logits, order, coordinates, labels.dtype, progress)
        return resampling.argmax_resampled(logits.class_logits, labels, coordinates, progress)
    import torch

    configuration = network.predictor.configuration_manager
    spacing = [case.image.spacing_kji[axis] for axis in case.forward]
    current = list(configuration.spacing)
    if len(current) < 3:
        current = [spacing[0], *current]

    def resampled(index: int) -> npt.NDArray[Any]:
        values = torch.from_numpy(np.ascontiguousarray(logits.class_logits(index)))[None]
        result = configuration.resampling_fn_probabilities(values, case.cropped_shape, current, spacing)
        whole: npt.NDArray[Any] = np.asarray(result)
        return np.asarray(whole[0])

    found = np.zeros(case.cropped_shape, labels.dtype)
    if order is not None:
        for index, value in enumerate(order):
            progress("resample", index / len(order))
            above = torch.sigmoid(torch.from_numpy(resampled(index)).float()) > 0.5
            found[above.numpy()] = value
        return found
    present = range(decision.classes) if settings.mode is Mode.EXACT else sorted({0, *np.unique(labels).tolist()})
    best: npt.NDArray[Any] | None = None
    for done, index in enumerate(present):
        progress("resample", done / len(present))
        values = resampled(index)
        if best is None:
            best = np.array(values)
            continue
        wins = values > best
        best[wins] = values[wins]
        found[wins] = index
    return found


def open_named(rest: str) -> NnUNetSegmenter | None:
    """``nnunet:<model folder>``; None where no folder is named."""
    return NnUNetSegmenter(Path(rest)) if rest else None
