"""Whether a project's files fit together, and how to mend them: nothing is deleted, what is damaged is set aside."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, DatasetError, ModelError, shown
from activeseg.core.records import HEX_64, UNFIT, shortly
from activeseg.learning.project.project import MEASUREMENTS, REPLAY, RUNS, VERSIONS, Project
from activeseg.learning.project.state import FILE, ProjectState, now
from activeseg.learning.project.version import BASE, CURRENT, DAMAGED, FORMAT, RECORD, VERSION_ID, Version
from activeseg.learning.training.run_folder import RUN_ID, RunFolder
from activeseg.system.files import replacing, sync_to_disk, write_json
from activeseg.system.regular_files import is_link, own_path, read_bytes, read_json

_RESTORE = "Restore it from a backup."


@dataclass(frozen=True)
class Problem:
    """``mending`` is what repairing does about it; empty where only a person can."""

    where: str
    what: str
    mending: str = ""


def check_project(folder: Path, repair: bool = False, private_dir: Path | None = None) -> list[Problem]:
    """Everything that is wrong, and with ``repair`` mend what can be.

    Raises DatasetError when there is no project, or its file is no JSON: then only a backup helps; or when that file
    cannot be written.
    """
    folder = Path(folder).expanduser().absolute()
    if not any(os.path.lexists(folder / name) for name in (FILE, VERSIONS, RUNS)):
        raise DatasetError(f"There is no project in '{folder}'.", "Check the path.")
    content = read_json(own_path(folder, FILE, DatasetError), DatasetError, _RESTORE)
    links = [
        Problem(name, "It is a link, through which nothing is read or written. Replace it by what it leads to.")
        for name in (VERSIONS, RUNS, REPLAY, MEASUREMENTS)
        if is_link(folder / name)
    ]
    if links:
        return links
    project = Project(folder, private_dir)
    with project.locked() if repair else contextlib.nullcontext():
        found = _Check(repair)
        _check_versions(project, found)
        _check_file(project, content, found)
    _check_runs(project, found)
    _check_private_key(project, found)
    _check_datasets(project, found)
    return found.problems


class _Check:
    def __init__(self, repair: bool) -> None:
        self.repair = repair
        self.problems: list[Problem] = []

    def tell(self, where: str, what: str, mending: str = "", mend: Callable[[], object] | None = None) -> None:
        """Note it, and mend it when that is wanted."""
        if self.repair and mend is not None:
            try:
                mend()
            except OSError as error:
                what, mending = f"{what} It could not be mended: {error.strerror or error}.", ""
        self.problems.append(Problem(where, what, mending))


def _check_versions(project: Project, found: _Check) -> None:
    folder = project.folder / VERSIONS
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not VERSION_ID.fullmatch(path.name):
            continue
        where = f"{VERSIONS}/{path.name}"
        try:
            Version.read(project.version_folder(path.name), path.name)
        except ModelError as error:
            if _is_of_another_format(path):
                found.tell(where, error.message)  # an ActiveSeg that knows it can use it
                continue
            parent = None if is_link(path) else _mended_parent(project, path)
            if parent is not None:
                found.tell(
                    where,
                    error.message,
                    f"its parent becomes '{parent['parent']}'",
                    lambda path=path, record=parent: write_json(path / RECORD, record),  # type: ignore[misc]
                )
            else:
                aside = path.with_name(f"{DAMAGED}{path.name}")
                found.tell(
                    where,
                    error.message,
                    f"set aside as '{VERSIONS}/{aside.name}'",
                    lambda path=path: _set_aside(path),  # type: ignore[misc]
                )


def _is_of_another_format(path: Path) -> bool:
    try:
        format = read_json(own_path(path, RECORD)).get("format")
    except ActiveSegError:
        return False
    return type(format) is int and format > FORMAT


def _mended_parent(project: Project, path: Path) -> dict[str, Any] | None:
    """The record of a version with the id that its parent's means (``v0001/``), if it is whole otherwise."""
    try:
        record = read_json(own_path(path, RECORD))
        before, record["parent"] = record["parent"], meant_version(str(record["parent"]))
        if record["parent"] == before or record.get("format") != FORMAT:
            return None
        Version.from_dict(record)
    except (ActiveSegError, *UNFIT):
        return None
    return record


