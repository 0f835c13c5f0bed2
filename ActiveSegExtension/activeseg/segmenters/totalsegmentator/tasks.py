"""The tasks of the installed TotalSegmentator, read from its own tables.

Only the package's tables are imported, neither torch nor its networks, so that a list of models appears at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from activeseg.core.errors import ModelError, Remedy
from activeseg.core.labels import Code, LabelSchema, Terminology
from activeseg.core.segmenter import ModelGroup

FAMILY = "totalsegmentator"
MODES = ("fast", "fastest")
_WHOLE_BODY = ("total", "body")
_ZIP_BYTES = {298: 134_800_000, 297: 135_400_000, **dict.fromkeys(range(291, 296), 234_000_000)}
"""Dataset number -> about what its published zip has. The package does not know sizes before it downloads; others were
not measured."""
PLANS = "nnUNetPlans"  # what totalsegmentator() passes on unless it is called with other plans
RELEASES = "https://github.com/wasserth/TotalSegmentator/releases/download"  # as in totalsegmentator/libs.py
LICENCE_PAGE = "https://backend.totalsegmentator.com/license-academic/"


@dataclass(frozen=True)
class TaskModel:
    """One trained model folder of the package.

    Attributes
    ----------
    dataset_id : nnU-Net's dataset number, the package's ``task_id``
    dataset : name of the dataset's folder below the weights' root
    trained : folder below it, ``<trainer>__<plans>__<configuration>``
    configuration : nnU-Net's configuration (``3d_fullres``, ``3d_fullres_high``, ...)
    folds : folds that vote, None for all that are there
    spacing_xyz : mm to which the package resamples its image; None where it leaves that to nnU-Net's plans
    classes : label value of this network -> structure; other foreground values are auxiliary and become background
    url : where its zip is published, None if it is served to licence holders only or not at all
    licensed : whether the licence server must be asked for it
    """

    dataset_id: int
    dataset: str
    trained: str
    configuration: str
    folds: tuple[int, ...] | None
    spacing_xyz: tuple[float, float, float] | None
    classes: Mapping[int, str]
    url: str | None
    licensed: bool

    @property
    def download_bytes(self) -> int | None:
        """About what its zip has, or None where that is not known."""
        return _ZIP_BYTES.get(self.dataset_id)

    def folder(self, weights: Path) -> Path:
        """Where it lies below the weights' root."""
        return weights / self.dataset / self.trained


