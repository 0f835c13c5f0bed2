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
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import ModelError
from activeseg.core.labels import BACKGROUND, IGNORE
from activeseg.segmenters.foreign_value import ForeignValue, shown_path
from activeseg.system.regular_files import read_json

TRUSTED_CODE = "ACTIVESEG_TRUSTED_MODEL_CODE"
"""Environment variable: names of classes of the user's own, with commas between them, that a model may use."""

_UNETS = "dynamic_network_architectures.architectures."
_ARCHITECTURES = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage", "ResidualUNet": ""}
_MODULES = ("unet", "residual_unet")  # the latter in plans of 2023; nnU-Net finds the class where it is now
_NORMALIZATIONS = frozenset(
    {"CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"}
)
_CT_INTENSITIES = ("mean", "std", "percentile_00_5", "percentile_99_5")
_READERS = frozenset(
    {
        "SimpleITKIO",
        "SimpleITKIOWithReorient",
        "NibabelIO",
        "NibabelIOWithReorient",
        "NaturalImage2DIO",
        "Tiff3DIO",
    }
)
_MOST_LABELS, _MOST_CHANNELS, _MOST_CONFIGURATIONS = 2000, 32, 50
_MOST_STAGES, _MOST_BLOCKS, _MOST_FEATURES, _LARGEST_KERNEL, _LARGEST_STRIDE = 12, 64, 4096, 15, 16
_LONGEST_PATCH_SIDE, _LARGEST_PATCH = 8192, 1 << 26  # voxels; nnU-Net's largest presets have 2^24
_MOST_LOOKED_AT = 2000  # folders, where the given one is none
_NAME = re.compile(r"\w[^/\\:*?\"<>|]*")  # nnU-Net gives folders these names
_CONFIGURATION_NAME = re.compile(r"\w[\w.+ -]{0,99}")

_DATASET_KEYS = ("channel_names", "modality", "labels", "regions_class_order", "file_ending")
_NAMES = ("dataset_name", "plans_name", "experiment_planner_used")
_PLANS_KEYS = (
    *_NAMES,
    "original_median_spacing_after_transp",
    "original_median_shape_after_transp",
    "image_reader_writer",
    "transpose_forward",
    "transpose_backward",
    "configurations",
    "label_manager",
    "foreground_intensity_properties_per_channel",
    "foreground_intensity_properties_by_modality",
)
_INTENSITY_KEYS = (*_CT_INTENSITIES, "max", "min", "median")
_CONFIGURATION_KEYS = (
    "data_identifier",
    "preprocessor_name",
    "batch_size",
    "patch_size",
    "median_image_size_in_voxels",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    *(f"resampling_fn_{kind}{end}" for kind in ("data", "seg", "probabilities") for end in ("", "_kwargs")),
    "architecture",
    "batch_dice",
    "inherits_from",
    "previous_stage",
)
_OLD_ARCHITECTURE_KEYS = (
    "UNet_class_name",
    "UNet_base_num_features",
    "unet_max_num_features",
    "n_conv_per_stage_encoder",
    "n_conv_per_stage_decoder",
    "num_pool_per_axis",
    "pool_op_kernel_sizes",
    "conv_kernel_sizes",
)

Check = Callable[[ForeignValue], Any]


def _flag(value: ForeignValue) -> None:
    value.flag()


def _maybe(check: Check) -> Check:
    return lambda value: None if value.raw is None else check(value)


def _number(low: float, high: float) -> Check:
    return lambda value: value.number(low, high)


def _integer(low: int, high: int) -> Check:
    return lambda value: value.integer(low, high)


def _one_of(*known: str) -> Check:
    return lambda value: value.one_of(known, "not known", "Ask the model's author.")


