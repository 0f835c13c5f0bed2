"""What a training will take on this device: one step is timed, and what it keeps is counted."""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import asdict, dataclass
from typing import Any

from activeseg.learning.parent import ParentNetwork
from activeseg.learning.plan import TrainingPlan
from activeseg.learning.preparation import Target

_AUGMENTATION = 1.5
"""Time of an iteration, with its data and augmentation, to that of its step, in one process: 0.24 to 0.16 s, measured
with the demonstration model."""


@dataclass(frozen=True)
class TrainingEstimate:
    """Seconds of one iteration and of all, bytes at the peak (of a GPU's memory where one is used), and parameters."""

    iteration_s: float
    seconds: float
    peak_bytes: int
    parameters: int
    learning: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(parent: ParentNetwork, plan: TrainingPlan, target: Target) -> TrainingEstimate:
    """Build the network, do one step with noise, and reckon. Raises ModelError, and torch's errors when that fails."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from activeseg.learning.trainer import freeze

    device = torch.device(plan.device)
    plans = PlansManager(dict(parent.plans))
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
    seconds = []
    for _ in range(2):
        kept = 0
        started = time.perf_counter()
        outputs = network(torch.randn((batch, channels, *patch), device=device))
        sum(output.float().mean() for output in outputs).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    for hook in hooks:
        hook.remove()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    learning = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    peak = parameters * 4 + learning * 12 + 2 * kept  # weights; gradients and AdamW's two moments; what backward needs
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) + learning * 8
    iteration = min(seconds) * _AUGMENTATION
    return TrainingEstimate(round(iteration, 3), round(iteration * plan.all_iterations, 1), peak, parameters, learning)