@dataclass(frozen=True)
class Task:
    """A task of the package in one of its modes (``""`` is its default; ``fast`` and ``fastest`` where it has them)."""

    task: str
    mode: str = ""

    @property
    def name(self) -> str:
        return f"{self.task}-{self.mode}" if self.mode else self.task

    @cached_property
    def config(self) -> dict[str, Any]:
        """The package's configuration of this task and mode (``python_api.get_task_config``, which needs torch)."""
        from totalsegmentator.map_tasks_config import DEFAULT_CONFIG, TASK_CONFIGS

        raw = TASK_CONFIGS[self.task]
        chosen = raw["sub_modes"][self.mode or "default"] if "sub_modes" in raw else raw
        return {**DEFAULT_CONFIG, **chosen}

    @property
    def modality(self) -> str:
        from totalsegmentator.registry import task_modality

        return str(task_modality(self.task))

    @property
    def licensed(self) -> bool:
        from totalsegmentator.registry import requires_license

        return bool(requires_license(self.task))

    @property
    def spacing_xyz(self) -> tuple[float, float, float] | None:
        """Spacing in mm to which the package resamples the image; None where it leaves that to nnU-Net's plans."""
        spacing = self.config["resample"]
        if spacing is None:
            return None
        x, y, z = (spacing,) * 3 if isinstance(spacing, int | float) else spacing
        return float(x), float(y), float(z)

    @cached_property
    def schema(self) -> LabelSchema:
        """Structures in the package's order, with the terminology and colours that it ships."""
        from totalsegmentator.dicom_utils import load_color_mapping
        from totalsegmentator.registry import get_task_classes

        classes = get_task_classes(self.task)
        names = [classes[value] for value in sorted(classes)]
        return LabelSchema.from_names(names, load_color_mapping(), _terminology())

    @property
    def group(self) -> ModelGroup:
        """Where a list offers it: its tasks of everything, and all others."""
        return ModelGroup.WHOLE_BODY if self.task.partition("_")[0] in _WHOLE_BODY else ModelGroup.ORGANS

    @property
    def summary(self) -> str:
        """One line for a list."""
        names = self.schema.names
        few = ", ".join(name.replace("_", " ") for name in names[:3])
        return few if len(names) <= 3 else f"{few} and {len(names) - 3} more"

    def takes_subset(self, structures: Sequence[str]) -> bool:
        """Whether the package's own ``roi_subset`` can do it: total tasks only, and only what its rough model finds."""
        if not structures or not self.task.startswith("total"):
            return False
        rough = _classes_of_task(_rough_task(self.task)).values()
        return set(structures) <= set(rough)

    def parts(self, structures: Sequence[str] = ()) -> tuple[TaskModel, ...]:
        """The networks whose labels become the result, in the package's order of merging."""
        ids = self.config["task_id"]
        if not isinstance(ids, list):
            return (self._model(ids),)
        models = [self._model(dataset_id) for dataset_id in ids]
        if self.takes_subset(structures):
            models = [model for model in models if set(model.classes.values()) & set(structures)]
        return tuple(models)

    def helpers(self, structures: Sequence[str] = ()) -> tuple[TaskModel, ...]:
        """The networks that only find where to look (``python_api.totalsegmentator``); they are no members."""
        config, models = self.config, []
        if config["crop"] is not None or self.takes_subset(structures):
            if config["crop_model"] is not None:
                crop = Task(config["crop_model"])
                models += [*crop.helpers(), *crop.parts()]
            elif config["crop"] is not None and {"body_trunc", "body_extremities"} & set(config["crop"]):
                models.append(_model_of(300))
            elif self.task.endswith("_mr"):
                models.append(_model_of(852))
            else:
                models.append(_model_of(297 if config["robust_crop"] else 298))
        if self.task == "vertebrae_pp_refined":
            models.append(_model_of(305))
        return tuple(models)

    @property
    def coarser(self) -> Task | None:
        """The same structures in the package's next coarser mode; None in its coarsest."""
        known = [task for task in tasks() if task.task == self.task]
        return next(iter(known[known.index(self) + 1 :]), None)

    @property
    def runnable(self) -> bool:
        """Whether weights are published; the package also lists tasks of its developers."""
        ids = self.config["task_id"]
        return not self.config["cascade"] and all(_published(i) for i in (ids if isinstance(ids, list) else [ids]))

    def check(self) -> None:
        """Raise ModelError when the package lists this task but cannot run it."""
        if not self.runnable:
            raise ModelError(
                f"TotalSegmentator's task '{self.task}' is for its developers: no weights are published for it.",
                "Choose another task.",
                remedy=Remedy.LIST_MODELS,
            )

    def _model(self, dataset_id: int) -> TaskModel:
        from totalsegmentator.map_tasks_config import TASK_ID_WEIGHTS_CONFIGS

        config = self.config
        weights = TASK_ID_WEIGHTS_CONFIGS.get(dataset_id, {})
        dataset = str(weights.get("foldername", f"Dataset{dataset_id:03d}"))
        version = weights.get("version")
        licensed = _licensed(dataset_id)
        folds = config["folds"]
        return TaskModel(
            dataset_id,
            dataset,
            f"{config['trainer']}__{config['plans'] or PLANS}__{config['model']}",
            str(config["model"]),
            None if folds is None else tuple(folds),
            self.spacing_xyz,
            _classes_of_part(dataset_id) or _classes_of_task(self.task),
            f"{RELEASES}/{version}/{dataset}.zip" if version not in (None, "TODO") and not licensed else None,
            licensed,
        )


