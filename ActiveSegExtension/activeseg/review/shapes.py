"""The shape of each structure of a label map, what is usual among many, and what is unusual about one.

Uncertainty does not see an error that all members make with confidence; a second piece, a hole or half of the usual
volume shows in the shape. The features are few and can be said in words: the volume, the number of pieces, and the
solidity (the volume as a part of its convex hull's).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.special import stdtrit

from activeseg.core.geometry import FloatArray, Geometry
from activeseg.core.label_map import LabelMap
from activeseg.core.labels import LabelSchema
from activeseg.core.shapes import FEWEST_LABELS, ShapeFeature, ShapeReference, ShapeWarning, UsualShape

Mask = npt.NDArray[np.bool_]

_DUST_MM3, _DUST_VOXELS = 100.0, 3
"""What is smaller is dust and no piece."""
_UNUSUAL = 0.03
"""So rarely a healthy structure's volume, or its solidity, is called unusual; both together and the pieces make up the
5 % that ``Testing/benchmarks/shapes.py`` measures."""
_LEAST_LOG_ML, _LEAST_SOLIDITY = 0.08, 0.02
"""Standard deviations below which they are not believed: labels of one protocol are more alike than patients are."""
_MOST_IGNORED = 0.1
"""A structure that touches more ignored voxels than this part of its own is not known well enough to be an example."""
_SEARCH_GRID = 64
"""Points along the longest side of a structure among which its deepest notch is sought."""


@dataclass(frozen=True)
class Shape:
    """The shape of one structure in one label map.

    Attributes
    ----------
    ml
        Volume of its pieces.
    pieces
        How many 26-connected pieces it has; dust is not counted.
    solidity
        Volume of its pieces as a part of their convex hull's.
    is_cut
        Whether the image's edge, or too many ignored voxels, cut it: then it is neither an example nor unusual.
    """

    ml: float
    pieces: int
    solidity: float
    is_cut: bool


def shapes_of(
    labels: LabelMap, geometry: Geometry, schema: LabelSchema, names: Sequence[str] | None = None
) -> dict[str, Shape]:
    """The shapes of a label map's structures, without those that are absent or nothing but dust.

    Parameters
    ----------
    labels
        (k, j, i), values of ``schema``; ``ignore`` is no structure's.
    names
        Of the structures to look at; None means all.
    """
    bodies = _bodies(labels, geometry, schema, schema.names if names is None else names)
    return {name: body.shape(labels, schema.ignore_value) for name, body in bodies}


def usual_shapes(examples: Mapping[str, Sequence[Shape]]) -> dict[str, UsualShape]:
    """What is usual among examples of each structure, in the images' order; too few examples are left out."""
    usual = {}
    for name, shapes in examples.items():
        whole = [shape for shape in shapes if not shape.is_cut]
        if len(whole) < FEWEST_LABELS:
            continue
        log_ml, solidity = np.log([shape.ml for shape in whole]), np.array([shape.solidity for shape in whole])
        usual[name] = UsualShape(
            len(whole),
            (round(float(log_ml.mean()), 4), round(float(log_ml.std(ddof=1)), 4)),
            (round(float(solidity.mean()), 4), round(float(solidity.std(ddof=1)), 4)),
            tuple(np.bincount([shape.pieces for shape in whole])[1:].tolist()),
        )
    return usual


def shape_warnings(
    labels: LabelMap, geometry: Geometry, schema: LabelSchema, reference: ShapeReference
) -> tuple[ShapeWarning, ...]:
    """What is unusual about the structures of a label map, in the schema's order; nothing about those that the image's
    edge cuts.

    Parameters
    ----------
    labels
        (k, j, i), values of ``schema``.
    reference
        What is usual; about a structure that is not in it nothing is said.
    """
    found = []
    for name, body in _bodies(labels, geometry, schema, [name for name in schema.names if name in reference]):
        usual, shape = reference[name], body.shape(labels, schema.ignore_value)
        if shape.is_cut:
            continue
        for feature, value in (
            (ShapeFeature.PIECES, float(shape.pieces)),
            (ShapeFeature.SOLIDITY, round(shape.solidity, 4)),
            (ShapeFeature.VOLUME, round(shape.ml, 4)),
        ):
            low, high = usual_range(usual, feature)
            if not low <= value <= high:
                r, a, s = body.place_of(feature, value < low)
                found.append(ShapeWarning(name, feature, value, (low, high), (r, a, s)))
    return tuple(found)


