"""What is written down about one case: its files with their fingerprints, its place in the patient, its history."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.dataset.provenance import Provenance
from activeseg.errors import DatasetError, InputError
from activeseg.volume import Geometry

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
    def from_dict(cls, data: Mapping[str, Any]) -> StoredFile:
        return cls(str(data["file"]), str(data["sha256"]))


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
    def from_dict(cls, data: Mapping[str, Any]) -> Revision:
        return cls(
            int(data["revision"]),
            int(data["schema"]),
            StoredFile.from_dict(data["label"]),
            Provenance.from_dict(data["provenance"]),
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
    def read(cls, path: Path) -> CaseRecord:
        """Raises DatasetError when the file is missing or damaged."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                str(data["case"]),
                tuple(StoredFile.from_dict(image) for image in data["images"]),
                Geometry.from_dict(data["geometry"]),
                Revision.from_dict(data["current"]),
                tuple(Revision.from_dict(revision) for revision in data["history"]),
            )
        except (OSError, KeyError, TypeError, ValueError, InputError) as error:
            raise DatasetError(
                f"The provenance file '{path.name}' is missing or damaged: {error}.",
                "Restore it from a backup, or remove the case and add it again.",
            ) from error
