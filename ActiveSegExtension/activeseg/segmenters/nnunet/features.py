"""What a network computed before its last layer, for refiners: of a whole run, or of one patch around a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.geometry import Box, Geometry, box_on, slices_of
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.votes import DecoderFeatures
from activeseg.segmenters.nnunet.case import OrientedImage
from activeseg.segmenters.nnunet.decision import FeatureLogits
from activeseg.segmenters.nnunet.network import Network

MARGIN = 0.125
"""Part of a patch on each side of a box, where nnU-Net's blending trusts the network less (sigma of 1/8)."""


def decoder_features(
    kept: FeatureLogits | None, geometry: Geometry, values: npt.NDArray[Any]
) -> tuple[DecoderFeatures, ...]:
    """A run's features as others may look at them; empty where none were kept.

    Parameters
    ----------
    geometry
        Of the network's grid.
    values
        (C,): the schema's value of each of the network's classes.
    """
    if kept is None:
        return ()
    return (
        DecoderFeatures(
            geometry,
            tuple(member.numpy() for member in kept.features),
            tuple(np.asarray(weight.float().numpy()) for weight, _ in kept.heads),
            tuple(np.asarray(bias.float().numpy()) for _, bias in kept.heads),
            np.asarray(values)[: kept.classes],
        ),
    )


def trained_only(network: Network, settings: Settings) -> Settings:
    """The same settings for those of the run's members that were trained, in fast mode."""
    trained = len(network.folds)
    members = min(settings.member_count(trained, network.device.type != "cpu"), trained)
    return replace(settings, members=members, mode=Mode.FAST, mirroring=False)


def around(image: OrientedImage, ct: Geometry, box_kji: Box, network: Network) -> OrientedImage:
    """The part of an image that a network looks at for a box of the CT: one patch, unless the box is larger."""
    there = patch_around(box_on(box_kji, ct, image.geometry), image.geometry, patch_mm(network, image.spacing_kji))
    array = image.array[slices_of(there)]
    return OrientedImage(array, image.spacing_kji, image.geometry.cropped(there), lambda labels: labels)


def patch_mm(network: Network, spacing_kji: Sequence[float]) -> list[float]:
    """Size (k, j, i) of a network's patch in mm, in an image of this spacing; a flat one is a slice thick."""
    forward = network.predictor.plans_manager.transpose_forward
    spacing = [float(s) for s in network.predictor.configuration_manager.spacing]
    patch = [1] * (3 - len(network.patch)) + list(network.patch)
    if len(spacing) < 3:
        spacing = [spacing_kji[forward[0]], *spacing]
    wanted = [0.0, 0.0, 0.0]
    for axis, size, step in zip(forward, patch, spacing, strict=True):
        wanted[axis] = size * step
    return wanted


def patch_around(box_kji: Box, geometry: Geometry, wanted_kji_mm: Sequence[float]) -> Box:
    """A box of at least the wanted size (mm) with the given one in its middle, moved to lie within the grid; and with a
    part of that size as a margin on each side, where that is more."""
    found = []
    spacings = geometry.spacing_xyz[::-1]
    for (low, high), length, spacing, wanted in zip(box_kji, geometry.shape_kji, spacings, wanted_kji_mm, strict=True):
        margin = int(np.ceil(MARGIN * wanted / spacing))
        size = max(high - low + 2 * margin, int(np.ceil(wanted / spacing)))
        start = min(max(0, (low + high - size) // 2), max(0, length - size))
        found.append((start, min(length, start + size)))
    k, j, i = found
    return k, j, i
