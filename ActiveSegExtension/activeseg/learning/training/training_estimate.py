"""What a training will take on this device: a step is timed, and what it keeps is counted.

Where the whole patch would take long it is a part of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from activeseg.core.errors import DeviceError
from activeseg.learning.training.parent_network import ParentNetwork
from activeseg.learning.training.target import Target
from activeseg.learning.training.training_plan import TrainingPlan
from activeseg.system.heap import is_out_of_memory
from activeseg.system.switches import switches_off

_AUGMENTATION = 1.5
"""Time of an iteration, with its data and augmentation, to that of its step, in one process: 0.24 to 0.16 s, measured
with the demonstration model."""
_FORWARD = 0.3
"""Time of a pass without gradients to that of a step."""
_TRUSTED_S = 0.3
"""A step that takes so long tells what the whole patch would take; only a shorter one is followed by a larger one."""


@dataclass(frozen=True)
class TrainingEstimate:
    """Seconds of one iteration and of all, bytes at the peak (of a GPU's memory where one is used), and parameters."""

    iteration_s: float
    seconds: float
    peak_bytes: int
    parameters: int
    learning: int


def estimate(parent: ParentNetwork, plan: TrainingPlan, target: Target, replays: bool = False) -> TrainingEstimate:
    """Build the network, do one step with noise, and reckon; ``replays`` says whether there are replayed images.

    The parent's plans and weights were checked when it was opened. Raises ModelError, DeviceError when the step does
    not fit, and torch's errors when it fails otherwise.
    """
    try:
        with switches_off():
            return _estimated(parent, plan, target, replays)
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise too_little_memory(plan) from error
        raise


def _estimated(parent: ParentNetwork, plan: TrainingPlan, target: Target, replays: bool) -> TrainingEstimate:
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from activeseg.learning.training.trainer import freeze

    device = torch.device(plan.device)
    plans = PlansManager(json.loads(json.dumps(parent.plans)))  # nnU-Net changes old ones where they are
    configuration = plans.get_configuration(parent.configuration)
    labels = plans.get_label_manager({**parent.dataset, "labels": dict(target.labels)})
    channels = len(parent.channels)
    with contextlib.redirect_stdout(io.StringIO()):
        network = nnUNetTrainer.build_network_architecture(
            plans, configuration, channels, labels.num_segmentation_heads, True
        ).to(device)
    freeze(network, plan.frozen_stages)
    kept = 0

    def count(_module: Any, _inputs: Any, output: Any) -> None:
        nonlocal kept
        if isinstance(output, torch.Tensor) and output.requires_grad:
            kept += output.numel() * 4

    hooks = [module.register_forward_hook(count) for module in network.modules() if not list(module.children())]
    patch = plan.patch_kji or tuple(configuration.patch_size)
    batch = plan.batch_size or int(configuration.batch_size)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step_s, share = math.inf, 1.0
    whole = (batch, *patch)
    parts = [] if device.type == "cuda" else parts_of(patch, _strides(configuration))
    for size in (*((1, *part) for part in parts), whole):
        share, step_s = math.prod(whole) / math.prod(size), math.inf
        for _ in range(2):  # the first one prepares
            kept = 0
            started = time.perf_counter()
            outputs = network(torch.randn((size[0], channels, *size[1:]), device=device))
            sum(output.float().mean() for output in outputs).backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            step_s = min(step_s, time.perf_counter() - started)
        if step_s > _TRUSTED_S:
            break
    for hook in hooks:
        hook.remove()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    learning = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    # weights; gradients and AdamW's two moments; what backward needs
    peak = parameters * 4 + learning * 12 + 2 * round(kept * share)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) + learning * 8
    iteration = step_s * share * _AUGMENTATION
    if replays and plan.distillation:  # the parent's weights, and its pass over the replayed patches
        peak += parameters * 4
        iteration += step_s * share * plan.replay * _FORWARD
    return TrainingEstimate(round(iteration, 3), round(iteration * plan.all_iterations, 1), peak, parameters, learning)


def too_little_memory(plan: TrainingPlan) -> DeviceError:
    """What a user is told when a training's step does not fit."""
    return DeviceError(
        f"The device '{plan.device}' has too little memory to train this network.",
        "Choose a smaller batch or patch, close other programs, or train on the CPU.",
    )


def parts_of(patch: Sequence[int], strides: Sequence[int]) -> list[tuple[int, ...]]:
    """Smaller patches that the network takes as well, smallest first; ``strides`` are those of all its stages together.

    Each axis is halved while the deepest stage still has two voxels along it.
    """
    parts: list[tuple[int, ...]] = []
    part = tuple(patch)
    while True:
        half = tuple(n // 2 if n % (2 * s) == 0 and n // 2 >= 2 * s else n for n, s in zip(part, strides, strict=True))
        if half == part:
            return parts[::-1]
        part = half
        parts.append(part)


def _strides(configuration: Any) -> list[int]:
    """By how much the deepest stage of a U-Net is smaller along each axis; beyond measure for any other network, whose
    patch may have to be as it is."""
    told, axes = configuration.network_arch_init_kwargs.get("strides"), range(len(configuration.patch_size))
    if "unet" not in configuration.network_arch_class_name or not isinstance(told, list | tuple):
        return [1 << 30 for _ in axes]
    return [math.prod(stage if isinstance(stage, int) else stage[axis] for stage in told) for axis in axes]
