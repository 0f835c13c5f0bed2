"""What is written down about one case: its files with their fingerprints, its place in the patient, its history."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import DatasetError, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.json_fields import HEX_64, UNFIT, Fields, WrongField, shortly
from activeseg.dataset.layout import MOST_REVISIONS, history_file, image_file, label_file, record_file
from activeseg.dataset.listing import MOST_SCHEMAS
from activeseg.dataset.provenance import Provenance
from activeseg.system.regular_files import own_path, read_json

FORMAT = 1


@dataclass(frozen=True)
class StoredFile:
    """A file of the dataset, relative to its folder, and the SHA-256 of its bytes."""

    file: str
    sha256: str

    @classmethod
    def of(cls, path: Path, file: str) -> StoredFile:
        with open(path, "rb") as stream:
            return cls(file, hashlib.file_digest(stream, "sha256").hexdigest())

    def to_dict(self) -> dict[str, str]:
        return {"file": self.file, "sha256": self.sha256}

    @classmethod
    def of_fields(cls, data: Fields) -> StoredFile:
        """Raises WrongField."""
        return cls(data.text("file"), data.text("sha256", HEX_64))


@dataclass(frozen=True)
class Revision:
    """One state of a case's label map; ``schema`` is the number of the schema whose values it holds."""

    number: int
    schema: int
    label: StoredFile
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        return {
            "revision": self.number,
            "schema": self.schema,
            "label": self.label.to_dict(),
            "provenance": self.provenance.to_dict(),
        }

    @classmethod
    def of_fields(cls, data: Fields) -> Revision:
        """Raises one of ``json_fields.UNFIT``."""
        return cls(
            data.whole("revision", 1, MOST_REVISIONS),
            data.whole("schema", 1, MOST_SCHEMAS),
            StoredFile.of_fields(data.inner("label")),
            Provenance.of_fields(data.inner("provenance")),
        )


@dataclass(frozen=True)
class CaseRecord:
    """A case: ``geometry`` is the image's own, before it was stored closest to RAS; ``history`` is oldest first."""

    name: str
    images: tuple[StoredFile, ...]
    geometry: Geometry
    current: Revision
    history: tuple[Revision, ...] = ()

    def to_json(self) -> str:
        """Raises DatasetError when the provenance could name a patient."""
        record = {
            "format": FORMAT,
            "case": self.name,
            "images": [image.to_dict() for image in self.images],
            "geometry": self.geometry.to_dict(),
            "current": self.current.to_dict(),
            "history": [revision.to_dict() for revision in self.history],
        }
        return json.dumps(record, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path, name: str, revision: int, channels: int) -> CaseRecord:
        """The record of a case's revision in a dataset, with only the files that such a case has.

        The one place that checks a record from any source. Raises DatasetError when it is missing or damaged, is that
        of another case or revision, or names other files than the computed ones.
        """
        file = record_file(name, revision)
        action = "Restore it from a backup, or remove the case and add it again."
        try:
            data = Fields(read_json(own_path(folder, file, DatasetError), DatasetError, action))
            record = cls(
                data.text("case"),
                tuple(StoredFile.of_fields(image) for image in data.inners("images")),
                _geometry(data.inner("geometry")),
                Revision.of_fields(data.inner("current")),
                tuple(Revision.of_fields(past) for past in data.inners("history")),
            )
            record._check_names(name, revision, channels)
            return record
        except (InputError, *UNFIT) as error:
            raise DatasetError(
                f"The provenance file '{Path(file).name}' is damaged: {shortly(error)}.", action
            ) from error

    def _check_names(self, name: str, revision: int, channels: int) -> None:
        """Raise WrongField unless the record is that of the case, and all its files have the names that they get."""
        if (self.name, self.current.number) != (name, revision):
            raise WrongField(f"it is that of {ascii(self.name)[:80]}, revision {self.current.number}")
        expected = {f"images[{n}].file": image_file(name, n) for n in range(channels)}
        found = {f"images[{n}].file": image.file for n, image in enumerate(self.images)}
        expected["current.label.file"] = label_file(name, revision)
        found["current.label.file"] = self.current.label.file
        expected |= {f"history[{n}].label.file": history_file(name, n + 1) for n in range(revision - 1)}
        found |= {f"history[{n}].label.file": past.label.file for n, past in enumerate(self.history)}
        for key in sorted({*expected, *found}):
            if expected.get(key) != found.get(key):
                wanted = f"not '{expected[key]}'" if key in expected else "which is one too many"
                raise WrongField(f"'{key}' is {ascii(found.get(key))[:80]}, {wanted}")
        if [past.number for past in self.history] != list(range(1, revision)):
            raise WrongField("'history' does not hold each earlier revision once")


def _geometry(data: Fields) -> Geometry:
    """Raises WrongField or InputError."""
    shape = data.wholes("shape_kji", 3, 1, 1_000_000)
    spacing, origin = data.numbers("spacing_xyz_mm", 3), data.numbers("origin_lps_mm", 3)
    return Geometry(
        (shape[0], shape[1], shape[2]),
        (spacing[0], spacing[1], spacing[2]),
        (origin[0], origin[1], origin[2]),
        data.numbers("direction_lps", 9),
    )