def meant_version(id: str) -> str:
    """The id that a path to a version means: ``v0001/``, ``./v0001`` and ``../versions/v0001`` are ``v0001``.

    Raises ValueError when it means none.
    """
    name = posixpath.basename(posixpath.normpath(id.replace("\\", "/")))
    if not CURRENT.fullmatch(name):
        raise ValueError(f"{shown(id)} means no version")
    return name


def _check_file(project: Project, content: dict[str, Any], found: _Check) -> None:
    """``project.json``: the current version, and the promotions."""
    there = {BASE, *project.versions()}
    mended = dict(content)
    promotions = content.get("promotions")
    kept = []
    if not isinstance(promotions, list):
        found.tell(FILE, f"'promotions' is {shown(promotions)}, not a list.", "becomes empty", _nothing)
    for number, entry in enumerate(promotions if isinstance(promotions, list) else []):
        try:
            version = meant_version(str(entry["version"]))
        except (*UNFIT,):
            found.tell(FILE, f"'promotions[{number}]' names no version.", "the entry is left out", _nothing)
            continue
        if version != entry["version"]:
            told = f"'promotions[{number}].version' is {shown(entry['version'])}."
            found.tell(FILE, told, f"becomes '{version}'", _nothing)
        kept.append({**entry, "version": version})
    mended["promotions"] = kept
    current = str(content.get("current"))
    try:
        meant = meant_version(current)
    except ValueError:
        meant = ""
    if meant != current or meant not in there:
        last = next((p["version"] for p in reversed(kept) if p["version"] in there), BASE)
        new = meant if meant in there else last
        why = "is no version's id" if meant != current else "is a version that is missing or damaged"
        found.tell(FILE, f"'current' is {shown(current)}, which {why}.", f"'{new}' becomes current", _nothing)
        mended["current"] = new
        kept.append({"time": now(), "version": new, "by": "check", "reason": f"repaired: it was {shown(current)}"})
    try:
        ProjectState.from_dict(mended)
    except (ActiveSegError, *UNFIT) as error:
        found.tell(FILE, f"It is damaged: {shortly(error)}. {_RESTORE}")
        return
    if found.repair and mended != content:
        _write_beside(project.folder / FILE, mended)


def _check_runs(project: Project, found: _Check) -> None:
    folder = project.folder / RUNS
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not RUN_ID.fullmatch(path.name):
            continue
        try:
            run = RunFolder(path)
            run.check()
            run.asked, run.state  # noqa: B018  (reading them is the check)
        except ActiveSegError as error:
            aside = path.with_name(f"{DAMAGED}{path.name}")
            found.tell(
                f"{RUNS}/{path.name}",
                error.message,
                f"set aside as '{RUNS}/{aside.name}'",
                lambda path=path: _set_aside(path),  # type: ignore[misc]
            )


def _check_private_key(project: Project, found: _Check) -> None:
    with contextlib.suppress(ActiveSegError):
        path = project.key_file
        if path.exists() and not HEX_64.fullmatch(read_bytes(path, 1000).decode("ascii", "replace").strip()):
            found.tell(str(path), "It is not the 64 hex digits by which patients are told apart. " + _RESTORE)


def _check_datasets(project: Project, found: _Check) -> None:
    for where, opened in (("dataset", project.dataset), (REPLAY, project.replay_dataset)):
        try:
            opened()
        except DatasetError as error:
            found.tell(where, str(error))


def _nothing() -> None:
    """The file is written once, at the end."""


def _set_aside(path: Path) -> None:
    """Rename a folder, or the link itself, so that it is not mistaken for ActiveSeg's."""
    os.rename(path, _aside(path))
    sync_to_disk(path.parent)


def _aside(path: Path) -> Path:
    """A name beside it that is free."""
    aside = path.with_name(f"{DAMAGED}{path.name}")
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{DAMAGED}{path.name}-{number}")
    return aside


def _write_beside(path: Path, content: dict[str, Any]) -> None:
    """Replace the project's file, of which a copy stays. Raises DatasetError; then it is as it was."""
    try:
        with replacing(_aside(path), ".json") as copy:
            shutil.copyfile(path, copy)
        write_json(path, content)
    except OSError as error:
        raise DatasetError(
            f"The file '{path.name}' could not be mended: {error.strerror or error}.",
            "Check the disk's free space and the folder's permissions.",
        ) from error
