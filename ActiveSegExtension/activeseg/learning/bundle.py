"""A version as one file, for another installation, which does not have to trust it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from activeseg.core.errors import ActiveSegError, InputError, ModelError
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import Matches, Sha256, from_json, to_json
from activeseg.dataset.record import StoredFile
from activeseg.learning.project.project import VERSIONS, Project
from activeseg.learning.project.version import MEASURED, MODEL, RECORD, VERSION_ID, ModelKind, Version, add_version
from activeseg.learning.training.parent_network import CHECKPOINT
from activeseg.system.files import replacing, staging_folder
from activeseg.system.regular_files import is_link, open_regular

FORMAT = 1
_MANIFEST = "activeseg-version.json"
_NAME = re.compile(rf"{RECORD}|{MEASURED}|{MODEL}(/(?!\.)[\w.+-]+)+\.(json|pth)")
_PROJECT = re.compile(r"[^\x00-\x1f]{1,255}")
_MOST_FILES, _MOST_BYTES = 500, 16 << 30
_BLOCK = 1 << 20
_UNFIT = (KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError)
"""What reading something else raises; RuntimeError for an encrypted file or too deep JSON."""


@dataclass(frozen=True)
class _Manifest:
    """The list of files, and which project's version they are."""

    format: int
    project: Annotated[str, Matches(_PROJECT)]
    version: Annotated[str, Matches(VERSION_ID)]
    sha256: Mapping[str, Sha256]


def export_version(project: Project, id: str, file: Path, progress: Progress | None = None) -> None:
    """Write a version into one file (``.zip``). Raises InputError when it is there already, ModelError."""
    progress = progress or Progress()
    version, folder = project.version(id), project.version_folder(id)
    if file.exists():
        raise InputError(f"'{file}' exists already.", "Choose another name.")
    described = _described(folder / MODEL)
    paths = [folder / RECORD, folder / MEASURED, *sorted(_own_files(folder / MODEL))]
    paths = [path for path in paths if path.exists()]
    sums = {
        path.relative_to(folder).as_posix(): hashlib.sha256(described[path]).hexdigest()
        if path in described
        else StoredFile.of(path, path.name).sha256
        for path in paths
    }
    manifest = _Manifest(FORMAT, project.state.name, version.id, sums)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file, ".zip") as fresh, zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_MANIFEST, json.dumps(to_json(manifest), indent=1))
        for done, path in enumerate(paths):
            progress("export", done / len(paths), path.name)
            name = path.relative_to(folder).as_posix()
            if path in described:
                archive.writestr(name, described[path])
            else:
                archive.write(path, name)


def _described(model: Path) -> dict[Path, bytes]:
    """The JSON files of a version's networks with only what is needed, from any source. Raises ModelError."""
    from activeseg.segmenters.nnunet.model_folder_check import check_model_folder

    found = {}
    for path in _own_files(model):
        if path.name == "plans.json":
            checked = check_model_folder(path.parent)
            for name, content in (("plans.json", checked.plans), ("dataset.json", checked.dataset)):
                found[path.parent / name] = (json.dumps(content, indent=1) + "\n").encode()
    return found


def _own_files(model: Path) -> list[Path]:
    """Without what only leads to the user's other weights."""
    found = []
    for path in model.iterdir():
        if is_link(path):
            continue
        found += _own_files(path) if path.is_dir() else [path]
    return found


