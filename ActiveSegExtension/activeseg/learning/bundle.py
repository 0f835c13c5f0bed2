"""A version as one file, for another installation, which does not have to trust it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from activeseg.dataset.record import StoredFile
from activeseg.errors import ActiveSegError, InputError, ModelError
from activeseg.labels import LabelSchema
from activeseg.learning.parent import CHECKPOINT
from activeseg.learning.project import VERSIONS, Project
from activeseg.learning.version import MEASURED, MODEL, RECORD, ModelKind, Version, add_version
from activeseg.progress import Progress
from activeseg.volume import replacing, staging_folder

FORMAT = 1
_MANIFEST = "activeseg-version.json"
_NAME = re.compile(rf"{RECORD}|{MEASURED}|{MODEL}(/(?!\.)[\w.+-]+)+\.(json|pth)")
_MOST_FILES, _MOST_BYTES = 500, 16 << 30
_BLOCK = 1 << 20
_UNFIT = (KeyError, ValueError, TypeError, AttributeError, OSError, RuntimeError)
"""What reading something else raises; RuntimeError for an encrypted file or too deep JSON."""
_LAYERS = ("torch.nn.", "dynamic_network_architectures.")
"""Where the classes are that a network may be built of: plans name them, and nnU-Net imports whatever they name."""


def export_version(project: Project, id: str, file: Path, progress: Progress | None = None) -> None:
    """Write a version into one file (``.zip``). Raises InputError when it is there already, ModelError."""
    progress = progress or Progress()
    version, folder = project.version(id), project.version_folder(id)
    if file.exists():
        raise InputError(f"'{file}' exists already.", "Choose another name.")
    paths = [folder / RECORD, folder / MEASURED, *sorted(_own_files(folder / MODEL))]
    paths = [path for path in paths if path.exists()]
    files = [StoredFile.of(path, path.relative_to(folder).as_posix()) for path in paths]
    sums = {stored.file: stored.sha256 for stored in files}
    manifest = {"format": FORMAT, "project": project.state.name, "version": version.id, "sha256": sums}
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file, ".zip") as fresh, zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
        for done, path in enumerate(paths):
            progress("export", done / len(paths), path.name)
            archive.write(path, path.relative_to(folder).as_posix())


def _own_files(model: Path) -> list[Path]:
    """Without what only leads to the user's other weights."""
    found = []
    for path in model.iterdir():
        if path.is_symlink():
            continue
        found += _own_files(path) if path.is_dir() else [path]
    return found


def import_version(project: Project, file: Path, progress: Progress | None = None) -> Version:
    """Add a version from a file; it is not current. Nothing in the file is run, and nothing is written elsewhere.

    Raises InputError when the file is no version, was changed, or holds more than weights; or is for other structures.
    """
    progress = progress or Progress()
    versions = project.folder / VERSIONS
    versions.mkdir(exist_ok=True)
    staging = staging_folder(versions)
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = _manifest(archive)
            _extract(archive, manifest["sha256"], staging, progress)
        version = _record(staging)
        _check_model(staging / MODEL, version)
        known = set(project.state.matching.values()) | set(project.state.matching)
        names = LabelSchema.from_dict(version.schema).names
        if not known & set(names):
            raise InputError(f"The version's structures ({', '.join(names[:3])}, ...) are none of this project's.")
        (staging / RECORD).unlink()
        origin = f"{manifest['project']} {manifest['version']}"
        return add_version(versions, staging, lambda id: replace(version, id=id, imported=origin))
    except (zipfile.BadZipFile, zlib.error, *_UNFIT) as error:
        raise InputError(f"'{file}' is no version that can be imported: {error}.", "Export it again.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    if archive.getinfo(_MANIFEST).file_size > 1 << 20:
        raise ValueError("its list of files is too long")
    manifest: dict[str, Any] = json.loads(archive.read(_MANIFEST))
    if manifest["format"] != FORMAT:
        raise ValueError(f"it has format {manifest['format']}, this ActiveSeg knows {FORMAT}")
    names = set(archive.namelist()) - {_MANIFEST}
    if names != set(manifest["sha256"]) or len(names) > _MOST_FILES:
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


def _check_model(model: Path, version: Version) -> None:
    """Every checkpoint is loaded by the safe unpickler, which refuses whatever weights never need."""
    import pickle

    import torch

    from activeseg.segmenters.nnunet import NnUNetSegmenter
    from activeseg.segmenters.safe_loading import safe_unpickling

    checkpoints = sorted(model.rglob("*.pth"))
    if not checkpoints:
        raise ValueError("it has no weights")
    for path in checkpoints:
        try:
            with safe_unpickling():
                content = torch.load(path, map_location="cpu", weights_only=True)
            weights = content["network_weights"]
            if path.name != CHECKPOINT or not all(isinstance(tensor, torch.Tensor) for tensor in weights.values()):
                raise ValueError(f"'{path.name}' is no checkpoint")
        except (pickle.UnpicklingError, RuntimeError, AttributeError, EOFError) as error:
            raise ValueError(f"'{path.parent.name}/{path.name}' is not only weights") from error
    try:
        names = LabelSchema.from_dict(version.schema).names
        if version.kind is ModelKind.NNUNET and NnUNetSegmenter(model).schema.names != names:
            raise ValueError("its model has other structures than it says")
    except ActiveSegError as error:
        raise ValueError(str(error)) from error
    for path in model.rglob("plans.json"):
        _check_layers(json.loads(path.read_text(encoding="utf-8")))


def _check_layers(plans: Mapping[str, Any]) -> None:
    """Raises ValueError when a network would be built of something else than layers."""
    import pydoc

    import torch

    for configuration in plans["configurations"].values():
        architecture = configuration.get("architecture")
        if architecture is None:  # plans of nnU-Net's first years name no classes
            continue
        arguments = architecture["arch_kwargs"]
        named = [architecture["network_class_name"]]
        named += [arguments[key] for key in architecture["_kw_requires_import"] if arguments.get(key) is not None]
        for name in named:
            found = pydoc.locate(name) if name.startswith(_LAYERS) else None
            if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
                raise ValueError(f"'{name}' is no layer of a network")
