"""What of a folder with nnInteractive's weights is used: checked here, whatever else its files say stays in them.

The original package would import what ``plans.json`` names and unpickle the checkpoint whatever it holds. It is given
plans that are put together here from checked values, and weights that are read without running anything.

Nothing here imports torch or nnInteractive.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import ModelError, in_ascii, printable
from activeseg.core.json_values import JsonValue, WrongField
from activeseg.segmenters.nnunet.checkpoint_file import Checkpoint, read_checkpoint
from activeseg.segmenters.nnunet.plans_check import check_plans, resolved_configuration
from activeseg.system.regular_files import JSON_LIMIT, read_bytes, read_json

WEIGHTS_PAGE = "https://huggingface.co/MIC-DKFZ/nnInteractive"
"""Where nnInteractive's authors publish weights."""
CHECKPOINT = "checkpoint_final.pth"
ABILITIES, OLDER_ABILITIES = "inference_info.json", "inference_session_class.json"
NETWORK_OUTPUTS = 2
"""Background and the object."""

_COPY_AGAIN = "Copy the folder again."
_INTERACTIONS = ("scribble", "lasso", "points", "bbox2d", "bbox3d")
_MOST_CHANNELS, _LARGEST_RADIUS, _THICKEST = 32, 64, 64
_SHORTEST_SIDE = 64
"""Of the patch: the original session leaves out 24 voxels at each of its borders."""
_MOST_LOOKED_AT, _LONGEST_PATH = 2000, 400
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){0,3}")
_NETWORK_KEYS = (
    "patch_size",
    "architecture",
    "UNet_class_name",
    "UNet_base_num_features",
    "unet_max_num_features",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
    "num_pool_per_axis",
    "pool_op_kernel_sizes",
    "conv_kernel_sizes",
)
_DATASET = {"channel_names": {"0": "image"}, "labels": {"background": 0, "object": 1}, "file_ending": ".nii.gz"}


@dataclass(frozen=True)
class InteractiveModel:
    """A folder with nnInteractive's weights, checked; nothing is loaded.

    Attributes
    ----------
    plans, dataset
        For nnU-Net: the network of the one configuration that was trained, and nothing else of the folder's.
    abilities
        What ``inference_info.json`` says about prompts, in the original package's words.
    point_radius
        Of a point, in voxels.
    scribble_thickness
        In voxels, for each axis.
    decay
        How much less an earlier prompt counts than the next one.
    official
        Whether it is the first version of the authors' own, which says no licence.
    """

    folder: Path
    checkpoint: Checkpoint
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    abilities: Mapping[str, Any]
    point_radius: int = 4
    scribble_thickness: tuple[int, int, int] = (2, 2, 2)
    decay: float = 0.98
    official: bool = False

    @property
    def patch(self) -> tuple[int, int, int]:
        k, j, i = self.plans["configurations"][self.checkpoint.configuration]["patch_size"]
        return k, j, i

    @property
    def weight_bytes(self) -> int:
        """Of the checkpoint's file."""
        return self.checkpoint.path.stat().st_size


def check_folder(folder: Path) -> InteractiveModel:
    """Read and check a folder. Raises ModelError: it is none, is incomplete, or says what it may not."""
    _check_place(folder)
    checkpoint = read_checkpoint(_checkpoint_of(folder))
    with _file_of(folder / "dataset.json"):
        _check_channels(read_json(folder / "dataset.json", ModelError, _COPY_AGAIN))
    with _file_of(folder / "plans.json"):
        told = JsonValue(read_json(folder / "plans.json", ModelError, _COPY_AGAIN))
        plans = _plans(told, checkpoint.configuration)
        name = told.get("dataset_name")
    path = folder / ABILITIES
    path = path if os.path.lexists(path) else folder / OLDER_ABILITIES
    with _file_of(path):
        found = _abilities(path)
    official = (name.raw if name else None, checkpoint.configuration) == (
        "Dataset225_nnInteractiveV2",
        "3d_fullres_ps192_bs24",
    )
    return InteractiveModel(folder, checkpoint, plans, _DATASET, official=official, **found)


@contextlib.contextmanager
def _file_of(file: Path) -> Iterator[None]:
    try:
        yield
    except WrongField as wrong:
        raise ModelError(
            f"The file '{file.name}' of nnInteractive's weights cannot be used: {in_ascii(str(wrong))}.",
            wrong.action or _COPY_AGAIN,
            file=str(file),
            key=in_ascii(wrong.key),
        ) from wrong


def _check_place(folder: Path) -> None:
    """Raises ModelError where another thing than the weights' folder was given, and says which one to give."""
    if os.path.lexists(folder / "plans.json"):
        return
    action = f"Give the folder with plans.json, {ABILITIES} and fold_0 in it."
    near: list[Path] = []
    with contextlib.suppress(OSError, ValueError):
        below = itertools.islice(itertools.chain(folder.glob("*"), folder.glob("*/*/*")), _MOST_LOOKED_AT)
        near = sorted(path for path in below if os.path.isfile(path / "plans.json"))
    if near:
        action = f"Give the folder '{printable(str(near[0]), _LONGEST_PATH)}'."
    there = "has no plans.json" if os.path.isdir(folder) else "is no folder"
    raise ModelError(
        f"'{printable(str(folder), _LONGEST_PATH)}' {there}, so it holds no weights of nnInteractive.",
        action,
        folder=str(folder),
    )


