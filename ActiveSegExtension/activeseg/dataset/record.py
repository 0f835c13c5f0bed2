"""What is written down about one case: its files with their fingerprints, its place in the patient, its history."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from activeseg.core.errors import DatasetError
from activeseg.core.geometry import Geometry
from activeseg.core.json_values import WrongField
from activeseg.core.records import Sha256, damaged, from_json, to_json, written_as
from activeseg.dataset.layout import RevisionNumber, history_file, image_file, label_file, record_file
from activeseg.dataset.listing import SchemaNumber
from activeseg.dataset.provenance import Provenance
from activeseg.system.regular_files import own_path, read_json

FORMAT = 1


@dataclass(frozen=True)
class StoredFile:
    """A file of the dataset, relative to its folder, and the SHA-256 of its bytes."""

    file: str
    sha256: Sha256

    @classmethod
    def of(cls, path: Path, file: str) -> StoredFile:
        with open(path, "rb") as stream:
            return cls(file, hashlib.file_digest(stream, "sha256").hexdigest())


@dataclass(frozen=True)
class Revision:
    """One state of a case's label map; ``schema`` is the number of the schema whose values it holds."""

    number: RevisionNumber = field(metadata=written_as("revision"))
    schema: SchemaNumber
    label: StoredFile
    provenance: Provenance

    def neutral(self) -> Revision:
        """Raises DatasetError when its provenance could name a patient."""
        return replace(self, provenance=self.provenance.neutral())


@dataclass(frozen=True)
class CaseRecord:
    """A case: ``geometry`` is the image's own, before it was stored closest to RAS; ``history`` is oldest first."""

    name: str = field(metadata=written_as("case"))
    images: tuple[StoredFile, ...]
    geometry: Geometry
    current: Revision
    history: tuple[Revision, ...] = ()

    def to_json(self) -> str:
        """Raises DatasetError when the provenance could name a patient."""
        neutral = replace(self, current=self.current.neutral(), history=tuple(past.neutral() for past in self.history))
        return json.dumps({"format": FORMAT, **to_json(neutral)}, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path, name: str, revision: int, channels: int) -> CaseRecord:
        """The record of a case's revision in a dataset, with only the files that such a case has.

        The one place that checks a record from any source. Raises DatasetError when it is missing or damaged, is that
        of another case or revision, or names other files than the computed ones.
        """
        file = record_file(name, revision)
        action = "Restore it from a backup, or remove the case and add it again."
        content = read_json(own_path(folder, file, DatasetError), DatasetError, action)
        with damaged(DatasetError, f"The provenance file '{Path(file).name}'", action):
            record = from_json(cls, content, complete=True)
            record._check_names(name, revision, channels)
        return record

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
