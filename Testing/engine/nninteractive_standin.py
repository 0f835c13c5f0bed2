"""Weights for the original nnInteractive that are nobody's: a tiny network of its layout, trained on nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

LICENCE = "CC0 1.0\nRandom numbers, for tests.\n"
CONFIGURATION = "3d_fullres"
CHANNELS = 8
"""The image, the object as it was, and what belongs to the object and what does not for three kinds of prompts."""
ABILITIES = {
    "inference_class": "nnInteractiveInferenceSession",
    "inference_class_min_version": "2.0.0",
    "point_radius": 4,
    "preferred_scribble_thickness": [2, 2, 2],
    "interaction_decay": 0.98,
    "pad_mode_image": "constant",
    "supported_interactions": {"scribble": True, "lasso": True, "points": True, "bbox2d": True, "bbox3d": False},
    "supports_initial_label": True,
    "interaction_channels": 6,
    "channel_mapping": {
        "prev_seg": 0,
        "bbox2d": [1, 2],
        "bbox3d": [1, 2],
        "lasso": [1, 2],
        "points": [3, 4],
        "scribble": [5, 6],
    },
}


def plans(patch: int, features: tuple[int, ...]) -> dict[str, Any]:
    """As the authors' own ``plans.json``, of a smaller network."""
    stages = len(features)
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    kinds = ("data", "seg", "probabilities")
    return {
        "dataset_name": "Dataset225_StandIn",
        "plans_name": "nnUNetResEncUNetLPlans",
        "original_median_spacing_after_transp": [1, 1, 1],
        "original_median_shape_after_transp": [192, 192, 192],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {"mean": 0, "std": 1}},
        "configurations": {
            CONFIGURATION: {
                "data_identifier": "standin",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [patch] * 3,
                "median_image_size_in_voxels": [192] * 3,
                "spacing": [1, 1, 1],
                "normalization_schemes": ["ZScoreNormalization"],
                "use_mask_for_norm": [False],
                **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in kinds},
                **{f"resampling_fn_{kind}_kwargs": resampling for kind in kinds},
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
                    "arch_kwargs": {
                        "n_stages": stages,
                        "features_per_stage": list(features),
                        "conv_op": "torch.nn.modules.conv.Conv3d",
                        "kernel_sizes": [[3, 3, 3]] * stages,
                        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
                        "n_blocks_per_stage": [1] * stages,
                        "n_conv_per_stage_decoder": [1] * (stages - 1),
                        "conv_bias": True,
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                "batch_dice": False,
            }
        },
    }


def network(plan: Mapping[str, Any]) -> torch.nn.Module:
    """The network that these plans describe, as nnU-Net builds it."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    described = plan["configurations"][CONFIGURATION]["architecture"]
    built: torch.nn.Module = get_network_from_plans(
        described["network_class_name"],
        described["arch_kwargs"],
        described["_kw_requires_import"],
        CHANNELS,
        2,
        deep_supervision=False,
    )
    return built


def write_standin(
    folder: Path,
    patch: int = 64,
    features: tuple[int, ...] = (4, 8, 8),
    weights: Mapping[str, torch.Tensor] | None = None,
    licence: str = LICENCE,
) -> Path:
    """Write a folder that the original package loads; without ``weights`` they are random, always the same."""
    plan = plans(patch, features)
    if weights is None:
        before = torch.random.get_rng_state()
        torch.manual_seed(15)
        weights = network(plan).state_dict()
        torch.random.set_rng_state(before)
    fold = folder / "fold_0"
    fold.mkdir(parents=True)
    dataset = {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, "object": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    for name, content in (("plans.json", plan), ("dataset.json", dataset), ("inference_info.json", ABILITIES)):
        (folder / name).write_text(json.dumps(content), "utf-8")
    if licence:
        (folder / "LICENSE").write_text(licence, "utf-8")
    checkpoint = {
        "network_weights": dict(weights),
        "trainer_name": "nnInteractiveTrainer_stub",
        "init_args": {"configuration": CONFIGURATION},
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    return folder
