"""Small nnU-Net model folders with random weights, in the layout that nnU-Net v2 writes after training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

CT_INTENSITIES = {
    "max": 3071.0,
    "mean": 60.0,
    "median": 50.0,
    "min": -1024.0,
    "percentile_00_5": -950.0,
    "percentile_99_5": 800.0,
    "std": 250.0,
}


def make_model(
    folder: Path,
    labels: Mapping[str, Any],
    spacing: Sequence[float] = (3.0, 3.0, 3.0),
    patch: Sequence[int] = (16, 24, 24),
    folds: Sequence[int | str] = (0,),
    channels: Sequence[str] = ("CT",),
    configuration: str = "3d_fullres",
    reader: str = "SimpleITKIO",
    transpose: Sequence[int] = (0, 1, 2),
    mirror: Sequence[int] | None = None,
    regions_class_order: Sequence[int] | None = None,
    features: Sequence[int] = (4, 8),
    convolutions: int = 1,
    previous_stage: str | None = None,
    trainer: str = "nnUNetTrainer",
    probability_kwargs: Mapping[str, Any] | None = None,
) -> Path:
    """Write a trained-model folder; ``spacing`` and ``patch`` are in the model's own (transposed) axes.

    Each stage has so many ``convolutions``. The weights are random but larger than at initialisation, so that labels
    vary over the image.
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    flat = configuration == "2d"
    dims = 2 if flat else 3
    conv, norm = f"torch.nn.modules.conv.Conv{dims}d", f"torch.nn.modules.instancenorm.InstanceNorm{dims}d"
    resampling = "resample_data_or_seg_to_shape"
    stages = len(features)
    settings = {
        "data_identifier": f"nnUNetPlans_{configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch[-dims:]),
        "median_image_size_in_voxels": [40.0] * dims,
        "spacing": list(spacing[-dims:]),
        "normalization_schemes": ["CTNormalization"] * len(channels),
        "use_mask_for_norm": [False] * len(channels),
        "resampling_fn_data": resampling,
        "resampling_fn_seg": resampling,
        "resampling_fn_probabilities": resampling,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities_kwargs": {
            "is_seg": False,
            "order": 1,
            "order_z": 0,
            "force_separate_z": None,
            **(probability_kwargs or {}),
        },
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(features),
                "conv_op": conv,
                "kernel_sizes": [[3] * dims] * stages,
                "strides": [[1] * dims] + [[2] * dims] * (stages - 1),
                "n_conv_per_stage": [convolutions] * stages,
                "n_conv_per_stage_decoder": [convolutions] * (stages - 1),
                "conv_bias": True,
                "norm_op": norm,
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": True,
    }
    if previous_stage is not None:
        settings["previous_stage"] = previous_stage
    configurations = {configuration: settings}
    if previous_stage is not None:
        configurations[previous_stage] = {k: v for k, v in settings.items() if k != "previous_stage"}
    plans = {
        "dataset_name": "Dataset900_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": [40, 40, 40],
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [list(transpose).index(axis) for axis in range(3)],
        "configurations": configurations,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(n): CT_INTENSITIES for n in range(len(channels))},
    }
    dataset: dict[str, Any] = {
        "channel_names": {str(n): name for n, name in enumerate(channels)},
        "labels": dict(labels),
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    if regions_class_order is not None:
        dataset["regions_class_order"] = list(regions_class_order)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    manager = PlansManager(plans)
    chosen = manager.get_configuration(configuration)
    inputs = determine_num_input_channels(manager, chosen, dataset)  # a cascade gets the first stage's labels as well
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    for number, fold in enumerate(folds):
        torch.manual_seed(7 + number)
        network = get_network_from_plans(
            chosen.network_arch_class_name,
            chosen.network_arch_init_kwargs,
            chosen.network_arch_init_kwargs_req_import,
            inputs,
            heads,
            allow_init=True,
            deep_supervision=False,
        )
        with torch.no_grad():
            for layer in network.decoder.seg_layers:
                layer.weight.mul_(3.0)
                layer.bias.normal_()
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        torch.save(
            {
                "network_weights": network.state_dict(),
                "trainer_name": trainer,
                "init_args": {"configuration": configuration, "fold": fold},
                "inference_allowed_mirroring_axes": tuple(mirror) if mirror else None,
            },
            folder / f"fold_{fold}" / "checkpoint_final.pth",
        )
    return folder
