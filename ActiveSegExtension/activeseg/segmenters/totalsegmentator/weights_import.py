"""Weights from a file that was downloaded elsewhere, and the user's licence number: put where the package looks."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from activeseg.core.errors import InputError, ModelError
from activeseg.core.progress import Progress
from activeseg.core.sizes import size_text
from activeseg.segmenters.totalsegmentator.sandbox import LICENCE_LENGTH, UserHome
from activeseg.segmenters.totalsegmentator.tasks import LICENCE_PAGE, TaskModel, tasks
from activeseg.segmenters.totalsegmentator.weights import Weights, download_lock, inspect_weights
from activeseg.system.files import make_folder, remove_abandoned, write_json
from activeseg.system.regular_files import open_regular, read_json

LARGEST_BYTES = 8 << 30
"""Of one model, unzipped; the package's largest ones have about 1 GB."""
_PIECE_BYTES = 4 << 20
_NEW_CONFIGURATION = {"totalseg_id": "totalseg_ACTIVESG", "send_usage_stats": False, "prediction_counter": 0}


def import_weights(file: Path, user: UserHome, progress: Progress) -> TaskModel:
    """Unzip a model as TotalSegmentator publishes it; where there is none of it, it appears whole or not at all.

    In a folder that is there, each of its files takes the place of the one with that name; all others stay.

    Raises ModelError when the file is not the zip of one of the installed package's models, or a damaged one, or the
    weights cannot be written. Cancelled.
    """
    root = user.weights
    try:
        with open_regular(file) as opened, zipfile.ZipFile(opened) as archive:
            model = _model_in(archive, file)
            root.mkdir(parents=True, exist_ok=True)
            with download_lock(root, progress):
                _put(archive, file, model, root, progress)
    except InputError as error:
        raise _unusable(file, "it is not a regular file") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        # damaged, encrypted, packed in a way that Python lacks, cut off
        raise _unusable(file, f"it is no complete zip file ({error})") from error
    except OSError as error:
        raise ModelError(
            f"The weights in '{file}' could not be put into '{root}': {error}.",
            "Check that the file can be read, the disk's free space and the folder's permissions.",
        ) from error
    return model


def store_licence(number: str, user: UserHome) -> None:
    """Keep a licence number where TotalSegmentator looks for it; nothing is sent, its server asks at a download.

    Raises InputError for what is no licence number, ModelError when the configuration cannot be read or written.
    """
    number = number.strip()
    if not re.fullmatch(r"[A-Za-z0-9_]+", number) or len(number) != LICENCE_LENGTH:
        raise InputError(
            f"A TotalSegmentator licence number has {LICENCE_LENGTH} letters and digits, such as aca_XXXXXXXXXXXXXX.",
            f"Copy it from the e-mail that you got from {LICENCE_PAGE}",
        )
    path = user.home / "config.json"
    action = "It is TotalSegmentator's configuration: check it and its permissions, or remove it."
    found = read_json(path, ModelError, action) if os.path.lexists(path) else _NEW_CONFIGURATION
    try:
        make_folder(user.home)
        remove_abandoned(user.home)
        write_json(path, {**found, "license_number": number}, 0o600, indent=4)
    except OSError as error:
        raise ModelError(
            f"TotalSegmentator's configuration '{path}' cannot be changed: {error.strerror or error}.", action
        ) from error


def _model_in(archive: zipfile.ZipFile, file: Path) -> TaskModel:
    """The model whose folder is the one thing in the zip. Raises ModelError."""
    tops = set()
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0] in ("/", "") or ":" in parts[0]:
            raise _unusable(file, f"it holds a file with the name '{entry.filename[:100]}'")
        tops.add(parts[0])
    tops -= {"__MACOSX"}
    known = {model.dataset: model for task in tasks() if task.runnable for model in (*task.helpers(), *task.parts())}
    if len(tops) != 1 or not tops <= set(known):
        names = ", ".join(sorted(tops)[:3]) or "nothing"
        raise _unusable(file, f"it holds {names}, and no folder of one of TotalSegmentator's models")
    size = sum(entry.file_size for entry in archive.infolist())
    if size > LARGEST_BYTES:
        raise _unusable(file, f"unzipped it would have {size_text(size)}")
    return known[tops.pop()]


def _put(archive: zipfile.ZipFile, file: Path, model: TaskModel, root: Path, progress: Progress) -> None:
    size = sum(entry.file_size for entry in archive.infolist())
    free = shutil.disk_usage(root).free
    if size > free:
        raise ModelError(
            f"Too little disk space at '{root}': {size_text(size)} are needed, {size_text(free)} are free.",
            "Free some space.",
        )
    with tempfile.TemporaryDirectory(prefix=".activeseg-download-", dir=root, ignore_cleanup_errors=True) as place:
        done = 0
        for entry in archive.infolist():
            path = Path(place, *PurePosixPath(entry.filename.replace("\\", "/")).parts)
            if entry.is_dir() or path.relative_to(place).parts[0] != model.dataset:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, path.open("wb") as target:
                while piece := source.read(_PIECE_BYTES):
                    target.write(piece)
                    done += len(piece)
                    progress("unzip", min(1.0, done / max(size, 1)), model.dataset)
        finding = inspect_weights(model, Path(place))
        if finding.state is not Weights.READY:
            raise _unusable(file, finding.problem.replace(str(place), str(root)).rstrip("."))
        _move(Path(place) / model.dataset, root / model.dataset)


def _move(fresh: Path, place: Path) -> None:
    """Into its place, or, where a folder is there, each of its files into its own. Raises OSError."""
    if fresh.is_dir() and place.is_dir():
        for entry in list(fresh.iterdir()):
            _move(entry, place / entry.name)
    else:
        os.replace(fresh, place)


def _unusable(file: Path, why: str) -> ModelError:
    return ModelError(
        f"'{file.name}' cannot be used as weights of TotalSegmentator: {why}.",
        "Choose the zip of one model as it is published, such as Dataset297_TotalSegmentator_total_3mm_1559subj.zip.",
    )
