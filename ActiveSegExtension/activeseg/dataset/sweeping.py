"""What changes of a dataset that were never finished have left, and how it is removed: only that, by their journals."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from activeseg.core.errors import ActiveSegError, DatasetError
from activeseg.core.json_values import WrongField
from activeseg.core.records import Sha256, from_json
from activeseg.dataset.layout import LISTING, check_folders, label_file, named_file, record_file
from activeseg.dataset.listing import Listing
from activeseg.dataset.private_map import PrivateMap
from activeseg.system import file_lock
from activeseg.system.files import is_staging_folder, remove_abandoned, sync_to_disk
from activeseg.system.regular_files import is_link, own_path, read_bytes, read_json

LISTING_LIMIT = 64 * 2**20
LOCK = ".lock"
JOURNAL, COMMITTED = "journal.json", "committed"
_UNLOCKED_S = 600.0
"""A staging folder whose lock was never made is waste when it is so old; making the lock takes milliseconds."""


@dataclass(frozen=True)
class Journal:
    """What a staging folder says about its change: SHA-256 of the listing before and after it, and its files."""

    before: Sha256
    after: Sha256
    places: tuple[str, ...]
    obsolete: tuple[str, ...]
    forgotten: str

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """None when there is none, or it is none of ours."""
        try:
            journal = from_json(cls, read_json(own_path(path.parent, path.name)))
        except (ActiveSegError, WrongField):
            return None
        return journal if all(named_file(file) for file in (*journal.places, *journal.obsolete)) else None


def sweep(folder: Path, private: PrivateMap) -> tuple[str, ...]:
    """Remove what crashed writers left; gives the names. Skipped while somebody writes, or without the right to.

    Raises DatasetError when the dataset's folders are links.
    """
    check_folders(folder)
    try:
        lock = file_lock.acquire(folder / LOCK)
    except OSError:
        return ()
    if lock is None:
        return ()
    try:
        return tuple(sweep_locked(folder, private))
    finally:
        lock.release()


def sweep_locked(folder: Path, private: PrivateMap) -> list[str]:
    """``sweep``, by the one who is the only writer."""
    private.sweep()
    removed = remove_abandoned(folder)
    for staging in staging_folders(folder):
        if is_alive(staging, never_locked=False):
            continue
        with contextlib.suppress(ActiveSegError):  # a private file that cannot be changed now: the journal stays
            removed += _undo(folder, staging, private)
            shutil.rmtree(staging, ignore_errors=True)
            removed.append(staging.name)
    return removed


def _undo(folder: Path, staging: Path, private: PrivateMap) -> list[str]:
    """Remove the files that the change of a process that is gone has left, in the dataset and in the private map."""
    removed = []
    for file in waste_of(folder, staging):
        path = own_path(folder, file, DatasetError)
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(file)
    for parent in {(folder / file).parent for file in removed}:
        with contextlib.suppress(OSError):
            sync_to_disk(parent)
    journal, committed = journal_of(folder, staging)
    if journal is None:
        return removed
    if committed and journal.forgotten and journal.forgotten not in Listing.read(folder).cases:
        private.forget(journal.forgotten)
    if not committed and _sha256_of_listing(folder) == journal.before:
        private.forget_change(staging.name.removeprefix(".staging-"))
    return removed


def waste_of(folder: Path, staging: Path) -> list[str]:
    """The files that a change has left, or is about to remove, by its journal; relative to the dataset's folder.

    Of a change that was committed what it made obsolete, of another one what it had placed. When ``dataset.json`` is
    neither of the two that the change knew, somebody put another one there, and nothing is known to be waste.
    """
    journal, committed = journal_of(folder, staging)
    if journal is None:
        return []
    now = _sha256_of_listing(folder)
    if now not in ((journal.after,) if committed else (journal.before, journal.after)):
        return []
    files = journal.obsolete if committed or now == journal.after else journal.places
    known = _listed(Listing.read(folder))
    return [file for file in files if file not in known]


def waste(folder: Path) -> set[str]:
    """``waste_of`` all changes, those included that go on at this moment."""
    return {file for staging in staging_folders(folder) for file in waste_of(folder, staging)}


def _listed(listing: Listing) -> set[str]:
    """Images, current label map and record of each case; what a change may place or make obsolete."""
    found: set[str] = set()
    for name, entry in listing.cases.items():
        found |= {*listing.images_of(name), label_file(name, entry.revision), record_file(name, entry.revision)}
    return found


def journal_of(folder: Path, staging: Path) -> tuple[Journal | None, bool]:
    """The journal, and whether its change was committed for sure."""
    return Journal.read(staging / JOURNAL), os.path.lexists(staging / COMMITTED)


def _sha256_of_listing(folder: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(own_path(folder, LISTING), LISTING_LIMIT)).hexdigest()
    except (OSError, ActiveSegError):
        return ""


def staging_folders(folder: Path) -> list[Path]:
    """Folders that have the name of our staging folders and are no links."""
    found = [path for path in folder.glob(".staging-*") if is_staging_folder(path.name)]
    return sorted(path for path in found if not is_link(path) and path.is_dir())


def sweep_beside(folder: Path) -> None:
    """Remove the staging folders of datasets whose makers are gone."""
    for path in staging_folders(folder):
        if not is_alive(path, never_locked=True):
            shutil.rmtree(path, ignore_errors=True)


def is_alive(staging: Path, never_locked: bool) -> bool:
    """Whether the process that made this staging folder still holds its lock.

    ``never_locked`` counts one without a lock as alive while it is young: its maker may not have come to locking it.
    Who holds the lock under which such folders are made knows better.
    """
    lock = staging / LOCK
    if not lock.exists() or is_link(lock):
        try:
            return never_locked and time.time() - staging.stat().st_mtime < _UNLOCKED_S
        except OSError:
            return False
    try:
        return file_lock.is_held(lock)
    except OSError:
        return True
