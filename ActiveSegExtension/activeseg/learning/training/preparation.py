"""What the network is trained on: a project's cases in the network's own label values, preprocessed by nnU-Net.

Nothing of the held-out cases is ever read here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.core.errors import InputError, ModelError, Remedy
from activeseg.core.label_map import smallest_dtype
from activeseg.core.labels import IGNORE, LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import Sha256
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset
from activeseg.dataset.layout import label_file
from activeseg.io.images import read_label_map, read_volume, write_volume
from activeseg.learning.project.holdout import CaseName, Side
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE
from activeseg.learning.training.parent_network import ParentNetwork
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter
from activeseg.system.files import replacing
from activeseg.system.regular_files import is_link, read_bytes

PLANS = "nnUNetPlans"
DATASET = "Dataset999_ActiveSeg"
_CASE_FILES = (".b2nd", "_seg.b2nd", ".pkl")  # that nnU-Net writes for a case


@dataclass(frozen=True)
class TrainingCases:
    """Which cases are trained on, by name, with the SHA-256 of their label files; no held-out one is among them.

    ``without_side`` and ``waiting`` are left out, and told.
    """

    corrected: Mapping[CaseName, Sha256]
    replayed: Mapping[CaseName, Sha256]
    without_side: tuple[CaseName, ...]
    waiting: tuple[CaseName, ...]

    @classmethod
    def of(cls, project: Project) -> TrainingCases:
        """As the project stands. Raises DatasetError, InputError when there is nothing to learn from."""
        without_side = project.admit_known()
        hold_out, dataset = project.state.hold_out, project.dataset()
        entries = dataset.cases()
        mine = [case for case in entries if hold_out.side(case) is Side.TRAIN]
        waiting = tuple(case for case in mine if entries[case].waiting)
        corrected = {case: _sha256(dataset, case) for case in mine if case not in waiting}
        replay = project.replay_dataset()
        images = {entry.voxels_sha256 for entry in entries.values()}  # what was corrected, or is held out
        replayed = (
            {case: _sha256(replay, case) for case, e in replay.cases().items() if e.voxels_sha256 not in images}
            if replay
            else {}
        )
        if not corrected:
            raise InputError(
                f"There is no case to learn from: {len(hold_out.on(Side.HELD_OUT))} are held out, {len(waiting)} wait "
                f"for structures, and {len(without_side)} have no patient ID.",
                "Export corrections, or assign a patient ID to the cases without one.",
                remedy=Remedy.ASSIGN_PATIENT,
            )
        return cls(corrected, replayed, without_side, waiting)

    def check_there(self, project: Project) -> None:
        """Raise InputError when one of them is not in the project any more."""
        replay = project.replay_dataset()
        there = {*project.dataset().cases(), *(replay.cases() if replay else ())}
        for case in (*self.corrected, *self.replayed):
            if case not in there:
                raise InputError(f"The case '{case}' is not in the project any more.", "Start a new fine-tuning.")

    def earlier(self, project: Project, parent: str) -> tuple[str, ...]:
        """Corrected cases that the parent was trained on as they are: they are replayed, too. None of them where all
        are such."""
        learnt = {} if parent == BASE else project.version(parent).data
        found = tuple(case for case, sha256 in self.corrected.items() if learnt.get(case) == sha256)
        return found if len(found) < len(self.corrected) else ()


def _sha256(dataset: Dataset, case: str) -> str:
    return dataset.record(case).current.label.sha256


def changed_voxels(project: Project, cases: Mapping[str, str]) -> dict[str, int]:
    """Structure of the base model -> voxels that were corrected in these cases; a truth counts all of a structure's."""
    dataset, matching = project.dataset(), project.state.matching
    found: dict[str, int] = {}
    for case in cases:
        provenance = dataset.record(case).current.provenance
        changes = provenance.correction.get("structures", [])
        for change in changes:
            name = matching.get(change["name"])
            if name is not None:
                found[name] = found.get(name, 0) + int(change["voxels_added"]) + int(change["voxels_removed"])
        if not changes:
            for name in matching.values():
                if name is not None:
                    found[name] = found.get(name, 0) + 1
    return found