def usual_range(usual: UsualShape, feature: ShapeFeature) -> tuple[float, float]:
    """The lowest and the highest value that is not unusual: what Student's distribution expects of one more label.

    No number of pieces that was seen is unusual.
    """
    if feature is ShapeFeature.VOLUME:
        low, high = _interval(usual.labels, usual.log_ml[0], max(usual.log_ml[1], _LEAST_LOG_ML))
        return round(math.exp(low), 4), round(math.exp(high), 4)
    if feature is ShapeFeature.SOLIDITY:
        low, high = _interval(usual.labels, usual.solidity[0], max(usual.solidity[1], _LEAST_SOLIDITY))
        return round(max(low, 0.0), 4), round(min(high, 1.0), 4)
    seen = np.repeat(np.arange(1, len(usual.pieces) + 1), usual.pieces)
    low, high = _interval(usual.labels, float(seen.mean()), float(seen.std(ddof=1)))
    return float(min(seen.min(), max(1, math.ceil(low)))), float(max(seen.max(), math.floor(high)))


def _interval(count: int, mean: float, deviation: float) -> tuple[float, float]:
    reach = float(stdtrit(count - 1, 1 - _UNUSUAL / 2)) * deviation * math.sqrt(1 + 1 / count)
    return mean - reach, mean + reach


def _bodies(
    labels: LabelMap, geometry: Geometry, schema: LabelSchema, names: Sequence[str]
) -> Iterator[tuple[str, _Body]]:
    """Those of the structures that are there."""
    boxes = find_objects(labels) if names else []
    for name in names:
        value = schema.named(name).value
        box = boxes[value - 1] if value <= len(boxes) else None
        body = _Body.of(labels, value, box, geometry) if box is not None else None
        if body is not None:
            yield name, body


