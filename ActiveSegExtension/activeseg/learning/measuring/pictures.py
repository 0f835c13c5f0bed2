"""Measurements as bars. matplotlib is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from activeseg.learning.measuring.evaluation import Results, means


def comparison_picture(path: Path, parent: Results, child: Results, names: tuple[str, str], labels: list[str]) -> None:
    """Mean Dice of every measured structure, before and after, as bars."""
    before, after = means(parent), means(child)
    shown = {name: before[name] for name in labels if name in before and name in after}
    dice_bars(path, shown, after, names, "Dice on the held-out cases, where they were reviewed")


def dice_bars(
    path: Path, before: Mapping[str, float], after: Mapping[str, float], names: tuple[str, str], axis: str
) -> None:
    """A PNG with two bars for each structure of ``before``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.45 * max(len(before), 1) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = np.arange(len(before))
    axes.barh(rows - 0.2, list(before.values()), 0.4, color="#b8c4d0", label=names[0])
    axes.barh(rows + 0.2, [after[name] for name in before], 0.4, color="#2f7d5b", label=names[1])
    axes.set_yticks(rows, [name.replace("_", " ") for name in before])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(axis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=120)
