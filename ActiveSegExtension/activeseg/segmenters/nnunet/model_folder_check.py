"""Whether a trained model's folder may be used: before any network is built of it, whatever the way in.

nnU-Net imports and calls what ``plans.json`` names, and takes as much memory as its numbers ask for. Here every
configuration, with all that it inherits, is compared with what nnU-Net v2 and TotalSegmentator write themselves; what
is not known is refused. Checkpoints are the subject of ``checkpoint_file``.

Nothing here imports torch or nnU-Net.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import ModelError, in_ascii, printable
from activeseg.core.json_values import JsonValue, WrongField
from activeseg.core.labels import BACKGROUND, IGNORE
from activeseg.segmenters.nnunet.plans_check import check_plans, needed_plans, resolved_configuration
from activeseg.segmenters.nnunet.trusted_code import trusted_code
from activeseg.system.regular_files import read_json

_MOST_LABELS, _MOST_CHANNELS = 2000, 32
_MOST_LOOKED_AT = 2000  # folders, where the given one is none
_LONGEST_PATH = 400

_DATASET_KEYS = ("channel_names", "modality", "labels", "regions_class_order", "file_ending")


@dataclass(frozen=True)
class ModelFiles:
    """The two JSON files of a model's folder, checked, without what prediction and training do not need.

    So names of cases, descriptions and the like travel no further than the folder that they came with.

    Attributes
    ----------
    plans : of ``plans.json``; what configurations inherit stays inherited
    dataset : of ``dataset.json``, label values as numbers
    configurations : every configuration with what it inherits
    """

    folder: Path
    plans: dict[str, Any]
    dataset: dict[str, Any]
    configurations: dict[str, dict[str, Any]]


def check_model_folder(folder: Path) -> ModelFiles:
    """Read and check ``plans.json`` and ``dataset.json`` of a folder that nnU-Net v2 trained.

    Raises ModelError: the folder is none, is incomplete, or its files say what nnU-Net's own do not.
    """
    folder = Path(folder)
    _check_place(folder)
    files = {name: _read(folder / name) for name in ("plans.json", "dataset.json")}
    with _model_file(folder / "dataset.json"):
        dataset = _checked_dataset(files["dataset.json"])
    with _model_file(folder / "plans.json"):
        check_plans(files["plans.json"], dataset)
        plans = files["plans.json"] if trusted_code() else needed_plans(files["plans.json"])
        every = JsonValue(plans["configurations"], "configurations")
        return ModelFiles(folder, plans, dataset, {name: resolved_configuration(every, name) for name in every.raw})


@contextlib.contextmanager
def _model_file(file: Path) -> Iterator[None]:
    """A WrongField of the block becomes a ModelError that names the file."""
    try:
        yield
    except WrongField as wrong:
        raise ModelError(
            f"The model's file '{file.name}' cannot be used: {in_ascii(str(wrong))}.",
            wrong.action or "Copy the model's folder again, or ask its author.",
            file=str(file),
            key=in_ascii(wrong.key),
        ) from wrong


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, ModelError, "Copy the model's folder again.")


def _check_place(folder: Path) -> None:
    """Raises ModelError where another thing than the model's folder was given, and says which one to give."""
    like = "Its name looks like nnUNetTrainer__nnUNetPlans__3d_fullres."
    if os.path.isfile(folder):  # not Path's, which raises for names that are too long
        kind = {".zip": "a zip file", ".pth": "a checkpoint"}.get(folder.suffix.lower(), "a file")
        raise ModelError(
            f"'{_shown(folder)}' is {kind}, not the folder of a trained nnU-Net model.",
            f"{'Unpack it, and give' if kind == 'a zip file' else 'Give'} the folder with plans.json, dataset.json and "
            f"fold_0 in it. {like}",
            folder=str(folder),
        )
    if os.path.lexists(folder / "plans.json"):
        return
    below: list[Path] = []
    with contextlib.suppress(OSError, ValueError):
        below += itertools.islice(itertools.chain(folder.glob("*"), folder.glob("*/*")), _MOST_LOOKED_AT)
    for near in (folder.parent, *sorted(below)):
        if os.path.isfile(near / "plans.json") and os.path.isfile(near / "dataset.json"):
            raise ModelError(
                f"'{_shown(folder)}' is not a trained nnU-Net model: it has no plans.json.",
                f"Give the folder '{_shown(near)}'.",
                folder=str(folder),
            )
    there = "it has no plans.json" if os.path.isdir(folder) else "there is no such folder"
    raise ModelError(
        f"'{_shown(folder)}' is not a trained nnU-Net model: {there}.",
        f"Choose the folder with plans.json, dataset.json and fold_0 in it. {like}",
        folder=str(folder),
    )


