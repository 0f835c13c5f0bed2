"""An image on its way to the network's grid, and the label map on its way back, as nnU-Net does both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Resample, Settings
from activeseg.core.volume import Volume

LabelArray = npt.NDArray[Any]
_MOST_VOXELS = 1 << 32  # on a network's grid


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
    """Closest canonical RAS, from where nibabel puts an image whose file leaves it open (``NibabelIOWithReorient``)."""
    own = volume.geometry
    seen = Geometry.from_ijk_to_ras(own.nibabel_affine, own.shape_kji)
    turned = seen.canonical()
    turn = np.round(np.linalg.inv(seen.ijk_to_ras) @ turned.ijk_to_ras)  # of indices, so that all are whole numbers
    geometry = Geometry.from_ijk_to_ras(own.ijk_to_ras @ turn, turned.shape_kji)
    spacing = [float(np.float32(s)) for s in geometry.spacing_xyz[::-1]]
    return OrientedImage(seen.array_to_canonical(volume.array), spacing, geometry, seen.array_from_canonical)


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
