"""One picture of a result, for a glance: three views, the regions to review, and what they are about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import NOTHING_HERE
from activeseg.core.labels import BACKGROUND, LabelSchema
from activeseg.core.uncertainty_scale import shown_threshold
from activeseg.core.volume import Volume
from activeseg.review.alternatives import volume_text
from activeseg.review.regions import FoundRegion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW_HU = (-160.0, 240.0)  # the usual soft-tissue window: level 40, width 400
_WIDTH, _HEIGHT, _DPI = 1920, 1180, 120
_LEFT, _SIDE, _GAP, _VIEW_HEIGHT = 28, 1512, 18, 480  # pixels: margin, where the lists begin, between pictures
_ZOOMED, _LISTED, _LEGEND_ENTRIES, _NAMED = 5, 10, 26, 8  # regions, regions, structures; structures named in a view
_INK, _PAPER, _FAINT, _MARK, _ODD = "#f2f2f2", "#101214", "#8a8f98", "#00e5ff", "#ffb74d"
_FILL = 0.22
_Window = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class _Plane:
    """How a cut is drawn: which canonical axes (x to R, y to A, z to S) go across and up, and its edges' names.

    Radiological convention: the patient's right, or front, is on the left of the picture.
    """

    name: str
    across: int
    up: int
    through: int
    edges: tuple[str, str, str, str]  # left, right, bottom, top


_PLANES = (
    _Plane("axial", 0, 1, 2, ("R", "L", "P", "A")),
    _Plane("coronal", 0, 2, 1, ("R", "L", "I", "S")),
    _Plane("sagittal", 1, 2, 0, ("A", "P", "I", "S")),
)


class _Scene:
    """The arrays turned to their closest canonical axes: index (x, y, z) grows to R, A, S. Nothing is resampled."""

    def __init__(
        self,
        ct: Volume,
        labels: npt.NDArray[Any],
        schema: LabelSchema,
        uncertainty: Volume | None,
        shown_from: float,
    ) -> None:
        self._of_ct, self.geometry, self.schema = ct.geometry, ct.geometry.canonical(), schema
        self.ct, self.labels = self.canonical(ct.array), self.canonical(labels)
        self.uncertainty, self.spacing = uncertainty, self.geometry.spacing_xyz
        self.colors = np.zeros((len(schema) + 2, 3))
        for label in schema.labels:
            self.colors[label.value] = np.array(label.color) / 255
        self.shown_from = min(shown_from, 0.99)

    def canonical(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array (k, j, i) of the CT's grid, or of a box in it, as (x, y, z)."""
        return self._of_ct.array_to_canonical(array).transpose(2, 1, 0)

    def canonical_box(self, region: FoundRegion) -> list[tuple[int, int]]:
        """The region's box as half-open ranges of x, y, z."""
        corners = [[low, high - 1] for low, high in region.box_kji[::-1]]
        there = np.rint(self.geometry.ijk_of_ras(self._of_ct.ras_of_ijk(np.transpose(corners)))).astype(int)
        return [(int(at.min()), int(at.max()) + 1) for at in there.T]

    def index_of(self, point_ras: Sequence[float]) -> list[int]:
        """The voxel (x, y, z) of the turned arrays that holds a point."""
        at = np.rint(self.geometry.ijk_of_ras(point_ras)).astype(int)
        return [int(n) for n in at.clip(0, np.array(self.ct.shape) - 1)]

    def middle(self) -> list[int]:
        """The middle of everything that was found, or of the volume."""
        found = [np.flatnonzero((self.labels > 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        sizes = self.labels.shape
        return [int((f[0] + f[-1]) // 2) if len(f) else n // 2 for f, n in zip(found, sizes, strict=True)]

    def cut(self, array: npt.NDArray[Any], plane: _Plane, at: int) -> npt.NDArray[Any]:
        """A slice as a picture: rows from bottom to top, columns from the patient's right (or front) to the left."""
        # What is left of the axes keeps its order: across, up.
        return np.asarray(np.take(array, at, axis=plane.through)[::-1].T)

    def uncertainty_cut(self, plane: _Plane, at: int) -> npt.NDArray[np.float64] | None:
        """Uncertainty on the pixels of ``cut``, interpolated from its own grid; NaN where it was not computed."""
        from scipy.ndimage import map_coordinates

        if self.uncertainty is None:
            return None
        shape = self.ct.shape
        a, b = np.meshgrid(np.arange(shape[plane.across]), np.arange(shape[plane.up]), indexing="ij")
        xyz = np.zeros((3, *a.shape))
        xyz[plane.across], xyz[plane.up], xyz[plane.through] = a, b, at
        there = self.uncertainty.geometry.ijk_of_ras(self.geometry.ras_of_ijk(np.moveaxis(xyz, 0, -1)))
        low = np.floor(there.reshape(-1, 3).min(axis=0)).astype(int)[::-1].clip(0)
        high = np.ceil(there.reshape(-1, 3).max(axis=0)).astype(int)[::-1] + 1
        part = self.uncertainty.array[tuple(slice(p, max(q, p + 1)) for p, q in zip(low, high, strict=True))]
        if not part.size:
            return np.full((shape[plane.up], shape[plane.across]), np.nan)
        at_kji = np.moveaxis(there[..., ::-1] - low, -1, 0)
        values = map_coordinates(part, at_kji, order=1, mode="constant", cval=np.nan)
        return np.asarray(values[::-1].T, float)


def write_overview(
    path: Path,
    ct: Volume,
    labels: npt.NDArray[Any],
    schema: LabelSchema,
    uncertainty: Volume | None = None,
    regions: Sequence[FoundRegion] = (),
    measure: str = "uncertainty",
    title: str = "",
    threshold: float | None = None,
    unusual: Collection[str] = (),
) -> None:
    """Write the picture as PNG, 1920 x 1180 pixels.

    Parameters
    ----------
    labels : (k, j, i) on the CT's grid, values of ``schema``
    uncertainty : 0..1 on its own grid, NaN where not computed; ``measure`` names it
    regions : worst first; the views go through the first one, the first five are shown enlarged
    title : above everything; empty takes the CT's name
    threshold : uncertainty is shown from here to 1, the same range for every case; None: the measure's own
    unusual : structures whose shape is unusual
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scene = _Scene(ct, labels, schema, uncertainty, shown_threshold(measure) if threshold is None else threshold)
    figure = Figure(figsize=(_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    _text(figure, _LEFT, 34, title or ct.name or "ActiveSeg", 15, weight="bold", va="center")
    _text(figure, _WIDTH - _LEFT, 34, "Not for diagnosis", 9, _FAINT, ha="right", va="center")
    bottom = _draw_views(figure, scene, regions, scene.index_of(regions[0].center_ras) if regions else scene.middle())
    _draw_zooms(figure, scene, regions, bottom + 62)
    _draw_list(figure, regions)
    _draw_legend(figure, scene, measure, unusual)
    figure.savefig(path, facecolor=_PAPER, pil_kwargs={"compress_level": 3})


def _text(figure: Figure, x: float, y: float, text: str, size: float, color: Any = _INK, **look: Any) -> None:
    """Text at a place in pixels from the upper left corner."""
    figure.text(x / _WIDTH, 1 - y / _HEIGHT, text, fontsize=size, color=color, **{"va": "top", **look})


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes in pixels from the upper left corner."""
    return figure.add_axes((x / _WIDTH, 1 - (y + height) / _HEIGHT, width / _WIDTH, height / _HEIGHT))


def _draw_views(figure: Figure, scene: _Scene, regions: Sequence[FoundRegion], at: Sequence[int]) -> float:
    """The three views side by side on one scale; returns where they end, in pixels."""
    extents = [n * mm for n, mm in zip(scene.ct.shape, scene.spacing, strict=True)]
    room = _SIDE - 2 * _LEFT - 2 * _GAP
    scale = min(room / sum(extents[p.across] for p in _PLANES), _VIEW_HEIGHT / max(extents[p.up] for p in _PLANES))
    tallest = scale * max(extents[p.up] for p in _PLANES)
    x, top = float(_LEFT), 96.0
    for plane in _PLANES:
        width, height = scale * extents[plane.across], scale * extents[plane.up]
        axes = _axes(figure, x, top + (tallest - height) / 2, width, height)
        x += width + _GAP
        _draw_cut(axes, scene, plane, at[plane.through])
        _name_structures(axes, scene, plane, at[plane.through])
        for region in reversed(regions):
            box = scene.canonical_box(region)
            crossed = box[plane.through][0] <= at[plane.through] < box[plane.through][1]
            _draw_box(axes, scene, plane, box, str(region.number), crossed)
        axes.set_title(plane.name, color=_INK, fontsize=11, pad=5)
        left, right, bottom, over = plane.edges
        for u, v, letter in ((0.02, 0.5, left), (0.98, 0.5, right), (0.5, 0.02, bottom), (0.5, 0.98, over)):
            axes.text(
                u, v, letter, color=_INK, fontsize=11, weight="bold", transform=axes.transAxes,
                ha={0.02: "left", 0.98: "right"}.get(u, "center"), va={0.02: "bottom", 0.98: "top"}.get(v, "center"),
            )  # fmt: skip
    return float(top + tallest)


def _draw_zooms(figure: Figure, scene: _Scene, regions: Sequence[FoundRegion], top: float) -> None:
    """The worst regions enlarged, axial above coronal."""
    side = min((_SIDE - 2 * _LEFT - (_ZOOMED - 1) * _GAP) / _ZOOMED, (_HEIGHT - _LEFT - top - 6) / 2)
    if not regions:
        nothing = "No region is uncertain enough to need a review."
        _text(figure, _SIDE / 2, top + side, nothing, 14, ha="center")
    for number, region in enumerate(regions[:_ZOOMED]):
        box = scene.canonical_box(region)
        at = scene.index_of(region.center_ras)
        half_mm = 0.8 * max((high - low) * mm for (low, high), mm in zip(box, scene.spacing, strict=True))
        for row, plane in enumerate(_PLANES[:2]):
            axes = _axes(figure, _LEFT + number * (side + _GAP), top + row * (side + 6), side, side)
            around = [
                (middle - half_mm / scene.spacing[axis], middle + half_mm / scene.spacing[axis])
                for axis, (low, high) in zip((plane.across, plane.up), _picture_span(scene, plane, box), strict=True)
                for middle in [(low + high - 1) / 2]
            ]
            columns, rows = ((max(0, int(low) - 1), int(high) + 2) for low, high in around)
            _draw_cut(axes, scene, plane, at[plane.through], (columns, rows))
            _draw_box(axes, scene, plane, box, "", crossed=True)
            _draw_alternative(axes, scene, plane, region, at[plane.through])
            axes.set_xlim(around[0])
            axes.set_ylim(around[1])
            if row == 0:
                votes = ", ".join(f"{n} {_readable(name)}" for name, n in list(region.votes.items())[:3])
                name = f"{region.number}  {_shortened(region.about, 28)}\n{_shortened(votes, 34)}"
                axes.set_title(name, color=_INK, fontsize=9.5, pad=4, loc="left")


def _draw_cut(axes: Axes, scene: _Scene, plane: _Plane, at: int, window: _Window | None = None) -> None:
    """CT, label colours with outlines, and the glow of uncertainty, with the right proportions in mm.

    ``window`` are the (columns, rows) to draw, half-open; None draws all.
    """
    part = (slice(None), slice(None)) if window is None else (slice(*window[1]), slice(*window[0]))
    grey, labels = scene.cut(scene.ct, plane, at)[part], scene.cut(scene.labels, plane, at)[part]
    labels = np.minimum(labels, len(scene.colors) - 1)
    left, low = (0, 0) if window is None else (window[0][0], window[1][0])
    look: dict[str, Any] = {
        "origin": "lower",
        "aspect": scene.spacing[plane.up] / scene.spacing[plane.across],
        "extent": (left - 0.5, left + grey.shape[1] - 0.5, low - 0.5, low + grey.shape[0] - 0.5),
    }
    axes.set_facecolor("black")
    axes.imshow(grey, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], interpolation="bicubic", **look)
    fill = np.dstack([scene.colors[labels], np.where(labels > 0, _FILL, 0.0)])
    axes.imshow(fill, interpolation="nearest", **look)
    glow = scene.uncertainty_cut(plane, at)
    if glow is not None:
        glow = np.nan_to_num(glow[part])
        strength = np.clip((glow - scene.shown_from) / (1 - scene.shown_from), 0, 1)
        heat = _heat_colors()(strength)
        heat[..., 3] = np.where(glow >= scene.shown_from, 0.45 + 0.4 * strength, 0)
        axes.imshow(heat, interpolation="nearest", **look)
    _outline(axes, labels, scene.colors, (left, low), linewidths=1.1)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(
    axes: Axes, labels: npt.NDArray[Any], colors: npt.NDArray[np.float64], corner: tuple[int, int], **look: Any
) -> None:
    """The borders of the values above 0 in ``labels``, whose lower left pixel is ``corner`` (column, row)."""
    from contourpy import contour_generator
    from matplotlib.collections import LineCollection
    from scipy.ndimage import find_objects

    lines, inks = [], []
    for value, found in enumerate(find_objects(labels.astype(np.int32)), start=1):
        if found is None:
            continue
        mask = np.pad(labels[found] == value, 1).astype(float)
        shift = np.array([found[1].start - 1 + corner[0], found[0].start - 1 + corner[1]])
        for line in contour_generator(z=mask).lines(0.5):
            lines.append(np.asarray(line) + shift)
            inks.append(colors[value])
    axes.add_collection(LineCollection(lines, colors=inks, **look), autolim=False)


def _picture_span(scene: _Scene, plane: _Plane, box: Sequence[tuple[int, int]]) -> _Window:
    """Columns and rows of a box in the picture of ``cut``, half-open."""
    columns = scene.ct.shape[plane.across]
    low, high = box[plane.across]
    return (columns - high, columns - low), box[plane.up]


def _draw_box(
    axes: Axes, scene: _Scene, plane: _Plane, box: Sequence[tuple[int, int]], name: str, crossed: bool
) -> None:
    """A region's outline: solid where the cut crosses it, faint where it lies in front or behind."""
    from matplotlib.patches import Rectangle

    across, up = _picture_span(scene, plane, box)
    look: dict[str, Any] = {"linewidth": 1.8} if crossed else {"linewidth": 0.8, "linestyle": (0, (2, 3)), "alpha": 0.8}
    corner = (across[0] - 0.5, up[0] - 0.5)
    axes.add_patch(Rectangle(corner, across[1] - across[0], up[1] - up[0], fill=False, edgecolor=_MARK, **look))
    if name and crossed:
        axes.text(
            across[0] - 0.3, up[1] - 0.7, name, color="black", fontsize=9, weight="bold", va="top", ha="left",
            bbox={"facecolor": _MARK, "edgecolor": "none", "pad": 1.2}, clip_on=True,
        )  # fmt: skip
    elif name:
        axes.text(across[0] + 0.3, up[1] - 0.7, name, color=_MARK, fontsize=8, va="top", ha="left", clip_on=True)


def _draw_alternative(axes: Axes, scene: _Scene, plane: _Plane, region: FoundRegion, at: int) -> None:
    """What the first alternative would change, as dashed white outlines."""
    box = scene.canonical_box(region)
    inside = at - box[plane.through][0]
    if not region.alternatives or not 0 <= inside < box[plane.through][1] - box[plane.through][0]:
        return
    (left, _), (low, _) = _picture_span(scene, plane, box)
    changed = scene.cut(scene.canonical(region.alternatives[0].changed), plane, inside)
    _outline(axes, changed, np.ones((2, 3)), (left, low), linewidths=1.4, linestyles="dashed")


def _name_structures(axes: Axes, scene: _Scene, plane: _Plane, at: int) -> None:
    """The largest structures of the cut, by name."""
    from matplotlib.patheffects import withStroke

    labels = scene.cut(scene.labels, plane, at)
    counts = np.bincount(labels.ravel(), minlength=1)
    counts[0] = 0
    for value in np.argsort(-counts, kind="stable")[:_NAMED]:
        if 0 < value <= len(scene.schema) and counts[value] >= 0.004 * labels.size:
            rows, columns = np.nonzero(labels == value)
            middle = np.abs(rows - np.median(rows)) + np.abs(columns - np.median(columns))
            nearest = middle.argmin()
            axes.text(
                columns[nearest], rows[nearest], _readable(scene.schema.name_of(int(value))), ha="center", va="center",
                fontsize=7.5, color=0.5 + 0.5 * scene.colors[value], clip_on=True,
                path_effects=[withStroke(linewidth=2, foreground="black")],
            )  # fmt: skip


def _draw_list(figure: Figure, regions: Sequence[FoundRegion]) -> None:
    """Number, structures, doubt and size of each region, and why it is listed."""
    right = _WIDTH - _LEFT
    _text(figure, _SIDE, 96, "Regions to review", 12, weight="bold")
    _text(figure, right - 88, 99, "doubt", 9, _FAINT, ha="right")
    _text(figure, right, 99, "size", 9, _FAINT, ha="right")
    y, mark = 134, {"facecolor": _MARK, "edgecolor": "none", "pad": 1.5}
    for region in regions[:_LISTED]:
        _text(figure, _SIDE + 10, y, str(region.number), 9, "black", weight="bold", ha="center", bbox=mark)
        _text(figure, _SIDE + 32, y - 2, _shortened(region.about, 26), 9.5)
        _text(figure, _SIDE + 32, y + 15, region.reason_text, 8, _FAINT)
        _text(figure, right - 88, y, region.doubt_text, 9, ha="right")
        _text(figure, right, y, volume_text(region.size_mm3), 9, ha="right")
        y += 34
    if len(regions) > _LISTED:
        _text(figure, _SIDE + 32, y, f"and {len(regions) - _LISTED} more", 9, _FAINT)


def _draw_legend(figure: Figure, scene: _Scene, measure: str, unusual: Collection[str]) -> None:
    """Colours of the structures, largest first, the colours of uncertainty, and what the lines mean."""
    schema, y = scene.schema, 500
    # Slice by slice: bincount turns what it is given into 8 bytes a voxel.
    counts = np.zeros(len(schema) + 2, np.int64)
    for cut in scene.labels:
        counts += np.bincount(cut.ravel(), minlength=len(counts))
    counts = counts[1 : len(schema) + 1]
    present = [schema.labels[n] for n in np.argsort(-counts, kind="stable") if counts[n]]
    _text(figure, _SIDE, y, "Structures" if present else "No structure was found", 12, weight="bold")
    rows = -(-_LEGEND_ENTRIES // 2)
    for n, label in enumerate(present[:_LEGEND_ENTRIES]):
        x, line = _SIDE + 195 * (n // rows), y + 36 + 28 * (n % rows)
        _text(figure, x, line, "■", 11, scene.colors[label.value])
        ink = (_INK, _ODD)[label.name in unusual]
        _text(figure, x + 22, line + 1, _shortened(_readable(label.name), 20), 8.5, ink)
    if len(present) > _LEGEND_ENTRIES:
        _text(figure, _SIDE, y + 40 + 28 * rows, f"and {len(present) - _LEGEND_ENTRIES} more", 8.5, _FAINT)
    y = 950
    if scene.uncertainty is None:
        _text(figure, _SIDE, y, "This result has no uncertainty map.", 9, _FAINT)
    else:
        _text(figure, _SIDE, y, f"uncertainty ({_readable(measure)})", 9)
        axes = _axes(figure, _SIDE, y + 24, _WIDTH - _LEFT - _SIDE, 20)
        axes.imshow(np.linspace(0, 1, 256)[None], cmap=_heat_colors(), aspect="auto")
        axes.set_axis_off()
        _text(figure, _SIDE, y + 48, f"{scene.shown_from:.2f}", 8.5, _FAINT)
        _text(figure, _WIDTH - _LEFT, y + 48, "1.00", 8.5, _FAINT, ha="right")
    meaning = (
        "solid box: a region in this slice\n"
        "dotted box: a region in front of it or behind it\n"
        "below the views: the worst regions, axial and coronal,\n"
        "and the members' votes there\n"
        "white dashes: what the first alternative would change"
    )
    _text(figure, _SIDE, y + 204, "this colour: a structure of unusual shape" if unusual else "", 8.5, _ODD)
    _text(figure, _SIDE, y + 86, meaning, 8.5, _FAINT, linespacing=1.4)


def _heat_colors() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("glow", ["#c2185b", "#ff6d00", "#ffd600", "#fffde7"])


def _readable(name: str) -> str:
    return NOTHING_HERE if name == BACKGROUND else name.replace("_", " ")


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip(" ,") + "…"