@lru_cache(maxsize=1)
def tasks() -> tuple[Task, ...]:
    """Every task of the installed package in each of its modes, in the package's order."""
    from totalsegmentator.map_tasks_config import TASK_CONFIGS
    from totalsegmentator.registry import TASKS

    found = []
    for task in TASKS:
        found.append(Task(task))
        found += [Task(task, mode) for mode in MODES if mode in TASK_CONFIGS[task].get("sub_modes", {})]
    return tuple(found)


def task_names() -> tuple[str, ...]:
    """``total``, ``total-fast``, ``total-fastest``, ``body``, ..."""
    return tuple(task.name for task in tasks())


def task_named(name: str) -> Task:
    """The task of that name, with or without the family's prefix. Raises ModelError with the nearest names."""
    short = name.removeprefix(f"{FAMILY}:")
    for task in tasks():
        if task.name == short:
            return task
    near = difflib.get_close_matches(short, task_names(), n=3, cutoff=0.5) or list(task_names()[:3])
    raise ModelError(
        f"The installed TotalSegmentator has no task '{short}'.",
        f"Did you mean {', '.join(f'{FAMILY}:{other}' for other in near)}?",
        remedy=Remedy.LIST_MODELS,
    )


def _terminology() -> dict[str, Terminology]:
    """Structure -> terminology, from the table that the package ships (its ``load_snomed_mapping``)."""
    from totalsegmentator.dicom_utils import load_snomed_mapping

    def code(entry: Mapping[str, str] | None) -> Code | None:
        return Code(entry["scheme"], entry["value"], entry["meaning"]) if entry else None

    found = {}
    for name, entry in load_snomed_mapping().items():
        category, kind = code(entry["property_category"]), code(entry["property_type"])
        if category and kind:
            found[name] = Terminology(
                category,
                kind,
                code(entry["property_modifier"]),
                code(entry["anatomic_region"]),
                code(entry["anatomic_modifier"]),
            )
    return found


def _classes_of_task(task: str) -> dict[int, str]:
    from totalsegmentator.registry import get_task_classes

    return {int(value): str(name) for value, name in get_task_classes(task).items()}


def _classes_of_part(dataset_id: int) -> dict[int, str] | None:
    """What the values of a part model mean; None for a network that is a task of its own."""
    from totalsegmentator import map_to_binary as tables

    for parts, classes in (
        (tables.map_taskid_to_partname_ct, tables.class_map_5_parts),
        (tables.map_taskid_to_partname_ct_v3, tables.class_map_5_parts_total_v3),
        (tables.map_taskid_to_partname_mr, tables.class_map_parts_mr),
        (tables.map_taskid_to_partname_headneck_muscles, tables.class_map_parts_headneck_muscles),
    ):
        if parts.get(dataset_id) in classes:
            return {int(value): str(name) for value, name in classes[parts[dataset_id]].items()}
    return None


def _rough_task(task: str) -> str:
    return "total_mr" if task.endswith("_mr") else "total"


def _model_of(dataset_id: int) -> TaskModel:
    """The model of that number, with the configuration of the task that owns it."""
    for task in tasks():
        ids = task.config["task_id"]
        if dataset_id in (ids if isinstance(ids, list) else [ids]):
            return task._model(dataset_id)
    raise ModelError(f"The installed TotalSegmentator has no model {dataset_id}.", "Install a version that has it.")


def _licensed(dataset_id: int) -> bool:
    from totalsegmentator.map_to_binary import commercial_models

    return dataset_id in commercial_models.values()


def _published(dataset_id: int) -> bool:
    from totalsegmentator.map_tasks_config import TASK_ID_WEIGHTS_CONFIGS

    entry = TASK_ID_WEIGHTS_CONFIGS.get(dataset_id)
    return entry is not None and (entry.get("version") not in (None, "TODO") or _licensed(dataset_id))