def import_version(project: Project, file: Path, progress: Progress | None = None) -> Version:
    """Add a version from a file; it is not current. Nothing in the file is run, and nothing is written elsewhere.

    Raises InputError when the file is no version, was changed, or holds more than weights; or is for other structures.
    """
    if not file.exists():
        raise InputError(f"There is no file '{file}'.", "Check the path.")
    progress = progress or Progress()
    versions = project.folder / VERSIONS
    versions.mkdir(exist_ok=True)
    staging = staging_folder(versions)
    try:
        with open_regular(file) as opened, zipfile.ZipFile(opened) as archive:
            _check_stored(archive, os.fstat(opened.fileno()).st_size)
            manifest = _manifest(archive)
            _extract(archive, manifest.sha256, staging, progress)
        version = _record(staging)
        _check_structures(staging / MODEL, version)
        known = set(project.state.matching.values()) | set(project.state.matching)
        names = LabelSchema.from_dict(version.schema).names
        if not known & set(names):
            raise InputError(f"The version's structures ({', '.join(names[:3])}, ...) are none of this project's.")
        _check_networks(staging / MODEL)
        (staging / RECORD).unlink()
        origin = f"{manifest.project} {manifest.version}"
        return add_version(versions, staging, lambda id: replace(version, id=id, imported=origin))
    except (zipfile.BadZipFile, zlib.error, *_UNFIT) as error:
        raise InputError(f"'{file}' is no version that can be imported: {error}.", "Export it again.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Nothing in it is larger than it is in the file."""
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"'{info.filename}' in it is compressed, which ActiveSeg's own files never are")
    if sum(info.file_size for info in archive.infolist()) > size:
        raise ValueError("its parts are larger than the file")


def _manifest(archive: zipfile.ZipFile) -> _Manifest:
    if archive.getinfo(_MANIFEST).file_size > 1 << 20:
        raise ValueError("its list of files is too long")
    manifest = from_json(_Manifest, json.loads(archive.read(_MANIFEST)))
    if manifest.format != FORMAT:
        raise ValueError(f"it has format {manifest.format}, this ActiveSeg knows {FORMAT}")
    names = set(archive.namelist()) - {_MANIFEST}
    if names != set(manifest.sha256) or len(names) > _MOST_FILES:
        raise ValueError("it holds other files than it says")
    for name in names:
        if not _NAME.fullmatch(name) or ".." in name:
            raise ValueError(f"'{name}' has no place in a version")
    if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
        raise ValueError("it is larger than 16 GB")
    return manifest


def _extract(archive: zipfile.ZipFile, sums: Mapping[str, str], target: Path, progress: Progress) -> None:
    for done, (name, expected) in enumerate(sums.items()):
        progress("import", done / len(sums), name)
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        found = hashlib.sha256()
        with archive.open(name) as source, path.open("xb") as copy:
            while block := source.read(_BLOCK):
                found.update(block)
                copy.write(block)
        if found.hexdigest() != expected:
            raise ValueError(f"'{name}' was changed")


def _record(staging: Path) -> Version:
    try:
        return Version.read(staging)
    except ModelError as error:
        raise ValueError(f"its {RECORD} is missing, damaged, or of a later ActiveSeg") from error


def _check_structures(model: Path, version: Version) -> None:
    from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter

    try:
        names = LabelSchema.from_dict(version.schema).names
        if version.kind is ModelKind.NNUNET and NnUNetSegmenter(model).schema.names != names:
            raise ValueError("its model has other structures than it says")
    except ActiveSegError as error:
        raise ValueError(error.message.rstrip(".")) from error


def _check_networks(model: Path) -> None:
    """Every network is what its plans say and is known to nnU-Net, and its checkpoints hold weights alone."""
    from activeseg.segmenters.nnunet.checkpoint_file import read_checkpoint
    from activeseg.segmenters.nnunet.model_folder_check import check_model_folder
    from activeseg.segmenters.nnunet.network import check_network

    checkpoints = sorted(model.rglob("*.pth"))
    if not checkpoints:
        raise ValueError("it has no weights")
    for path in checkpoints:
        if path.name != CHECKPOINT or not path.parent.name.startswith("fold_"):
            raise ValueError(f"'{path.name}' is no checkpoint")
        try:
            check_network(check_model_folder(path.parent.parent), read_checkpoint(path))
        except ModelError as error:
            raise ValueError(error.message.rstrip(".")) from error
