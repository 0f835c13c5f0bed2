"""``dataset.json``: which cases there are. Replacing this file is what commits a change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from activeseg.core.channel_names import different_names, normalization_names
from activeseg.core.errors import DatasetError, InputError, Remedy
from activeseg.core.json_values import WrongField
from activeseg.core.labels import BACKGROUND, IGNORE, LabelSchema
from activeseg.core.records import (
    HEX_32,
    Matches,
    Sha256,
    Within,
    check_depth,
    damaged,
    from_json,
    shortly,
    to_json,
)
from activeseg.dataset.layout import (
    ENDING,
    LISTING,
    CaseName,
    RevisionNumber,
    check_folders,
    image_file,
    label_file,
    schema_file,
)
from activeseg.system.regular_files import own_path, read_json

FORMAT = 1
MOST_SCHEMAS = 1000
SchemaNumber = Annotated[int, Within(1, MOST_SCHEMAS)]
RESTORE = "Restore it from a backup, or let the dataset be recovered from its records."
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
    waiting : structures that are not annotated in this case yet; while there are any it is not trained on
    """

    revision: RevisionNumber
    voxels_sha256: Sha256
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Ours:
    """Our key in ``dataset.json``."""

    format: int
    id: Annotated[str, Matches(HEX_32)]
    schema: SchemaNumber
    next_case: Annotated[int, Within(1, 10**9)]
    cases: Mapping[CaseName, CaseEntry]


@dataclass(frozen=True)
class Listing:
    """All that ``dataset.json`` says; ``other`` are keys that somebody else put there, which are kept.

    ``channel_names`` are all different; in the file they are nnU-Net's, of which several may be equal.
    """

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

    def neutral_name(self, used: Iterable[str] = ()) -> tuple[str, int]:
        """A name for the next case, and the number to go on with; a removed case's name is not used again.

        ``used`` are names besides the listed ones: an older listing that was restored does not know all.
        """
        prefix = "CT" if self.channel_names[0].upper() == "CT" else "CASE"
        taken = {name.casefold() for name in (*self.cases, *used)}
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
            "channel_names": {str(n): name for n, name in enumerate(normalization_names(self.channel_names))},
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
            _OURS: to_json(_Ours(FORMAT, self.id, self.schema_number, self.next_case, self.cases)),
        }

    def to_json(self) -> str:
        return json.dumps(self.content(), indent=1) + "\n"

    def schema_json(self) -> str:
        """For the schema's own file, with what else is needed to make this listing again when it is lost."""
        content = {**self.schema.to_dict(), "channels": list(self.channel_names), "dataset": self.id}
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Listing:
        """The one place that checks a listing from any source: names, numbers, and that no part of it is a link.

        Raises DatasetError when the folder holds no dataset of ActiveSeg, or a damaged one, or one of a later version.
        """
        check_folders(folder)
        content = read_json(folder / LISTING, DatasetError, RESTORE, remedy=Remedy.RECOVER_DATASET)
        if _OURS not in content:
            raise DatasetError(
                f"The dataset in '{folder}' was not made by ActiveSeg.",
                "Create a new dataset and add its images and label maps to that.",
            )
        with damaged(DatasetError, f"'{LISTING}' of '{folder.name}'", RESTORE):
            return cls.of(folder, content)

    @classmethod
    def of(cls, folder: Path, content: Mapping[str, Any]) -> Listing:
        """From what ``dataset.json`` holds. Raises DatasetError, WrongField for other values."""
        format = format_of(content)
        if format not in (None, FORMAT):
            raise DatasetError(
                f"The dataset has format {str(format)[:20]}, this version of ActiveSeg knows {FORMAT}.",
                "Update ActiveSeg.",
            )
        ours = from_json(_Ours, content[_OURS], _OURS, complete=True)
        schema = read_schema(folder, ours.schema)
        for name, entry in ours.cases.items():
            unknown = set(entry.waiting) - set(schema.names)
            if unknown:
                raise WrongField(f"'{name}' waits for {min(unknown)!r}, which is no structure of the dataset")
        if len({name.casefold() for name in ours.cases}) < len(ours.cases):
            raise WrongField("two cases have names that differ only in capital letters")
        other = {key: value for key, value in content.items() if key not in _WRITTEN}
        check_depth(other, LISTING)
        return cls(ours.id, schema, ours.schema, channel_names_of(content), ours.next_case, ours.cases, other)


def format_of(content: Mapping[str, Any]) -> Any:
    """Which version of the format ``dataset.json`` names; None where it names none."""
    ours = content.get(_OURS)
    return ours.get("format") if isinstance(ours, Mapping) else None


def channel_names_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    """nnU-Net's key ``channel_names``: number -> name, of which equal ones are told apart. Raises WrongField."""
    found = from_json(dict[str, str], content.get("channel_names"), "channel_names")
    names = tuple(found.get(str(n), "") for n in range(len(found)))
    if not names or not all(names):
        raise WrongField(f"'channel_names' has the keys {', '.join(list(found)[:5])}, or names that are empty")
    return different_names(names)


def read_schema(folder: Path, number: int) -> LabelSchema:
    """The schema of that number, with which label maps were written. Raises DatasetError."""
    file = schema_file(number)
    try:
        return LabelSchema.from_dict(
            read_json(own_path(folder, file, DatasetError), DatasetError, RESTORE, remedy=Remedy.RECOVER_DATASET)
        )
    except InputError as error:
        raise DatasetError(
            f"'{file}' of '{folder.name}' is damaged: {shortly(error)}.", RESTORE, remedy=Remedy.RECOVER_DATASET
        ) from error
