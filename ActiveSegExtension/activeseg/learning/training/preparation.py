"""A project's cases in the network's own label values, preprocessed by nnU-Net."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Segmenter, Settings
from activeseg.core.volume import Volume
from activeseg.dataset.layout import label_file
from activeseg.io.images import read_label_map, read_volume, write_volume
from activeseg.learning.project.project import Project
from activeseg.learning.training.target import Target
from activeseg.learning.training.training_basis import TrainingBasis
from activeseg.learning.training.training_plan import TrainingPlan
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter
from activeseg.system.files import replacing, write_json
from activeseg.system.regular_files import is_link, read_bytes

PLANS = "nnUNetPlans"
DATASET = "Dataset999_ActiveSeg"
_CASE_FILES = (".b2nd", "_seg.b2nd", ".pkl")  # that nnU-Net writes for a case


def prepare(project: Project, basis: TrainingBasis, plan: TrainingPlan, folder: Path, progress: Progress) -> None:
    """Write nnU-Net's preprocessed dataset into ``folder`` (``nnUNet_preprocessed``).

    Cases that are there already are left, so that a killed run goes on, but only those that this installation prepared:
    nnU-Net's loader runs what their files say. Raises InputError, DatasetError, Cancelled.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    cases, target = basis.cases, basis.target
    root = _own_folder(folder / DATASET)
    plans, described = _described(basis, plan)
    for name, content in ((f"{PLANS}.json", plans), ("dataset.json", described), ("dataset_fingerprint.json", {})):
        write_json(root / name, content)
    manager = PlansManager(plans)
    chosen = manager.get_configuration(basis.network.configuration)
    preprocessor = chosen.preprocessor_class(verbose=False)
    output, scratch, signed = (_own_folder(root / name) for name in ("cases", "labels", "signed"))
    segmenter = NnUNetSegmenter(basis.network.folder) if target.kept else None
    replay = project.replay_dataset()
    work = [(f"new_{case}", project.dataset(), case) for case in cases.corrected]
    work += [(f"replay_{case}", replay, case) for case in cases.replayed if replay is not None]
    _keep_only(output, {f"{name}{end}" for name, _, _ in work for end in _CASE_FILES})
    for done, (name, dataset, case) in enumerate(work):
        progress("prepare", done / len(work), case)
        if _is_own(project, output, signed / name, name):
            continue
        _keep_only(output, {file.name for file in output.iterdir()} - {f"{name}{end}" for end in _CASE_FILES})
        images = [dataset.folder / image for image in dataset.listing().images_of(case)]
        stored = read_label_map(dataset.folder / label_file(case, dataset.listing().entry(case).revision))
        labels = target.values(stored.array, dataset.schema)
        if segmenter is not None:
            files = dict(zip(dataset.channel_names, images, strict=True))
            labels = _filled_in(labels, target, _found(segmenter, files, plan.device, progress))
        file = scratch / f"{name}.nii.gz"
        file.unlink(missing_ok=True)
        write_volume(Volume(labels, stored.geometry), file)
        preprocessor.run_case_save(
            str(output / name), [str(image) for image in images], str(file), manager, chosen, described
        )
        with replacing(signed / name, "") as fresh:
            fresh.write_text(_signature(project, output, name), encoding="utf-8")
    progress("prepare", 1.0)


def _described(basis: TrainingBasis, plan: TrainingPlan) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network's plans with the numbers of this training, and the dataset's description, as nnU-Net reads them."""
    network = basis.network
    plans = json.loads(json.dumps(network.plans))
    configuration = plans["configurations"][network.configuration]
    if plan.batch_size is not None:
        configuration["batch_size"] = plan.batch_size
    if plan.patch_kji is not None:
        configuration["patch_size"] = list(plan.patch_kji)
    configuration["data_identifier"] = "cases"
    plans |= {"dataset_name": DATASET, "plans_name": PLANS}
    described = {**network.dataset, "labels": dict(basis.target.labels), "file_ending": ".nii.gz"}
    described["overwrite_image_reader_writer"] = plans["image_reader_writer"]
    return plans, described


def _own_folder(path: Path) -> Path:
    """That folder, made where it is missing; a link is removed, so that nothing is written where it leads."""
    if is_link(path):
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)
    return path


def _keep_only(folder: Path, names: AbstractSet[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names or is_link(path):
            shutil.rmtree(path) if path.is_dir() and not is_link(path) else path.unlink()


def _is_own(project: Project, folder: Path, signed: Path, name: str) -> bool:
    """Whether the files of a prepared case are what this installation wrote."""
    if not all((folder / f"{name}{end}").is_file() for end in _CASE_FILES):
        return False
    try:
        said = read_bytes(signed, 1000)
    except (OSError, InputError):
        return False
    return hmac.compare_digest(said, _signature(project, folder, name).encode())


def _signature(project: Project, folder: Path, name: str) -> str:
    sums = [name]
    for end in _CASE_FILES:
        with (folder / f"{name}{end}").open("rb") as file:
            sums.append(hashlib.file_digest(file, "sha256").hexdigest())
    return project.signature("\n".join(sums).encode())


def _found(segmenter: Segmenter, files: Mapping[str, Path], device: str, progress: Progress) -> npt.NDArray[Any]:
    """The parent's label map of a case."""
    volumes = {channel: read_volume(files[channel]) for channel in segmenter.channels}
    settings = Settings(device=device, members=1, mode=Mode.FAST)
    return segmenter.segment(volumes, settings, Progress(cancelled=progress.cancelled)).labels


def _filled_in(labels: npt.NDArray[Any], target: Target, found: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Structures that the dataset does not have would be unlearnt as background: they are taken from the parent."""
    result: npt.NDArray[Any] = np.where(np.isin(found, list(target.kept)) & (labels == 0), found, labels)
    return result.astype(labels.dtype, copy=False)
