"""Damaged datasets, projects, drafts and predictions: what opening, checking and repairing each must say.

Each is a change of the files that version 0.1.0 wrote (``Testing/files_of_0_1_0``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOOD = Path(__file__).parents[1] / "files_of_0_1_0"
Change = Callable[[Path], object]
OPENS = ""
"""Opening says nothing."""


@dataclass(frozen=True)
class Damage:
    """One damage.

    Attributes
    ----------
    change
        What happens to the folder.
    opening
        Pattern of the error of opening and reading all; ``OPENS`` when there is none.
    check
        Pattern of what verifying or checking says; ``OPENS`` when all is well.
    repair
        Pattern of what recovering or repairing says.
    left
        Cases of a dataset, or versions of a project, that are there afterwards.
    """

    change: Change
    opening: str
    check: str = ""
    repair: str = ""
    left: tuple[str, ...] = ()


def cut(file: str, size: int = 100) -> Change:
    """The file ends too early, as after a full disk."""
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:size])


def gone(file: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / file
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def zeros(file: str) -> Change:
    """The right size and nothing in it, as after a power failure."""
    return lambda folder: (folder / file).write_bytes(bytes((folder / file).stat().st_size))


def other_byte(file: str, at: int = -9) -> Change:
    def change(folder: Path) -> None:
        data = bytearray((folder / file).read_bytes())
        data[at] ^= 0xFF
        (folder / file).write_bytes(data)

    return change


def value(file: str, *keys: str | int, to: Any) -> Change:
    """One value of a JSON file is another one."""

    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text("utf-8"))
        place = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to
        (folder / file).write_text(json.dumps(content), "utf-8")

    return change


def without(file: str, key: str) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text("utf-8"))
        del content[key]
        (folder / file).write_text(json.dumps(content), "utf-8")

    return change


BOTH = ("CT_0001", "CT_0002")
RECORD_1, RECORD_2 = "provenance/CT_0001.r2.json", "provenance/CT_0002.json"
LISTED = ("activeseg", "cases")

DATASETS: dict[str, Damage] = {
    "nothing": Damage(lambda folder: None, OPENS, OPENS, "nothing to recover", BOTH),
    "listing cut": Damage(cut("dataset.json"), "'dataset.json' is damaged", "", "made again", BOTH),
    "listing of zeros": Damage(zeros("dataset.json"), "'dataset.json' is damaged", "", "made again", BOTH),
    "listing gone": Damage(gone("dataset.json"), "no dataset", "", "made again", BOTH),
    "listing of a later version": Damage(
        value("dataset.json", "activeseg", "format", to=2), "has format 2, this version of ActiveSeg knows 1"
    ),
    "listing of an earlier moment": Damage(
        value("dataset.json", *LISTED, to={}), OPENS, "'CT_0001', revision 2, is not listed", "2 cases", BOTH
    ),
    "listed fingerprint is none": Damage(
        value("dataset.json", *LISTED, "CT_0001", "voxels_sha256", to="x"),
        "CT_0001.voxels_sha256' is 'x'",
        "",
        "made again",
        BOTH,
    ),
    "schema cut": Damage(cut("provenance/schema.1.json"), "'schema.1.json' is damaged"),
    "schema gone": Damage(gone("provenance/schema.1.json"), "'schema.1.json' is missing"),
    "image cut": Damage(cut("imagesTr/CT_0001_0000.nii.gz"), "CT_0001_0000.nii.gz", "was changed", "nothing", BOTH),
    "image gone": Damage(gone("imagesTr/CT_0001_0000.nii.gz"), "is missing", "is missing", "nothing", BOTH),
    "label map with another byte": Damage(
        other_byte("labelsTr/CT_0002.nii.gz"), "CT_0002.nii.gz", "its fingerprint is not the recorded one", "", BOTH
    ),
    "history gone": Damage(
        gone("provenance/labels"), OPENS, "provenance/labels/CT_0001.nii.gz' is missing", "nothing", BOTH
    ),
    "record cut": Damage(cut(RECORD_1), "'CT_0001.r2.json' is damaged", "CT_0001.r2.json' is damaged", "", BOTH),
    "record without geometry": Damage(
        without(RECORD_2, "geometry"), "'geometry' is missing", "'geometry' is missing", "", BOTH
    ),
    "record with a negative spacing": Damage(
        value(RECORD_2, "geometry", "spacing_xyz_mm", 0, to=-1.0),
        "spacing is .* must be positive",
        "must be positive",
        "",
        BOTH,
    ),
    "record of another case": Damage(
        value(RECORD_2, "case", to="CT_0007"), "it is that of 'CT_0007'", "CT_0007", "", BOTH
    ),
    "record and listing gone": Damage(
        lambda folder: (gone(RECORD_2)(folder), gone("dataset.json")(folder)), "no dataset", "", "CT_0002", ("CT_0001",)
    ),
}

PROJECTS: dict[str, Damage] = {
    "nothing": Damage(lambda folder: None, OPENS, OPENS, OPENS, ("v0001",)),
    "file cut": Damage(cut("project.json"), "'project.json' is damaged", "'project.json' is damaged"),
    "file gone": Damage(gone("project.json"), "no project", "'project.json' is missing"),
    "file of a later version": Damage(value("project.json", "format", to=9), "format 9", "format 9"),
    "current version is none": Damage(
        value("project.json", "current", to="v0007"),
        "v0007",
        "'current' is 'v0007', which is a version that is missing",
        "'v0001' becomes current",
        ("v0001",),
    ),
    "version cut": Damage(
        cut("versions/v0001/version.json"),
        "version in 'v0001' is damaged|'version.json' is damaged",
        "is damaged",
        "set aside as 'versions/damaged-v0001'",
    ),
    "version without its parent": Damage(
        without("versions/v0001/version.json", "parent"), "'parent' is missing", "'parent' is missing", "set aside"
    ),
    "measurements cut": Damage(
        cut("versions/v0001/measured.json"), "'measured.json' is damaged", "damaged", "set aside"
    ),
    "run's state cut": Damage(
        cut("runs/20260101-000000-000001/state.json"), OPENS, "'state.json' of the fine-tuning", "set aside", ("v0001",)
    ),
    "dataset gone": Damage(gone("Dataset501_livers"), "dataset", "dataset"),
}

DRAFTS: dict[str, Damage] = {
    "nothing": Damage(lambda folder: None, OPENS),
    "record cut": Damage(cut("draft.json"), "'draft.json' is damaged"),
    "record gone": Damage(gone("draft.json"), "There is no draft"),
    "record of a later version": Damage(value("draft.json", "format", to=2), "was not written by this version"),
    "record names a file elsewhere": Damage(value("draft.json", "base", to="../x"), "'base' is '../x', which"),
    "record without images": Damage(without("draft.json", "images"), "'images'"),
    "image gone": Damage(lambda folder: next(folder.glob("image0-*")).unlink(), "image0"),
    "image cut": Damage(
        lambda folder: cut(next(folder.glob("image0-*")).name, 200)(folder), "image0-.* is damaged|array file|cut"
    ),
    "layers gone": Damage(lambda folder: next(folder.glob("edits-*/layers.npz")).unlink(), "layers.npz|damaged"),
    "regions are no list": Damage(
        lambda folder: next(folder.glob("edits-*/regions.json")).write_text('{"regions": 5}'), "regions|damaged"
    ),
}

PREDICTIONS: dict[str, Damage] = {
    "nothing": Damage(lambda folder: None, OPENS),
    "record cut": Damage(cut("prediction.json"), "'prediction.json' is damaged"),
    "record gone": Damage(gone("prediction.json"), "is not a prediction"),
    "record of a later version": Damage(value("prediction.json", "format", to=2), "format 2, this version reads 1"),
    "record without a model": Damage(without("prediction.json", "model"), "'model' is missing"),
    "record with a mode of its own": Damage(value("prediction.json", "settings", "mode", to="slow"), "slow"),
    "labels cut": Damage(cut("labels.nii.gz"), "labels.nii.gz"),
    "uncertainty gone": Damage(gone("uncertainty.nii.gz"), "uncertainty.nii.gz"),
    "regions cut": Damage(cut("regions.json"), "regions"),
    "patches gone": Damage(gone("alternatives.npz"), "alternatives.npz"),
    "region with an odd state": Damage(value("regions.json", "regions", 0, "state", to="won"), "won"),
}