@dataclass(frozen=True)
class Target:
    """The label values that the network will be trained with.

    Attributes
    ----------
    labels : nnU-Net's ``labels`` with ``ignore``
    value_of : structure of the dataset -> value; what belongs to another network of the model is left out
    new : structures that the network did not know
    schema : structures of the whole result
    kept : values of the network's own structures that the dataset does not have; the parent's result fills them in
    """

    labels: Mapping[str, Any]
    value_of: Mapping[str, int]
    new: tuple[str, ...]
    schema: LabelSchema
    kept: frozenset[int]

    @property
    def ignore(self) -> int:
        return int(self.labels[IGNORE])

    @classmethod
    def of(cls, parent: ParentNetwork, dataset: LabelSchema, matching: Mapping[str, str | None]) -> Target:
        """Raises ModelError when the network cannot get a new structure."""
        own = {name: value for name, value in parent.dataset["labels"].items() if name != IGNORE}
        value_of, new = {}, []
        for name in dataset.names:
            structure = matching.get(name)
            if structure is not None and structure not in parent.schema.names:
                raise ModelError(
                    f"The dataset's structure '{name}' is matched with '{structure}', which the model does not have.",
                    f"Begin another project, where it is matched with one of: {', '.join(parent.schema.names[:20])}.",
                )
            known = parent.values.get(structure if structure is not None else name)
            if known is not None:
                value_of[name] = known
            elif structure is None:
                new.append(name)
        if new and (parent.has_regions or parent.part):
            raise ModelError(
                f"'{new[0]}' cannot be added to this model: "
                + ("its structures overlap (regions)." if parent.has_regions else "TotalSegmentator's list is fixed."),
                "Leave it out of the dataset, or begin from another nnU-Net model.",
            )
        highest = max(_highest(value) for value in own.values())
        for number, name in enumerate(new, start=highest + 1):
            own[name] = value_of[name] = number
        schema = parent.schema
        if new:
            colors = {label.name: label.color for label in (*dataset.labels, *schema.labels)}
            terms = {label.name: label.terminology for label in (*dataset.labels, *schema.labels) if label.terminology}
            schema = LabelSchema.from_names([*schema.names, *new], colors, terms)
        kept = frozenset(range(1, highest + 1)) - set(value_of.values())
        return cls({**own, IGNORE: highest + len(new) + 1}, value_of, tuple(new), schema, kept)

    def values(self, labels: npt.NDArray[Any], dataset: LabelSchema) -> npt.NDArray[Any]:
        """A label map of the dataset in the network's values."""
        table = np.zeros(dataset.ignore_value + 1, smallest_dtype(self.ignore))
        for label in dataset.labels:
            table[label.value] = self.value_of.get(label.name, 0)
        table[dataset.ignore_value] = self.ignore
        result: npt.NDArray[Any] = table[labels]
        return result


def _highest(value: Any) -> int:
    return max(value) if isinstance(value, list) else int(value)


def prepare(
    project: Project,
    parent: ParentNetwork,
    cases: TrainingCases,
    target: Target,
    folder: Path,
    configuration: Mapping[str, Any],
    device: str,
    progress: Progress,
) -> None:
    """Write nnU-Net's preprocessed dataset into ``folder`` (``nnUNet_preprocessed``).

    ``configuration`` replaces numbers of the parent's configuration (batch size, patch). Cases that are there already
    are left, so that a killed run goes on, but only those that this installation prepared: nnU-Net's loader runs what
    their files say. Raises InputError, DatasetError, Cancelled.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    root = _own_folder(folder / DATASET)
    plans = json.loads(json.dumps(parent.plans))
    plans["dataset_name"] = DATASET
    plans["plans_name"] = PLANS
    plans["configurations"][parent.configuration].update(configuration)
    plans["configurations"][parent.configuration]["data_identifier"] = "cases"
    dataset_json = {**parent.dataset, "labels": dict(target.labels), "file_ending": ".nii.gz"}
    dataset_json["overwrite_image_reader_writer"] = plans["image_reader_writer"]
    for name, content in ((f"{PLANS}.json", plans), ("dataset.json", dataset_json), ("dataset_fingerprint.json", {})):
        with replacing(root / name, ".json") as fresh:
            fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
    manager = PlansManager(plans)
    chosen = manager.get_configuration(parent.configuration)
    preprocessor = chosen.preprocessor_class(verbose=False)
    output, scratch, signed = (_own_folder(root / name) for name in ("cases", "labels", "signed"))
    segmenter = NnUNetSegmenter(parent.folder) if target.kept else None
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
            _fill_in(labels, segmenter, dict(zip(dataset.channel_names, images, strict=True)), target, device, progress)
        file = scratch / f"{name}.nii.gz"
        file.unlink(missing_ok=True)
        write_volume(Volume(labels, stored.geometry), file)
        preprocessor.run_case_save(
            str(output / name), [str(image) for image in images], str(file), manager, chosen, dataset_json
        )
        with replacing(signed / name, "") as fresh:
            fresh.write_text(_signature(project, output, name), encoding="utf-8")
    progress("prepare", 1.0)


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


def _fill_in(
    labels: npt.NDArray[Any],
    segmenter: NnUNetSegmenter,
    images: Mapping[str, Path],
    target: Target,
    device: str,
    progress: Progress,
) -> None:
    """Structures that the dataset does not have would be unlearnt as background: take them from the parent."""
    volumes = {channel: read_volume(images[channel]) for channel in segmenter.channels}
    settings = Settings(device=device, members=1, mode=Mode.FAST)
    found = segmenter.segment(volumes, settings, Progress(cancelled=progress.cancelled)).labels
    kept = np.isin(found, list(target.kept)) & (labels == 0)
    labels[kept] = found[kept]


def published_labels(target: Target) -> dict[str, Any]:
    """``labels`` of the version's dataset.json: without ``ignore``, which only training needs."""
    return {name: value for name, value in target.labels.items() if name != IGNORE}


def check_images_fit(parent: ParentNetwork, dataset: Dataset) -> None:
    """Raise InputError when the dataset's images are not those that the network needs."""
    needed, given = len(parent.channels), len(dataset.channel_names)
    if needed != given:
        raise InputError(f"The dataset has {given} images for each case, the model {needed}.")
