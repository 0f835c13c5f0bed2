"""A prediction: the label map of one CT with its uncertainty, its regions and the record of how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt

from activeseg.core.about import __version__
from activeseg.core.errors import InputError, Remedy
from activeseg.core.labels import LabelSchema
from activeseg.core.records import (
    ANY_NUMBER,
    NOT_WRITTEN,
    Sha256,
    damaged,
    from_json,
    if_missing,
    to_json,
    written_as,
)
from activeseg.core.segmenter import Settings
from activeseg.core.shapes import ShapeReference, ShapeWarning
from activeseg.core.uncertainty_scale import ENTROPY_SCALE, OLD_ENTROPY_SCALE, shown_threshold
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Member
from activeseg.io.images import read_label_map, read_volume, write_volume
from activeseg.predictions.prediction_folder import FILES, RECORD, fingerprints, is_unchanged, making, restore
from activeseg.predictions.region_files import read_regions, write_regions
from activeseg.review.regions import FoundRegion
from activeseg.review.shapes import shape_warnings
from activeseg.system.regular_files import is_link, read_json

FORMAT = 1
"""Version of the folder's layout; a newer one is refused in words."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What ``segment`` returns and what a prediction folder holds.

    Attributes
    ----------
    labels : label map (k, j, i) on the CT's grid, values of ``schema``
    decided : names of the structures that this run decided
    uncertainty : the ``measure``'s map, float32 in 0..1 on the network's own grid; NaN where not computed
    agreement : mean pairwise Dice of the members, None for one member
    images : for each channel ``path`` (as given), for DICOM ``series``, and ``sha256`` (of voxels and geometry)
    warnings : what is unusual about the shapes of structures, in their order; none before there was this field
    threshold : above it a voxel is shown as uncertain; on the scale of ``uncertainty``
    entropy_scale : what an entropy of 1 stands for; before there was this field, the logarithm of all classes
    grid : all votes and measures; only in memory, None after ``load``
    """

    labels: Volume = field(metadata=NOT_WRITTEN)
    schema: LabelSchema
    decided: tuple[str, ...]
    uncertainty: Volume = field(metadata=NOT_WRITTEN)
    measure: str
    members: tuple[Member, ...]
    agreement: Annotated[float, ANY_NUMBER] | None
    regions: tuple[FoundRegion, ...] = field(metadata=NOT_WRITTEN)
    focus: tuple[str, ...]
    model: str
    settings: Settings
    images: Mapping[str, Mapping[str, Any]]
    created: str
    timings: Mapping[str, float] = field(default_factory=dict, metadata=written_as("timings_s"))
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[ShapeWarning, ...] = field(default=(), metadata=if_missing(()))
    threshold: float = shown_threshold("variance")
    entropy_scale: str = field(default=ENTROPY_SCALE, metadata=if_missing(OLD_ENTROPY_SCALE))
    grid: GridVotes | None = field(default=None, repr=False, metadata=NOT_WRITTEN)

    def to_dict(self) -> dict[str, Any]:
        """``prediction.json``."""
        return {"format": FORMAT, "activeseg": __version__, **to_json(self)}

    def save(self, folder: Path, images: Mapping[str, Volume], overwrite: bool = False) -> None:
        """Write the prediction folder, for its owner alone; it appears whole or not at all.

        ``images`` are the volumes that were segmented (the first one is drawn in ``overview.png``). With ``overwrite``
        a prediction in ``folder`` is replaced; what else lies there stays.
        Raises InputError as ``check_output``, OSError, and EngineError when another program writes there.
        """
        from activeseg.io.seg_nrrd import write_segmentation
        from activeseg.predictions.overview import write_overview

        check_output(folder, overwrite)
        folder = folder.resolve()  # a link to a folder stays
        with making(folder) as fresh:
            check_output(folder, overwrite)  # again, for somebody may have been quicker
            write_segmentation(fresh / "segmentation.seg.nrrd", self.labels.array, self.labels.geometry, self.schema)
            ct = next(iter(images.values()))
            write_overview(
                fresh / "overview.png",
                ct,
                self.labels.array,
                self.schema,
                self.uncertainty,
                self.regions,
                self.measure,
                threshold=self.threshold,
                unusual={warning.structure for warning in self.warnings},
            )
            self.write(fresh)

    def write(self, folder: Path) -> None:
        """Write into a folder that is there what ``load`` reads: all of a prediction folder but its pictures."""
        write_volume(self.labels, folder / "labels.nii.gz")
        write_volume(self.uncertainty, folder / "uncertainty.nii.gz")
        write_regions(folder, self.regions, self.focus)
        record = {**self.to_dict(), "files": fingerprints(folder)}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def corrected(
        self, labels: npt.NDArray[Any], note: Mapping[str, Any], shapes: ShapeReference | None = None
    ) -> Prediction:
        """With other labels (k, j, i), and a note in the record of how they came about, after earlier ones.

        ``shapes``: what the model knows of usual shapes; what is unusual now follows from it.
        """
        notes = [*self.details.get("corrected", ()), dict(note)]
        return replace(
            self,
            labels=replace(self.labels, array=labels),
            details={**self.details, "corrected": notes},
            warnings=shape_warnings(labels, self.labels.geometry, self.schema, shapes) if shapes else (),
            grid=None,
        )

    def with_doubt(self, votes: GridVotes, regions: tuple[FoundRegion, ...]) -> Prediction:
        """With what the members say now, and the regions to review that follow from it."""
        measure = votes.default_measure
        shown = votes.measure(measure)
        assert shown is not None
        return replace(
            self,
            uncertainty=Volume(shown, votes.geometry, "uncertainty"),
            measure=measure,
            members=votes.members,
            regions=regions,
            threshold=shown_threshold(measure),
            grid=votes,
        )

    @classmethod
    def load(cls, folder: Path) -> Prediction:
        """Read a prediction folder. Raises InputError when it is not one, or written by a newer version."""
        read = _read(_read_record(folder), str(folder / RECORD))
        return replace(
            read,
            labels=read_label_map(folder / "labels.nii.gz"),
            uncertainty=read_volume(folder / "uncertainty.nii.gz", allow_nan=True),
            regions=read_regions(folder),
        )

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], labels: Volume, uncertainty: Volume, regions: tuple[FoundRegion, ...]
    ) -> Prediction:
        """Put together from ``to_dict`` and what it leaves out. Raises InputError when the record is damaged."""
        read = _read(record, "The record of the prediction")
        return replace(read, labels=labels, uncertainty=uncertainty, regions=regions)


@dataclass(frozen=True)
class _SegmentedImage:
    """Where it is, which may be a name that is not UTF-8, and what it is."""

    path: Path
    sha256: Sha256
    series: str | None = None


def _read(record: Mapping[str, Any], source: str) -> Prediction:
    """A prediction with all that is in its record, and nothing else. Raises InputError, which names ``source``."""
    if record.get("format") != FORMAT:
        raise InputError(
            f"{source} has format {record.get('format')}, this version reads {FORMAT}.",
            "Update ActiveSeg, or segment again.",
        )
    with damaged(InputError, source, "Segment the CT again."):
        from_json(dict[str, _SegmentedImage], record.get("images"), "images")
        nothing = {"labels": None, "uncertainty": None, "regions": ()}
        return from_json(Prediction, record, complete=True, given=nothing)


def _read_record(folder: Path) -> dict[str, Any]:
    restore(folder)
    if not (folder / RECORD).exists():
        raise InputError(
            f"{folder} is not a prediction: it has no {RECORD}.",
            "Give the folder of a prediction, or segment the image first.",
            remedy=Remedy.SEGMENT,
        )
    return read_json(folder / RECORD, InputError, "Segment the CT again.")


def check_output(folder: Path, overwrite: bool) -> None:
    """Raise InputError when a prediction must not be written there; called before the work and again before writing.

    Replaced is only what the record of a prediction names, and only while it is what was written.
    """
    folder = folder.resolve()
    if not folder.exists():
        restore(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"The output {folder} is a file.", "Name a folder.")
    if not any(folder.iterdir()):
        return
    if not (folder / RECORD).is_file():
        raise InputError(f"The output folder {folder} is not empty and holds no prediction.", "Name a new folder.")
    if not overwrite:
        raise InputError(f"{folder} already holds a prediction.", "Name a new folder, or ask to overwrite it.")
    try:
        record = _read_record(folder)
        _read(record, str(folder / RECORD))
    except InputError as error:
        raise InputError(
            f"The output folder {folder} is not empty and holds no prediction that can be replaced: {error.message}",
            "Name a new folder.",
        ) from error
    changed = _changed(folder, record.get("files"))
    if changed:
        raise InputError(
            f"'{changed[0]}' in {folder} was changed after the prediction was written, and would be lost.",
            "Move it to another folder, or name a new folder for the output.",
        )


def _changed(folder: Path, written: Any) -> list[str]:
    """Files with our names that are not as they were written; earlier versions kept no fingerprints."""
    there = sorted(name for name in FILES - {RECORD} if (folder / name).exists() or is_link(folder / name))
    if not isinstance(written, dict):
        return [name for name in there if is_link(folder / name) or not (folder / name).is_file()]
    return [name for name in there if not is_unchanged(folder / name, str(written.get(name)))]