_NORM_KWARGS: Mapping[str, Check] = {
    "eps": _number(0, 1),
    "affine": _flag,
    "momentum": _maybe(_number(0, 1)),
    "track_running_stats": _flag,
}
_DROPOUT_KWARGS: Mapping[str, Check] = {"p": _number(0, 1), "inplace": _flag}
_NONLINEARITIES: Mapping[str, Mapping[str, Check]] = {
    "LeakyReLU": {"negative_slope": _number(-10, 10), "inplace": _flag},
    "ReLU": {"inplace": _flag},
    "ReLU6": {"inplace": _flag},
    "ELU": {"alpha": _number(-10, 10), "inplace": _flag},
    "CELU": {"alpha": _number(0.001, 10), "inplace": _flag},
    "SELU": {"inplace": _flag},
    "GELU": {"approximate": _one_of("none", "tanh")},
    "SiLU": {"inplace": _flag},
    "Mish": {"inplace": _flag},
    "Hardswish": {"inplace": _flag},
    "PReLU": {"num_parameters": _integer(1, _MOST_FEATURES), "init": _number(-10, 10)},
}
_SPACING_KWARGS: Mapping[str, Check] = {
    "is_seg": _flag,
    "force_separate_z": _maybe(_flag),
    "separate_z_anisotropy_threshold": _number(0, 1000),
}
_RESAMPLERS: Mapping[str, Mapping[str, Check]] = {
    "resample_data_or_seg_to_shape": {**_SPACING_KWARGS, "order": _integer(0, 5), "order_z": _integer(0, 5)},
    "resample_torch_fornnunet": {
        **_SPACING_KWARGS,
        "num_threads": _integer(1, 256),
        "memefficient_seg_resampling": _flag,
        "mode": _one_of("linear", "nearest", "nearest-exact"),
        "aniso_axis_mode": _one_of("linear", "nearest", "nearest-exact"),
    },
    "no_resampling_hack": {},
}


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
    dataset = checked_dataset(files["dataset.json"], folder / "dataset.json")
    check_plans(files["plans.json"], dataset, folder / "plans.json")
    plans = files["plans.json"] if trusted_code() else _needed_plans(files["plans.json"])
    every = ForeignValue(plans["configurations"], folder / "plans.json", "configurations")
    return ModelFiles(folder, plans, dataset, {name: resolved_configuration(every, name) for name in every.raw})


def trusted_code() -> frozenset[str]:
    """What the user allowed models to name, beside what nnU-Net brings."""
    return frozenset(name.strip() for name in os.environ.get(TRUSTED_CODE, "").split(",") if name.strip())


def known_code(value: ForeignValue, known: Mapping[str, Any] | frozenset[str], what: str) -> str:
    """A name of code that is nnU-Net's own, or that the user trusts. Raises ModelError."""
    return value.one_of(
        {*known, *trusted_code()},
        f"{what} that nnU-Net does not bring, so it was not run",
        "The model was made with a program that changes nnU-Net; use that program. If you trust the code of that name "
        f"that is installed here, put its name into the environment variable {TRUSTED_CODE}.",
    )


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, ModelError, "Copy the model's folder again.")


def _check_place(folder: Path) -> None:
    """Raises ModelError where another thing than the model's folder was given, and says which one to give."""
    like = "Its name looks like nnUNetTrainer__nnUNetPlans__3d_fullres."
    if os.path.isfile(folder):  # not Path's, which raises for names that are too long
        kind = {".zip": "a zip file", ".pth": "a checkpoint"}.get(folder.suffix.lower(), "a file")
        raise ModelError(
            f"'{shown_path(folder)}' is {kind}, not the folder of a trained nnU-Net model.",
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
                f"'{shown_path(folder)}' is not a trained nnU-Net model: it has no plans.json.",
                f"Give the folder '{shown_path(near)}'.",
                folder=str(folder),
            )
    there = "it has no plans.json" if os.path.isdir(folder) else "there is no such folder"
    raise ModelError(
        f"'{shown_path(folder)}' is not a trained nnU-Net model: {there}.",
        f"Choose the folder with plans.json, dataset.json and fold_0 in it. {like}",
        folder=str(folder),
    )


# dataset.json


