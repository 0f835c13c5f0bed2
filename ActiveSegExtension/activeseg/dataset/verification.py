"""Whether a dataset on disk is what its listing and its records say."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from activeseg.core.errors import ActiveSegError, DatasetError
from activeseg.core.progress import Progress
from activeseg.dataset.dataset import Dataset
from activeseg.dataset.layout import LISTING, named_file
from activeseg.dataset.listing import Listing
from activeseg.dataset.record import Revision, StoredFile
from activeseg.io.images import read_label_map, read_volume
from activeseg.system.regular_files import own_file, own_path, read_json

# nifti1.h: data_type and db_name, descrip and aux_file, intent_name, and the flag of an extension behind the header.
_TEXTS = (slice(4, 32), slice(148, 252), slice(328, 344), slice(348, 352))


@dataclass(frozen=True)
class Finding:
    """Something that is wrong; ``case`` is empty when it concerns the dataset as a whole."""

    case: str
    problem: str


def verify_dataset(dataset: Dataset, progress: Progress | None = None) -> list[Finding]:
    """Read everything and report what does not fit; an empty list means that all is well.

    Files are readable, their fingerprints right, images and label map on one canonical grid that is the original one
    reoriented, values finite and within the schema, headers neutral, no file lies about that is not mentioned.
    """
    progress = progress or Progress()
    listing = dataset.listing()
    unlisted = dataset.unlisted()
    found = [
        Finding("", f"'{name}', revision {revision}, is not listed, and can be recovered.")
        for name, revision in unlisted.cases.items()
    ]
    found += [
        Finding("", f"'{file}' belongs to no case.")
        for file in unlisted.files
        if (named := named_file(file)) is None or named.case not in unlisted.cases
    ]
    found += [Finding("", problem) for problem in _listing_problems(dataset.folder, listing)]
    for done, name in enumerate(listing.cases):
        progress("verify", done / len(listing.cases), name)
        try:
            found.extend(Finding(name, problem) for problem in _case_problems(dataset, listing, name))
        except (ActiveSegError, OSError, EOFError) as error:
            found.append(Finding(name, f"It cannot be read: {error}"))
    progress("verify", 1.0)
    return found


def _listing_problems(folder: Path, listing: Listing) -> list[str]:
    """What nnU-Net would read differently from what we mean."""
    written = read_json(folder / LISTING, DatasetError)
    meant = listing.content()
    return [f"The key '{key}' of {LISTING} was changed." for key in meant if written.get(key) != meant[key]]


def _case_problems(dataset: Dataset, listing: Listing, name: str) -> Iterator[str]:
    """Raises ActiveSegError, OSError or EOFError at the first file that cannot be read; what came before stands."""
    record = dataset.record(name)
    if record.current.schema != listing.schema_number:
        yield "Its label map holds the values of another schema."
    missing = False
    for file in (*record.images, *(revision.label for revision in (record.current, *record.history))):
        path = own_path(dataset.folder, file.file, DatasetError)
        if not path.exists():
            missing = True
            yield f"'{file.file}' is missing."
        elif StoredFile.of(own_file(dataset.folder, file.file, DatasetError), file.file).sha256 != file.sha256:
            yield f"'{file.file}' was changed: its fingerprint is not the recorded one."
        elif not _is_neutral(path):
            yield f"'{file.file}' has text or extensions in its header."
    if missing:
        return
    labels = read_label_map(dataset.folder / record.current.label.file)
    for image in record.images:
        if not read_volume(dataset.folder / image.file).geometry.same_grid(labels.geometry):
            yield f"'{image.file}' and the label map lie on different grids."
    if not labels.geometry.same_grid(record.geometry.canonical()):
        yield "The label map does not lie where the provenance says that the original image lay."
    for revision in (record.current, *record.history):
        highest, ignore = _highest(dataset, revision), dataset.schema_of(revision).ignore_value
        if highest > ignore:
            yield f"'{revision.label.file}' holds the value {highest}; ignore is {ignore}."
    if labels.array.min() == listing.schema.ignore_value:
        yield "Every voxel of the label map is ignored: nothing can be learned from it."


def _highest(dataset: Dataset, revision: Revision) -> int:
    return int(read_label_map(dataset.folder / revision.label.file).array.max())


def _is_neutral(path: Path) -> bool:
    """Whether a NIfTI header has no text, and no extension follows it."""
    with gzip.open(path, "rb") as file:
        header = file.read(352)
    return not any(any(header[part]) for part in _TEXTS)