def _checkpoint_of(folder: Path) -> Path:
    folds = sorted(path for path in itertools.islice(folder.glob("fold_*"), _MOST_LOOKED_AT) if os.path.isdir(path))
    if len(folds) != 1:
        raise ModelError(
            f"nnInteractive's weights have one folder 'fold_*'; '{printable(folder.name, _LONGEST_PATH)}' has "
            f"{len(folds)}.",
            _COPY_AGAIN,
            folder=str(folder),
        )
    return folds[0] / CHECKPOINT


def _check_channels(content: Mapping[str, Any]) -> None:
    """Raises WrongField unless one image is asked for. Labels are not read: training numbers its objects with them."""
    names = JsonValue(content)["channel_names"]
    if list(names.members()) != ["0"]:
        raise names.wrong("but a CT is one image")


def _plans(told: JsonValue, configuration: str) -> dict[str, Any]:
    """Plans with the network's part of that configuration. Raises WrongField for a network that is not known."""
    every = told["configurations"]
    if every.get(configuration) is None:
        raise every.wrong(f"without '{configuration}', which the checkpoint was trained with")
    found = resolved_configuration(every, configuration)
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    kinds = ("data", "seg", "probabilities")
    plans = {
        "dataset_name": "Dataset001_nnInteractive",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {
            configuration: {
                "data_identifier": "nnInteractive",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 1,
                "spacing": [1.0, 1.0, 1.0],
                "normalization_schemes": ["ZScoreNormalization"],
                "use_mask_for_norm": [False],
                **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in kinds},
                **{f"resampling_fn_{kind}_kwargs": resampling for kind in kinds},
                "batch_dice": False,
                **{key: found[key] for key in _NETWORK_KEYS if key in found},
            }
        },
    }
    for side in JsonValue(found, f"{every.key}.{configuration}")["patch_size"].items(3, 3):
        side.integer(_SHORTEST_SIDE, 1024)
    check_plans(plans, _DATASET)
    return plans


def _abilities(path: Path) -> dict[str, Any]:
    """What the session is told about prompts, as arguments of ``InteractiveModel``. Raises WrongField, ModelError."""
    if path.name == OLDER_ABILITIES and _is_a_name(path):
        return {"abilities": {}, "decay": 0.9}  # as the original package does for its first weights
    root = JsonValue(read_json(path, ModelError, _COPY_AGAIN))
    found: dict[str, Any] = {"abilities": _checked_abilities(root) if path.name == ABILITIES else {}}
    if (radius := root.get("point_radius")) is not None:
        found["point_radius"] = radius.integer(1, _LARGEST_RADIUS)
    if (thickness := root.get("preferred_scribble_thickness")) is not None:
        each = thickness.items(3, 3) if isinstance(thickness.raw, list) else [thickness] * 3
        found["scribble_thickness"] = tuple(entry.integer(1, _THICKEST) for entry in each)
    if (decay := root.get("interaction_decay")) is not None:
        found["decay"] = decay.number(0.01, 1)
    if (padding := root.get("pad_mode_image")) is not None:
        padding.one_of(("constant",), "a padding that nnInteractive does not do", _COPY_AGAIN)
    return found


def _is_a_name(path: Path) -> bool:
    """Whether the file of the first weights holds but the name of a class."""
    try:
        return isinstance(json.loads(read_bytes(path, JSON_LIMIT)), str)
    except FileNotFoundError as error:
        raise ModelError(f"The file '{ABILITIES}' is missing.", _COPY_AGAIN, file=str(path)) from error
    except (OSError, ValueError, RecursionError):
        return False  # read_json says what is wrong


def _checked_abilities(root: JsonValue) -> dict[str, Any]:
    """Those of the keys that the original session reads."""
    checked: dict[str, Any] = {}
    for key in ("supports_initial_label", "supports_zero_shot_label_refinement"):
        if (value := root.get(key)) is not None:
            checked[key] = value.flag()
    if (value := root.get("inference_class")) is not None:
        value.one_of(("nnInteractiveInferenceSession",), "the class of another program", "Use that program.")
    if (value := root.get("inference_class_min_version")) is not None:
        if _VERSION.fullmatch(value.name()) is None:
            raise value.wrong("not a version")
        checked["inference_class_min_version"] = value.raw
    if (value := root.get("supported_interactions")) is not None:
        checked["supported_interactions"] = {
            _kind(entry, name): entry.flag() for name, entry in value.members().items()
        }
    most = _MOST_CHANNELS
    if (value := root.get("interaction_channels")) is not None:
        checked["interaction_channels"] = value.integer(1, most - 1)
        most = value.raw + 1
    if (value := root.get("channel_mapping")) is not None:
        checked["channel_mapping"] = {
            name: entry.integer(-most, most - 1)
            if name == "prev_seg"
            else [number.integer(-most, most - 1) for number in entry.items(2, 2)]
            for name, entry in value.members().items()
            if name == "prev_seg" or _kind(entry, name)
        }
    return checked


def _kind(value: JsonValue, name: str) -> str:
    if name not in _INTERACTIONS:
        raise value.wrong("a kind of prompt that is not known")
    return name