def checked_dataset(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What is needed of ``dataset.json``, with label values as numbers. Raises ModelError."""
    root = ForeignValue(content, file)
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
                channel.text()
            counts[name] = len(channels)
    if not counts:
        root["channel_names"]
    if len(set(counts.values())) > 1:
        raise root["modality"].wrong("which does not go with 'channel_names'")
    if root.get("file_ending") is not None:
        root["file_ending"].text()
    labels = _checked_labels(root["labels"], root.get("regions_class_order"))
    regions = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    kept = [key for key in _DATASET_KEYS if key in content and (regions or key != "regions_class_order")]
    return {**{key: content[key] for key in kept}, "labels": labels}


def _checked_labels(labels: ForeignValue, order: ForeignValue | None) -> dict[str, Any]:
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
        ForeignValue(name, labels.file, value.key).text()
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


def _label(value: ForeignValue) -> int:
    if isinstance(value.raw, str) and value.raw.isdecimal() and value.raw.isascii() and len(value.raw) < 6:
        return int(value.raw)  # nnU-Net takes it
    return value.integer(0, _MOST_LABELS)


# plans.json


def check_plans(plans: Mapping[str, Any], dataset: Mapping[str, Any], file: Path) -> None:
    """Raise ModelError for the first configuration that would, with what it inherits, do what is not known."""
    root = ForeignValue(plans, file)
    known_code(root["image_reader_writer"], _READERS, "a reader of images")
    if root.get("label_manager") is not None:
        known_code(root["label_manager"], frozenset({"LabelManager"}), "a label manager")
    for name in _NAMES:
        found = root.get(name)
        if found is not None and found.raw is not None and _NAME.fullmatch(found.text()) is None:
            raise found.wrong("not a name")
    forward = [value.integer(0, 2) for value in root["transpose_forward"].items(3, 3)]
    backward = [value.integer(0, 2) for value in root["transpose_backward"].items(3, 3)]
    if [forward[axis] for axis in backward] != [0, 1, 2]:
        raise root["transpose_backward"].wrong(f"which does not undo 'transpose_forward' {forward}")
    for name in ("original_median_spacing_after_transp", "original_median_shape_after_transp"):
        found = root.get(name)
        for side in found.items(1, 3) if found is not None else ():
            side.number(0, 1e9)
    intensities = _intensities(root)
    configurations = root["configurations"].members()
    if not 0 < len(configurations) <= _MOST_CONFIGURATIONS:
        raise root["configurations"].wrong(f"which are not 1 to {_MOST_CONFIGURATIONS} configurations")
    channels = len(dataset.get("channel_names") or dataset.get("modality") or {})
    for name, value in configurations.items():
        if _CONFIGURATION_NAME.fullmatch(name) is None or ".." in name:
            raise value.wrong("whose name is not that of a configuration")
        resolved = resolved_configuration(root["configurations"], name)
        _check_configuration(ForeignValue(resolved, file, value.key), channels, intensities)


def _needed_plans(plans: Mapping[str, Any]) -> dict[str, Any]:
    """Checked plans without unused parts."""
    needed = {key: plans[key] for key in _PLANS_KEYS if key in plans}
    for key in [key for key in needed if key.startswith("foreground_intensity_properties")]:
        needed[key] = {
            str(channel): {
                name: numbers[name] for name in _INTENSITY_KEYS if isinstance(numbers.get(name), int | float)
            }
            for channel, numbers in needed[key].items()
            if isinstance(numbers, dict) and channel.isdecimal()
        }
    known = (*_CONFIGURATION_KEYS, *_OLD_ARCHITECTURE_KEYS)
    needed["configurations"] = {
        name: {key: configuration[key] for key in known if key in configuration}
        for name, configuration in needed["configurations"].items()
    }
    return needed


def resolved_configuration(configurations: ForeignValue, name: str) -> dict[str, Any]:
    """A configuration with what it inherits, as nnU-Net puts it together. Raises ModelError when it never ends."""
    chain: list[dict[str, Any]] = []
    seen = {name}
    value = configurations[name]
    while True:
        value.members()
        chain.append(value.raw)
        parent = value.get("inherits_from")
        if parent is None:
            break
        above = parent.text()
        if above in seen or configurations.get(above) is None:
            raise parent.wrong("which is no other configuration")
        seen.add(above)
        value = configurations[above]
    merged: dict[str, Any] = {}
    for part in reversed(chain):
        merged.update(part)
    return merged


def _intensities(root: ForeignValue) -> ForeignValue:
    new, old = "foreground_intensity_properties_per_channel", "foreground_intensity_properties_by_modality"
    found = root.get(new)
    return root[old] if found is None and root.get(old) is not None else root[new]


def _check_configuration(value: ForeignValue, channels: int, intensities: ForeignValue) -> None:
    known_code(value["preprocessor_name"], frozenset({"DefaultPreprocessor"}), "a preprocessor")
    for kind in ("data", "seg", "probabilities"):
        function = known_code(value[f"resampling_fn_{kind}"], _RESAMPLERS, "a function for resampling")
        _check_kwargs(value[f"resampling_fn_{kind}_kwargs"], _RESAMPLERS.get(function))
    patch = [side.integer(1, _LONGEST_PATCH_SIDE) for side in value["patch_size"].items(2, 3)]
    dims, voxels = len(patch), 1
    for side in patch:
        voxels *= side
    if voxels > _LARGEST_PATCH:
        raise value["patch_size"].wrong(f"which is more than {_LARGEST_PATCH} voxels")
    for step in value["spacing"].items(dims, dims):
        step.number(1e-4, 1000)
    value["batch_size"].integer(1, 1000)
    if value.get("batch_dice") is not None:
        value["batch_dice"].flag()
    size = value.get("median_image_size_in_voxels")
    if size is not None:
        for extent in size.items(dims, 3):
            extent.number(0, 1e9)
    for key in ("previous_stage", "data_identifier"):
        named = value.get(key)
        if named is not None and named.raw is not None and _CONFIGURATION_NAME.fullmatch(named.text()) is None:
            raise named.wrong("not a name")
    schemes = value["normalization_schemes"].items(channels)
    masks = value["use_mask_for_norm"].items(channels)
    for number, scheme in enumerate(schemes):
        name = known_code(scheme, _NORMALIZATIONS, "a normalization")
        if number < channels:
            _flag(masks[number])
            numbers = intensities[str(number)]
            numbers.members()
            for key in _CT_INTENSITIES if name == "CTNormalization" else ():
                numbers[key].number(-1e9, 1e9)
    if value.get("architecture") is not None:
        _check_architecture(value["architecture"], dims, patch)
    else:
        _check_old_architecture(value, dims, patch)


def _check_architecture(value: ForeignValue, dims: int, patch: list[int]) -> None:
    """As nnU-Net has written it since 2024 (2.3)."""
    known = {f"{_UNETS}{module}.{name}": name for module in _MODULES for name in _ARCHITECTURES}
    named = known_code(value["network_class_name"], known, "a network")
    kwargs = value["arch_kwargs"]
    imported = [entry.text() for entry in value["_kw_requires_import"].items(0, 20)]
    layers = _layers(dims)
    for key in imported:
        entry = kwargs[key]
        if entry.raw is not None:
            known_code(entry, dict.fromkeys(layers.get(key, {})), "a layer")
    if named not in known:
        return  # the user's own: its arguments are for it to judge
    for key in layers:
        if kwargs.get(key) is not None and kwargs[key].raw is not None and key not in imported:
            raise kwargs[key].wrong("which '_kw_requires_import' does not list")
    kinds = _number_kwargs(kwargs, dims, patch, _ARCHITECTURES[known[named]])
    for key, entry in kwargs.members().items():
        if key in layers:
            continue
        if key.endswith("_kwargs") and key.removesuffix("_kwargs") in layers:
            layer = kwargs.get(key.removesuffix("_kwargs"))
            if entry.raw is not None:
                _check_kwargs(entry, layers[key.removesuffix("_kwargs")].get(layer.raw if layer else ""))
        elif key not in kinds:
            raise entry.wrong("which is not an argument of that network")
        else:
            kinds[key](entry)


def _number_kwargs(kwargs: ForeignValue, dims: int, patch: list[int], encoder: str) -> dict[str, Check]:
    """What must hold for each argument that is no layer. Raises ModelError when one is missing."""
    stages = kwargs["n_stages"].integer(2, _MOST_STAGES)
    blocks = (encoder,) if encoder else ("n_blocks_per_stage", "n_conv_per_stage_decoder")
    for key in ("features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage_decoder", *blocks[:1]):
        kwargs[key]

    def each(count: int, low: int, high: int) -> Check:
        return lambda value: _each(value, count, low, high)

    def steps(value: ForeignValue) -> None:
        _check_strides(value, stages, dims, patch)

    return {
        "n_stages": _integer(2, _MOST_STAGES),
        "features_per_stage": each(stages, 1, _MOST_FEATURES),
        "kernel_sizes": lambda value: _each_axis(value, stages, dims, _LARGEST_KERNEL),
        "strides": steps,
        "n_conv_per_stage": each(stages, 1, _MOST_BLOCKS),
        "n_blocks_per_stage": each(stages, 1, _MOST_BLOCKS),
        "n_conv_per_stage_decoder": each(stages - 1, 1, _MOST_BLOCKS),
        "conv_bias": _flag,
        "nonlin_first": _flag,
        "deep_supervision": _flag,
        "bottleneck_channels": _maybe(each(stages, 1, _MOST_FEATURES)),
        "stem_channels": _maybe(_integer(1, _MOST_FEATURES)),
    }


def _layers(dims: int) -> dict[str, dict[str, Mapping[str, Check] | None]]:
    """Argument -> Python names of the layers it may be -> their arguments."""
    blocks = "dynamic_network_architectures.building_blocks.residual."

    def named(module: str, *names: str, kwargs: Mapping[str, Check]) -> dict[str, Mapping[str, Check] | None]:
        return {f"{place}.{name}": kwargs for place in ("torch.nn", f"torch.nn.modules.{module}") for name in names}

    return {
        "conv_op": named("conv", f"Conv{dims}d", kwargs={}),
        "norm_op": {
            **named("instancenorm", f"InstanceNorm{dims}d", kwargs=_NORM_KWARGS),
            **named("batchnorm", f"BatchNorm{dims}d", kwargs=_NORM_KWARGS),
        },
        "dropout_op": named("dropout", "Dropout", f"Dropout{dims}d", kwargs=_DROPOUT_KWARGS),
        "nonlin": {
            place: kwargs
            for name, kwargs in _NONLINEARITIES.items()
            for place in (f"torch.nn.{name}", f"torch.nn.modules.activation.{name}")
        },
        "block": {f"{blocks}{name}": {} for name in ("BasicBlockD", "BottleneckD")},
    }


def _check_kwargs(value: ForeignValue, known: Mapping[str, Check] | None) -> None:
    """``known`` None: those of the user's own code."""
    for key, entry in value.members().items():
        if known is None:
            continue
        if key not in known:
            raise entry.wrong("which is not known there")
        known[key](entry)


def _each(value: ForeignValue, count: int, low: int, high: int) -> None:
    """One number for all stages, or one for each."""
    if not isinstance(value.raw, list):
        value.integer(low, high)
        return
    for entry in value.items(count, count):
        entry.integer(low, high)


def _each_axis(value: ForeignValue, stages: int, dims: int, high: int) -> None:
    """One number for all stages, or for each stage one number or one for each axis."""
    if not isinstance(value.raw, list):
        value.integer(1, high)
        return
    for entry in value.items(stages, stages):
        _each(entry, dims, 1, high)


def _check_strides(value: ForeignValue, stages: int, dims: int, patch: list[int]) -> None:
    _each_axis(value, stages, dims, _LARGEST_STRIDE)
    factors = [1] * dims
    for entry in value.raw if isinstance(value.raw, list) else [value.raw] * stages:
        for axis in range(dims):
            factors[axis] *= entry[axis] if isinstance(entry, list) else entry
    if any(side % factor for side, factor in zip(patch, factors, strict=True)):
        raise value.wrong(f"by which the patch {patch} cannot be divided")


def _check_old_architecture(value: ForeignValue, dims: int, patch: list[int]) -> None:
    """As nnU-Net wrote it until 2024 (2.0 to 2.2): numbers, from which nnU-Net puts the network together itself."""
    known = ("PlainConvUNet", "ResidualEncoderUNet")
    known_code(value["UNet_class_name"], frozenset(known), "a network")
    stages = len(value["n_conv_per_stage_encoder"].items(2, _MOST_STAGES))
    _each(value["n_conv_per_stage_encoder"], stages, 1, _MOST_BLOCKS)
    _each(value["n_conv_per_stage_decoder"], stages - 1, 1, _MOST_BLOCKS)
    value["UNet_base_num_features"].integer(1, _MOST_FEATURES)
    value["unet_max_num_features"].integer(1, _MOST_FEATURES)
    value["num_pool_per_axis"].items(dims, dims)
    _each_axis(value["conv_kernel_sizes"], stages, dims, _LARGEST_KERNEL)
    _check_strides(value["pool_op_kernel_sizes"], stages, dims, patch)
