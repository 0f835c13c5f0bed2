"""What lies in a dataset's folders and is not listed: told, offered for recovery, and never removed.

It comes about when an older ``dataset.json`` is restored from a backup, or when two computers synchronise a folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from activeseg.core.errors import DatasetError
from activeseg.dataset.layout import ENDING, HISTORY, IMAGES, LABELS, PROVENANCE, named_file
from activeseg.dataset.listing import Listing
from activeseg.dataset.record import CaseRecord
from activeseg.dataset.sweeping import waste

_SCHEMA = "schema."


@dataclass(frozen=True)
class Unlisted:
    """``files`` relative to the dataset's folder; ``cases`` is name -> revision of each whose record can be read and
    says more than the listing."""

    files: tuple[str, ...]
    cases: dict[str, int]

    def sentence(self) -> str:
        """Empty when there is nothing to tell."""
        if self.cases:
            count = len(self.cases)
            told = "1 case" if count == 1 else f"{count} cases"
            shown = ", ".join(sorted(self.cases)[:5]) + (", ..." if count > 5 else "")
            return f"The dataset does not list {told} whose files are there, or lists an earlier state: {shown}."
        return f"Files in the folder that belong to no listed case: {len(self.files)}." if self.files else ""


def find(folder: Path, listing: Listing) -> Unlisted:
    """Everything that is not listed and is not known to be the waste of a change. Nothing is changed."""
    files = [file for file in _files(folder) if not is_listed(file, listing)]
    if files:
        known = waste(folder)
        files = [file for file in files if file not in known]
    return Unlisted(tuple(files), dict(_cases(folder, files, listing)))


def names(folder: Path) -> set[str]:
    """The cases that any file in the dataset's folders belongs to."""
    return {named.case for file in _files(folder) if (named := named_file(file))}


def _cases(folder: Path, files: list[str], listing: Listing) -> Iterator[tuple[str, int]]:
    found: dict[str, int] = {}
    for file in files:
        named = named_file(file)
        if named is None or named.kind != PROVENANCE:
            continue
        listed = listing.cases.get(named.case)
        if named.revision <= max(found.get(named.case, 0), listed.revision if listed else 0):
            continue
        try:
            CaseRecord.read(folder, named.case, named.revision, len(listing.channel_names))
        except DatasetError:
            continue
        found[named.case] = named.revision
    yield from found.items()


def _files(folder: Path) -> list[str]:
    """Images, label maps and records, listed or not; links among them, which are never followed."""
    found = []
    for part, ending in ((IMAGES, ENDING), (LABELS, ENDING), (HISTORY, ENDING), (PROVENANCE, ".json")):
        if (folder / part).is_dir():
            found += [f"{part}/{name}" for name in os.listdir(folder / part) if name.endswith(ending)]
    return sorted(found)


def is_listed(file: str, listing: Listing) -> bool:
    """Whether a file, relative to the dataset's folder, is one that the listing knows."""
    part, _, name = file.rpartition("/")
    if part == PROVENANCE and name.startswith(_SCHEMA):
        number = name.removeprefix(_SCHEMA).removesuffix(".json")
        return number.isdecimal() and number.isascii() and 1 <= int(number[:9]) <= listing.schema_number
    named = named_file(file)
    entry = listing.cases.get(named.case) if named else None
    if named is None or entry is None:
        return False
    if part == IMAGES:
        return named.channel < len(listing.channel_names)
    return named.revision < entry.revision if part == HISTORY else named.revision == entry.revision
