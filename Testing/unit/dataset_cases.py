"""Small cases for tests of the dataset: images on awkward grids, label maps, provenance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import Correction, Review
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Provenance, Saved
from activeseg.dataset.training_labels import label_for_training

SCHEMA = LabelSchema.from_names(["liver", "spleen", "kidney"])
LIVER, SPLEEN, KIDNEY, IGNORE = 1, 2, 3, 4
SHAPE = (6, 8, 10)


def oblique(shape: tuple[int, int, int] = SHAPE) -> Geometry:
    """Turned, with the second axis flipped and unequal spacing."""
    a, b = np.radians(15), np.radians(-20)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    direction = about_z @ about_x @ np.diag([1, -1, 1])
    return Geometry(shape, (0.7, 0.9, 2.5), (-31.25, 44.4, 1000.125), tuple(direction.ravel()))


def all_orientations() -> Iterator[Geometry]:
    """The 48 ways in which three axes can be permuted and flipped."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            direction = np.zeros((3, 3))
            for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
                direction[world, axis] = sign
            yield Geometry(SHAPE, (0.8, 1.1, 2.0), (5.0, -7.0, 11.0), tuple(direction.ravel()))


def ct(seed: int = 0, geometry: Geometry | None = None) -> Volume:
    """HU noise."""
    geometry = geometry or oblique()
    return Volume(np.random.default_rng(seed).integers(-1000, 1500, geometry.shape_kji).astype(np.int16), geometry)


def labels(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.uint8]:
    """Every value of the schema somewhere, ignore too."""
    return np.random.default_rng(seed + 1000).integers(0, IGNORE + 1, shape).astype(np.uint8)


def correction(seed: int = 0, notes: str = "") -> Provenance:
    """Provenance of a small edit."""
    predicted = labels(seed) % IGNORE
    edited = predicted.copy()
    edited[0] = LIVER
    change = Correction.between(predicted, edited, oblique(), SCHEMA, seconds=61.0, annotator="rm", notes=notes)
    _, training = label_for_training(edited, predicted, SCHEMA, Review.ALL, oblique())
    return Provenance.of_correction(change, training, model="hounsfield", decided=SCHEMA.names)


def update_case(
    dataset: Dataset, name: str, labels: npt.NDArray[np.uint8], geometry: Geometry, provenance: Provenance
) -> Saved:
    """Store another label map for a case, as after a correction of the opened case: with its own images."""
    return dataset.add_case(NewCase(dataset.open_case(name).images, labels, geometry, provenance))
