"""``dataset.json``: which cases there are. Replacing this file is what commits a change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from activeseg.dataset.layout import ENDING, LISTING, image_file, label_file, schema_file
from activeseg.errors import DatasetError, InputError
from activeseg.labels import BACKGROUND, IGNORE, LabelSchema

FORMAT = 1
_OURS = "activeseg"
_WRITTEN = ("channel_names", "labels", "numTraining", "file_ending", "overwrite_image_reader_writer", "dataset", _OURS)
# The cases are stored closest to RAS; with this reader nnU-Net turns the images that it predicts on the same way.
_READER = "NibabelIOWithReorient"


@dataclass(frozen=True)
class CaseEntry:
    """A case as the listing has it.

    Attributes
    ----------
    revision : of its label map, 1 for the first
    voxels_sha256 : fingerprint of the images' voxels, by which the same image is recognised
    waiting : structures that nobody has annotated in this case yet; while there are any it is not trained on
    """

    revision: int
    voxels_sha256: str
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """All that ``dataset.json`` says; ``other`` are keys that somebody else put there, which are kept."""

    id: str
    schema: LabelSchema
    schema_number: int
    channel_names: tuple[str, ...]
    next_case: int = 1
    cases: Mapping[str, CaseEntry] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)

    def with_case(self, name: str, entry: CaseEntry) -> Listing:
        return replace(self, cases={**self.cases, name: entry})

    def without(self, name: str) -> Listing:
        return replace(self, cases={n: entry for n, entry in self.cases.items() if n != name})

    def entry(self, name: str) -> CaseEntry:
        """Raises DatasetError when there is no such case."""
        if name not in self.cases:
            names = ", ".join(list(self.cases)[:10]) or "none"
            raise DatasetError(f"There is no case '{name}' in the dataset.", f"Its cases: {names}.")
        return self.cases[name]

    def neutral_name(self) -> tuple[str, int]:
        """A name for the next case, and the number to go on with; a removed case's name is not used again."""
        prefix = "CT" if self.channel_names[0].upper() == "CT" else "CASE"
        taken = {name.casefold() for name in self.cases}
        number = self.next_case
        while (name := f"{prefix}_{number:04d}").casefold() in taken:
            number += 1
        return name, number + 1

    def images_of(self, name: str) -> list[str]:
        return [image_file(name, channel) for channel in range(len(self.channel_names))]

    def content(self) -> dict[str, Any]:
        """``dataset.json``: nnU-Net's keys, its key ``dataset`` with the cases to train on, and ours."""
        trained = {name: entry for name, entry in self.cases.items() if not entry.waiting}
        return {
            **self.other,
            "channel_names": {str(n): name for n, name in enumerate(self.channel_names)},
            "labels": {
                BACKGROUND: 0,
                **{s.name: s.value for s in self.schema.labels},
                IGNORE: self.schema.ignore_value,
            },
            "numTraining": len(trained),
            "file_ending": ENDING,
            "overwrite_image_reader_writer": _READER,
            "dataset": {
                name: {"images": self.images_of(name), "label": label_file(name, entry.revision)}
                for name, entry in trained.items()
            },
            _OURS: {
                "format": FORMAT,
                "id": self.id,
                "schema": self.schema_number,
                "next_case": self.next_case,
                "cases": {
                    name: {"revision": e.revision, "voxels_sha256": e.voxels_sha256, "waiting": list(e.waiting)}
                    for name, e in self.cases.items()
                },
            },
        }

    def to_json(self) -> str:
        return json.dumps(self.content(), indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Listing:
        """Raises DatasetError when the folder holds no dataset of ours, or a damaged one, or one of a later version."""
        path = folder / LISTING
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(f"'{path}' is missing or damaged: {error}.", "Restore it from a backup.") from error
        if not isinstance(content, dict) or _OURS not in content:
            raise DatasetError(
                f"The dataset in '{folder}' was not made by ActiveSeg.",
                "Create a new dataset and add its images and label maps to that.",
            )
        try:
            ours = content[_OURS]
            if ours["format"] != FORMAT:
                raise DatasetError(
                    f"The dataset has format {ours['format']}, this version of ActiveSeg knows {FORMAT}.",
                    "Update ActiveSeg.",
                )
            number = int(ours["schema"])
            stored = json.loads((folder / schema_file(number)).read_text(encoding="utf-8"))
            return cls(
                str(ours["id"]),
                LabelSchema.from_dict(stored),
                number,
                tuple(content["channel_names"][str(n)] for n in range(len(content["channel_names"]))),
                int(ours["next_case"]),
                {
                    str(name): CaseEntry(int(e["revision"]), str(e["voxels_sha256"]), tuple(e["waiting"]))
                    for name, e in ours["cases"].items()
                },
                {key: value for key, value in content.items() if key not in _WRITTEN},
            )
        except (OSError, KeyError, TypeError, ValueError, InputError) as error:
            raise DatasetError(f"'{path}' is damaged: {error!r}.", "Restore it from a backup.") from error