@dataclass(frozen=True)
class _Body:
    """One structure without its dust.

    ``pieces`` are the voxels (k, j, i) of the box around the structure, 1 in its largest piece, 2 in the next one, and
    0 elsewhere; ``first`` is the box's first voxel.
    """

    pieces: npt.NDArray[np.uint8]
    counts: tuple[int, ...]
    first: tuple[int, int, int]
    geometry: Geometry
    value: int

    @classmethod
    def of(cls, labels: LabelMap, value: int, box: tuple[slice, ...], geometry: Geometry) -> _Body | None:
        """None where there is nothing but dust."""
        import cc3d

        parts = cc3d.connected_components(labels[box] == value, connectivity=26)
        sizes = np.bincount(parts.reshape(-1))[1:]
        least = max(_DUST_VOXELS, _DUST_MM3 / geometry.voxel_mm3)
        order = [part for part in np.argsort(-sizes, kind="stable") if sizes[part] >= least]
        if not order:
            return None
        rank = np.zeros(len(sizes) + 1, np.uint8)
        rank[np.array(order) + 1] = np.minimum(np.arange(1, len(order) + 1), 255)
        k, j, i = (int(axis.start) for axis in box)
        return cls(rank[parts], tuple(int(sizes[part]) for part in order), (k, j, i), geometry, value)

    def shape(self, labels: LabelMap, ignore: int) -> Shape:
        """``labels`` is what it was cut out of."""
        voxels = sum(self.counts)
        hull = _Hull(self.pieces > 0, np.array(self.geometry.spacing_xyz[::-1])).volume
        return Shape(
            ml=voxels * self.geometry.voxel_mm3 / 1000,
            pieces=len(self.counts),
            solidity=min(voxels * self.geometry.voxel_mm3 / hull, 1.0),
            is_cut=self._touches_edge() or self._ignored_around(labels, ignore) > _MOST_IGNORED * voxels,
        )

    def place_of(self, feature: ShapeFeature, is_low: bool) -> tuple[float, float, float]:
        """RAS, mm: where the odd part is."""
        beside = len(self.counts) > 1
        if feature is ShapeFeature.PIECES and not is_low:
            return self._middle(2)
        if feature is ShapeFeature.SOLIDITY and is_low:
            return self._middle(2) if beside else self._notch()
        return self._middle(1)

    def _touches_edge(self) -> bool:
        """Whether a voxel of it lies in the image's first or last layer along an axis."""
        for axis, (first, length) in enumerate(zip(self.first, self.geometry.shape_kji, strict=True)):
            layers = np.moveaxis(self.pieces, axis, 0)
            if (first == 0 and layers[0].any()) or (first + len(layers) == length and layers[-1].any()):
                return True
        return False

    def _ignored_around(self, labels: LabelMap, ignore: int) -> int:
        """How many ignored voxels lie beside one of its voxels, along an axis."""
        box = tuple(slice(max(0, a - 1), a + n + 1) for a, n in zip(self.first, self.pieces.shape, strict=True))
        ignored, mine = labels[box] == ignore, labels[box] == self.value
        if not ignored.any():
            return 0
        beside = np.zeros(mine.shape, bool)
        for axis in range(3):
            here, there, next_to = (np.moveaxis(array, axis, 0) for array in (ignored, mine, beside))
            next_to[1:] |= here[1:] & there[:-1]
            next_to[:-1] |= here[:-1] & there[1:]
        return int(beside.sum())

    def _middle(self, rank: int) -> tuple[float, float, float]:
        """The voxel of a piece that is nearest to the piece's centre."""
        at = np.argwhere(self.pieces == rank)
        away = (at - at.mean(axis=0)) * self.geometry.spacing_xyz[::-1]
        return self._ras(at[(away**2).sum(axis=1).argmin()])

    def _notch(self) -> tuple[float, float, float]:
        """The middle of the deepest notch or hole: what lies in the hull and not in the structure."""
        step = max(1, math.ceil(max(self.pieces.shape) / _SEARCH_GRID))
        coarse = self.pieces[::step, ::step, ::step] > 0
        spacing = step * np.array(self.geometry.spacing_xyz[::-1])
        if not coarse.any():
            return self._middle(1)
        points = np.indices(coarse.shape).reshape(3, -1).T * spacing
        missing = _Hull(coarse, spacing).holds(points).reshape(coarse.shape) & ~coarse
        depth = distance_transform_edt(np.pad(missing, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
        return self._ras(step * np.array(np.unravel_index(depth.argmax(), depth.shape)))

    def _ras(self, at_kji: npt.NDArray[np.intp]) -> tuple[float, float, float]:
        r, a, s = self.geometry.ras_of_ijk((at_kji + self.first)[::-1])
        return round(float(r), 3), round(float(a), 3), round(float(s), 3)


class _Hull:
    """The convex hull of the middles of voxels' faces; mm along (k, j, i) from the first voxel's centre.

    By their corners an ellipsoid of 40 mm would have a solidity of 0.92 at 1 mm and of 0.81 at 4 mm; by the middles of
    their faces it is 0.97 and 0.96, so that labels with other voxels can be compared.
    """

    def __init__(self, mask: Mask, spacing_kji: FloatArray) -> None:
        from scipy.spatial import ConvexHull, QhullError

        # Of each line of voxels only the two ends can be corners, and along the longest axis there are fewest lines.
        axis = int(np.argmax(mask.shape))
        along = np.moveaxis(mask, axis, -1)
        lines = np.argwhere(along.any(axis=-1))
        rows = along[tuple(lines.T)]
        first, last = rows.argmax(axis=1), rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
        ends = np.concatenate([np.insert(lines, axis, first, axis=1), np.insert(lines, axis, last, axis=1)])
        try:
            ends = ends[ConvexHull(ends).vertices]
        except QhullError:  # the centres lie in one plane; then they are few
            ends = np.unique(ends, axis=0)
        faces = np.concatenate([np.eye(3), -np.eye(3)]) / 2
        hull = ConvexHull((ends[:, None] + faces).reshape(-1, 3) * spacing_kji)
        self.volume = float(hull.volume)
        self._planes = np.unique(np.round(hull.equations, 6), axis=0)

    def holds(self, points: FloatArray) -> Mask:
        """Which of the points (N, 3) lie in it."""
        inside = np.ones(len(points), bool)
        for *normal, offset in self._planes:
            inside &= points @ np.array(normal) + offset <= 1e-6
        return inside
