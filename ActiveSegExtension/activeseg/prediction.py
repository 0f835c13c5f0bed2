"""A prediction: the label map of one CT with its uncertainty, its regions and the record of how it was made."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from activeseg import __version__
from activeseg.errors import InputError
from activeseg.labels import LabelSchema
from activeseg.regions import Region, read_regions, write_regions
from activeseg.segmenters.base import GridVotes, Member, MemberKind, Mode, Resample, Settings
from activeseg.uncertainty import SHOWN_THRESHOLD
from activeseg.volume import Volume, read_label_map

RECORD = "prediction.json"
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
    grid : all votes and measures; only in memory, None after ``load``
    """

    labels: Volume
    schema: LabelSchema
    decided: tuple[str, ...]
    uncertainty: Volume
    measure: str
    members: tuple[Member, ...]
    agreement: float | None
    regions: tuple[Region, ...]
    focus: tuple[str, ...]
    model: str
    settings: Settings
    images: Mapping[str, Mapping[str, str]]
    created: str
    timings: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = SHOWN_THRESHOLD
    grid: GridVotes | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """``prediction.json``."""
        return {
            "format": FORMAT,
            "activeseg": __version__,
            "created": self.created,
            "model": self.model,
            "images": {name: dict(image) for name, image in self.images.items()},
            "members": [{"name": m.name, "kind": str(m.kind)} for m in self.members],
            "decided": list(self.decided),
            "agreement": self.agreement,
            "measure": self.measure,
            "threshold": self.threshold,
            "focus": list(self.focus),
            "settings": asdict(self.settings),
            "timings_s": dict(self.timings),
            "details": dict(self.details),
            "schema": self.schema.to_dict(),
        }

    def save(self, folder: Path, images: Mapping[str, Volume], overwrite: bool = False) -> None:
        """Write the prediction folder; it appears whole or not at all.

        ``images`` are the volumes that were segmented (the first one is drawn in ``overview.png``).
        Raises InputError when ``folder`` holds something, unless it is a prediction and ``overwrite``.
        """
        from activeseg.overview import write_overview
        from activeseg.segmentation_file import write_segmentation

        check_output(folder, overwrite)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            write_segmentation(fresh / "segmentation.seg.nrrd", self.labels.array, self.labels.geometry, self.schema)
            ct = next(iter(images.values()))
            write_overview(
                fresh / "overview.png", ct, self.labels.array, self.schema, self.uncertainty, self.regions, self.measure
            )
            self.write(fresh)
            fresh.chmod(0o755)
            _replace_folder(fresh, folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise

    def write(self, folder: Path) -> None:
        """Write into a folder that is there what ``load`` reads: all of a prediction folder but its pictures."""
        self.labels.write(folder / "labels.nii.gz")
        self.uncertainty.write(folder / "uncertainty.nii.gz")
        write_regions(folder, self.regions, self.focus)
        (folder / RECORD).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Prediction:
        """Read a prediction folder. Raises InputError when it is not one, or written by a newer version."""
        fields = _fields(_read_record(folder), str(folder / RECORD))
        return cls(
            labels=read_label_map(folder / "labels.nii.gz"),
            uncertainty=Volume.read(folder / "uncertainty.nii.gz", allow_nan=True),
            regions=read_regions(folder),
            **fields,
        )

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], labels: Volume, uncertainty: Volume, regions: tuple[Region, ...]
    ) -> Prediction:
        """Put together from ``to_dict`` and what it leaves out. Raises InputError when the record is damaged."""
        fields = _fields(record, "The record of the prediction")
        return cls(labels=labels, uncertainty=uncertainty, regions=regions, **fields)


def _fields(record: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A Prediction's fields that are in its record. Raises InputError, which names ``source``."""
    if record.get("format") != FORMAT:
        raise InputError(
            f"{source} has format {record.get('format')}, this version reads {FORMAT}.",
            "Update ActiveSeg, or segment again.",
        )
    try:
        settings = dict(record["settings"])
        settings["mode"], settings["resample"] = Mode(settings["mode"]), Resample(settings["resample"])
        settings["structures"] = tuple(settings["structures"])
        return {
            "schema": LabelSchema.from_dict(record["schema"]),
            "decided": tuple(record["decided"]),
            "measure": record["measure"],
            "members": tuple(Member(m["name"], MemberKind(m["kind"])) for m in record["members"]),
            "agreement": record["agreement"],
            "focus": tuple(record["focus"]),
            "model": record["model"],
            "settings": Settings(**settings),
            "images": record["images"],
            "created": record["created"],
            "timings": record["timings_s"],
            "details": record["details"],
            "threshold": float(record["threshold"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source} is damaged: {error!r}.", "Segment the CT again.") from error


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is not a prediction: it has no {RECORD}.", "Give the folder that 'activeseg segment' wrote."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RECORD} is damaged: {error}.", "Segment the CT again.") from error
    return record if isinstance(record, dict) else {}


def check_output(folder: Path, overwrite: bool) -> None:
    """Raise InputError when a prediction must not be written there; called before the work and again before writing."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"The output {folder} is a file.", "Name a folder.")
    if not any(folder.iterdir()):
        return
    if not (folder / RECORD).is_file():
        raise InputError(f"The output folder {folder} is not empty and holds no prediction.", "Name a new folder.")
    if not overwrite:
        raise InputError(f"{folder} already holds a prediction.", "Name a new folder, or add --overwrite.")


def _replace_folder(fresh: Path, folder: Path) -> None:
    """Put ``fresh`` in the place of ``folder``: the old one is moved aside first and comes back if that fails."""
    if not folder.exists():
        os.rename(fresh, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    os.replace(folder, aside / "old")
    try:
        os.rename(fresh, folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.rename(aside / "old", folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
