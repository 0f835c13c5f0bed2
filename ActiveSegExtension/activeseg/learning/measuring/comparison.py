"""Two versions side by side on the same held-out cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from activeseg.core.progress import Progress
from activeseg.core.records import to_json
from activeseg.learning.measuring.evaluation import CaseResult, Results, dice_of, measure
from activeseg.learning.measuring.forgetting import EarlierImages
from activeseg.learning.measuring.pictures import comparison_picture
from activeseg.learning.project.gate import Verdict, judge, kept_of
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import Project
from activeseg.learning.project.replayed import Replayed
from activeseg.segmenters.nnunet.device import resolve_device

_COLUMNS = (
    ("DICE", "dice", "{:.3f}"),
    ("SURFACE DICE", "surface_dice", "{:.3f}"),
    ("HD95 MM", "hd95_mm", "{:.1f}"),
    ("VOLUME", "volume_error", "{:+.0%}"),
)


@dataclass(frozen=True)
class Comparison:
    """``first`` is what the other one is judged against."""

    first_id: str
    second_id: str
    first: Results
    second: Results
    structures: tuple[str, ...]
    verdict: Verdict

    @property
    def headings(self) -> tuple[str, ...]:
        """Of ``rows``, after the structure and the number of cases."""
        return tuple(f"{heading}{end}" for heading, _, _ in _COLUMNS for end in ("", " NEW"))

    def rows(self) -> list[list[str]]:
        """A row for each structure that was measured in both."""
        shown = []
        for name in self.structures:
            cases = [
                case for case in self.first if name in self.first[case].scores and name in self.second[case].scores
            ]
            if cases:
                row = [name, str(len(cases))]
                for _, field, form in _COLUMNS:
                    row += [_mean([results[case] for case in cases], name, field, form) for results in self._both]
                shown.append(row)
        return shown

    def sentences(self) -> list[str]:
        """Reliability of both, and what the gate says."""
        told = []
        for id, results in ((self.first_id, self.first), (self.second_id, self.second)):
            auroc = [r.reliability.auroc for r in results.values() if r.reliability.auroc is not None]
            covered = [r.reliability.covered for r in results.values() if r.reliability.covered is not None]
            if auroc and covered:
                told.append(
                    f"{id}: uncertainty finds errors with AUROC {np.mean(auroc):.2f}; "
                    f"ten regions cover {np.mean(covered):.0%} of them."
                )
        if self.verdict.unmeasured:
            told.append(f"Not measured: {', '.join(self.verdict.unmeasured)}.")
        return [*told, f"{self.second_id} in place of {self.first_id}: {self.verdict.reason}"]

    def to_dict(self) -> dict[str, Any]:
        return {
            "first": self.first_id,
            "second": self.second_id,
            "verdict": to_json(self.verdict),
            "cases": {
                id: to_json(results) for id, results in ((self.first_id, self.first), (self.second_id, self.second))
            },
            "headings": ["STRUCTURE", "CASES", *self.headings],
            "rows": self.rows(),
            "sentences": self.sentences(),
        }

    def draw(self, path: Path) -> None:
        """As bars, into a PNG."""
        comparison_picture(path, self.first, self.second, (self.first_id, self.second_id), list(self.structures))

    @property
    def _both(self) -> tuple[Results, Results]:
        return self.first, self.second


def compare_versions(
    project: Project, first: str, second: str, device: str = "auto", progress: Progress | None = None
) -> Comparison:
    """Measure both where that was not done yet. Raises ModelError, DeviceError, DatasetError, Cancelled."""
    progress = progress or Progress()
    chosen = str(resolve_device(device).type)
    names = project.dataset().schema.names
    one = measure(project, first, chosen, progress.part(0.0, 0.4))
    other = measure(project, second, chosen, progress.part(0.4, 0.8))
    cases = tuple(Replayed.of(project).held_out)
    images = EarlierImages(project, open_version(project, first), cases, chosen, progress.part(0.8, 0.9))
    kept = kept_of(images.parent, images.dice_of(open_version(project, second), progress.part(0.9, 1.0)))
    verdict = judge(dice_of(one), dice_of(other), names, project.state.margin, kept)
    return Comparison(first, second, one, other, names, verdict)


def _mean(results: Sequence[CaseResult], name: str, field: str, form: str) -> str:
    values = [value for result in results if (value := getattr(result.scores[name], field)) is not None]
    return form.format(float(np.mean(values))) if values else "-"