def _shown(path: Path) -> str:
    return printable(str(path), _LONGEST_PATH)


def _checked_dataset(content: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed of ``dataset.json``, with label values as numbers. Raises WrongField."""
    root = JsonValue(content)
    counts = {}
    for name in ("channel_names", "modality"):
        found = root.get(name)
        if found is not None:
            channels = found.members()
            if sorted(channels) != sorted(str(n) for n in range(len(channels))) or not len(channels) > 0:
                raise found.wrong("whose keys are not 0, 1, 2, ...")
            if len(channels) > _MOST_CHANNELS:
                raise found.wrong(f"which is more than {_MOST_CHANNELS} images for a case")
            for channel in channels.values():
                channel.name()
            counts[name] = len(channels)
    if not counts:
        root["channel_names"]
    if len(set(counts.values())) > 1:
        raise root["modality"].wrong("which does not go with 'channel_names'")
    if root.get("file_ending") is not None:
        root["file_ending"].name()
    labels = _checked_labels(root["labels"], root.get("regions_class_order"))
    regions = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    kept = [key for key in _DATASET_KEYS if key in content and (regions or key != "regions_class_order")]
    return {**{key: content[key] for key in kept}, "labels": labels}


def _checked_labels(labels: JsonValue, order: JsonValue | None) -> dict[str, Any]:
    members = labels.members()
    if members and all(name.isdecimal() and isinstance(value.raw, str) for name, value in members.items()):
        raise labels.wrong(
            "which is the format of nnU-Net v1 (values as keys)",
            'Turn names and values around in dataset.json: {"background": 0, "liver": 1}.',
        )
    if not 2 <= len(members) <= _MOST_LABELS:
        raise labels.wrong(f"which are not 2 to {_MOST_LABELS} labels")
    checked: dict[str, Any] = {}
    for name, value in members.items():
        JsonValue(name, value.key).name()
        if isinstance(value.raw, list) and name not in (BACKGROUND, IGNORE):
            checked[name] = [_label(entry) for entry in value.items(1, _MOST_LABELS)]
        else:
            checked[name] = _label(value)
    if checked.get(BACKGROUND) != 0:
        raise labels.wrong("without a 'background' of 0")
    own = {name: value for name, value in checked.items() if name != IGNORE}
    values = {v for value in own.values() for v in (value if isinstance(value, list) else [value])}
    if IGNORE in checked and checked[IGNORE] != max(values) + 1:
        raise members[IGNORE].wrong(f"which is not {max(values) + 1}, the highest label and one")
    if any(isinstance(value, list) and len(value) > 1 for value in own.values()):
        foreground = [name for name, value in own.items() if value not in (0, [0])]
        if order is None:
            raise labels.wrong("which has regions, but there is no 'regions_class_order'")
        entries = order.items(len(foreground), len(foreground))
        values = {entry.integer(1, _MOST_LABELS) for entry in entries} | (values - {0})
        values.add(0)
    if values != set(range(len(values))):
        raise labels.wrong(f"whose values are {sorted(values)[:10]}; they must be 0, 1, 2, 3, ...")
    return checked


def _label(value: JsonValue) -> int:
    if isinstance(value.raw, str) and value.raw.isdecimal() and value.raw.isascii() and len(value.raw) < 6:
        return int(value.raw)  # nnU-Net takes it
    return value.integer(0, _MOST_LABELS)
