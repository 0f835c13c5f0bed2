"""What ``plans.json`` may say: all configurations, with what they inherit, compared with what nnU-Net itself writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from activeseg.core.json_values import JsonValue
from activeseg.segmenters.nnunet.trusted_code import known_code

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
_MOST_CONFIGURATIONS = 50
_MOST_STAGES, _MOST_BLOCKS, _MOST_FEATURES, _LARGEST_KERNEL, _LARGEST_STRIDE = 12, 64, 4096, 15, 16
_LONGEST_PATCH_SIDE, _LARGEST_PATCH = 8192, 1 << 26  # voxels; nnU-Net's largest presets have 2^24
_NAME = re.compile(r"\w[^/\\:*?\"<>|]*")  # nnU-Net gives folders these names
_CONFIGURATION_NAME = re.compile(r"\w[\w.+ -]{0,99}")
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

Check = Callable[[JsonValue], Any]


def _flag(value: JsonValue) -> None:
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


def check_plans(plans: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    """Raise WrongField for the first configuration that would, with what it inherits, do what is not known."""
    root = JsonValue(plans)
    known_code(root["image_reader_writer"], _READERS, "a reader of images")
    if root.get("label_manager") is not None:
        known_code(root["label_manager"], frozenset({"LabelManager"}), "a label manager")
    for name in _NAMES:
        found = root.get(name)
        if found is not None and found.raw is not None and _NAME.fullmatch(found.name()) is None:
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
        _check_configuration(JsonValue(resolved, value.key), channels, intensities)


def needed_plans(plans: Mapping[str, Any]) -> dict[str, Any]:
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


def resolved_configuration(configurations: JsonValue, name: str) -> dict[str, Any]:
    """A configuration with what it inherits, as nnU-Net puts it together. Raises WrongField when it never ends."""
    chain: list[dict[str, Any]] = []
    seen = {name}
    value = configurations[name]
    while True:
        value.members()
        chain.append(value.raw)
        parent = value.get("inherits_from")
        if parent is None:
            break
        above = parent.name()
        if above in seen or configurations.get(above) is None:
            raise parent.wrong("which is no other configuration")
        seen.add(above)
        value = configurations[above]
    merged: dict[str, Any] = {}
    for part in reversed(chain):
        merged.update(part)
    return merged


def _intensities(root: JsonValue) -> JsonValue:
    new, old = "foreground_intensity_properties_per_channel", "foreground_intensity_properties_by_modality"
    found = root.get(new)
    return root[old] if found is None and root.get(old) is not None else root[new]


def _check_configuration(value: JsonValue, channels: int, intensities: JsonValue) -> None:
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
        if named is not None and named.raw is not None and _CONFIGURATION_NAME.fullmatch(named.name()) is None:
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


def _check_architecture(value: JsonValue, dims: int, patch: list[int]) -> None:
    """As nnU-Net has written it since 2024 (2.3)."""
    known = {f"{_UNETS}{module}.{name}": name for module in _MODULES for name in _ARCHITECTURES}
    named = known_code(value["network_class_name"], known, "a network")
    kwargs = value["arch_kwargs"]
    imported = [entry.name() for entry in value["_kw_requires_import"].items(0, 20)]
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


def _number_kwargs(kwargs: JsonValue, dims: int, patch: list[int], encoder: str) -> dict[str, Check]:
    """What must hold for each argument that is no layer. Raises WrongField when one is missing."""
    stages = kwargs["n_stages"].integer(2, _MOST_STAGES)
    blocks = (encoder,) if encoder else ("n_blocks_per_stage", "n_conv_per_stage_decoder")
    for key in ("features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage_decoder", *blocks[:1]):
        kwargs[key]

    def each(count: int, low: int, high: int) -> Check:
        return lambda value: _each(value, count, low, high)

    def steps(value: JsonValue) -> None:
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


def _check_kwargs(value: JsonValue, known: Mapping[str, Check] | None) -> None:
    """``known`` None: those of the user's own code."""
    for key, entry in value.members().items():
        if known is None:
            continue
        if key not in known:
            raise entry.wrong("which is not known there")
        known[key](entry)


def _each(value: JsonValue, count: int, low: int, high: int) -> None:
    """One number for all stages, or one for each."""
    if not isinstance(value.raw, list):
        value.integer(low, high)
        return
    for entry in value.items(count, count):
        entry.integer(low, high)


def _each_axis(value: JsonValue, stages: int, dims: int, high: int) -> None:
    """One number for all stages, or for each stage one number or one for each axis."""
    if not isinstance(value.raw, list):
        value.integer(1, high)
        return
    for entry in value.items(stages, stages):
        _each(entry, dims, 1, high)


def _check_strides(value: JsonValue, stages: int, dims: int, patch: list[int]) -> None:
    _each_axis(value, stages, dims, _LARGEST_STRIDE)
    factors = [1] * dims
    for entry in value.raw if isinstance(value.raw, list) else [value.raw] * stages:
        for axis in range(dims):
            factors[axis] *= entry[axis] if isinstance(entry, list) else entry
    if any(side % factor for side, factor in zip(patch, factors, strict=True)):
        raise value.wrong(f"by which the patch {patch} cannot be divided")


def _check_old_architecture(value: JsonValue, dims: int, patch: list[int]) -> None:
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
