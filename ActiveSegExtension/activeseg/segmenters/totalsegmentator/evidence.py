"""What a task's networks say in a box, or in the whole image, without the package around them.

``totalsegmentator()`` crops and resamples whole images; a box needs one patch of each network. The image is resampled
to the task's spacing as the package does it (linearly), but on a grid that begins at the patch, so labels may differ
from the package's in single voxels at surfaces.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activeseg.core.geometry import Box, Geometry, box_on
from activeseg.core.progress import Progress
from activeseg.core.resample import sampled
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes
from activeseg.segmenters.nnunet import ensemble
from activeseg.segmenters.nnunet.case import OrientedImage, PreprocessedCase, preprocessed
from activeseg.segmenters.nnunet.device import cpu_threads
from activeseg.segmenters.nnunet.features import patch_around, patch_mm, trained_only
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.totalsegmentator.predict import final_values, kept_values
from activeseg.segmenters.totalsegmentator.tasks import FAMILY, Task, TaskModel
from activeseg.segmenters.totalsegmentator.votes import keeping, merged, part_votes


def evidence_of(
    task: Task,
    networks: Sequence[tuple[TaskModel, Network]],
    ct: Volume,
    box_kji: Box | None,
    settings: Settings,
    structures: Sequence[str],
    progress: Progress,
) -> GridVotes:
    """The votes and features of these networks in a box of the CT, or in all of it; ``structures`` as in a run."""
    seen: Volume | None = None
    parts = []
    for number, (model, network) in enumerate(networks):
        if seen is None:  # all parts of a task have one spacing and one patch size
            seen = _resampled(ct, box_kji, model, network)
        part = progress.part(number / len(networks), (number + 1) / len(networks))
        case = _preprocessed(task, network, seen)
        with cpu_threads(settings.threads):
            result = ensemble.run(
                network, case.data, trained_only(network, settings), part, keep_logits=False, all_features=True
            )
        parts.append(part_votes(case, result, final_values(task, model, network.heads)))
    return keeping(merged(parts), kept_values(task, structures))


def _resampled(ct: Volume, box_kji: Box | None, model: TaskModel, network: Network) -> Volume:
    """What lies around the box, in the orientation and at the spacing in which the package hands images over."""
    whole = ct.canonical()
    spacing = model.spacing_xyz or whole.geometry.spacing_xyz
    if box_kji is not None:
        wanted = patch_mm(network, whole.geometry.spacing_xyz[::-1])
        whole = whole.cropped(patch_around(box_on(box_kji, ct.geometry, whole.geometry), whole.geometry, wanted))
    if model.spacing_xyz is None:
        return whole
    own = whole.geometry
    shape = [
        max(1, int(np.floor((n - 1) * old / new + 1e-6)) + 1)
        for n, old, new in zip(own.shape_kji, own.spacing_xyz[::-1], spacing[::-1], strict=True)
    ]
    matrix = own.ijk_to_ras.copy()
    matrix[:3, :3] *= np.asarray(spacing) / np.asarray(own.spacing_xyz)
    grid = Geometry.from_ijk_to_ras(matrix, shape)
    array = np.concatenate([slab for _, slab in sampled(whole, grid)])
    return Volume(array, grid, ct.name)


def _preprocessed(task: Task, network: Network, seen: Volume) -> PreprocessedCase:
    import torch

    plans = network.predictor.plans_manager
    spacing = list(seen.geometry.spacing_xyz[::-1])
    stack = seen.array[None].astype(np.float32)
    data, properties = preprocessed(network.predictor, stack, {"spacing": spacing}, f"{FAMILY}:{task.name}")
    image = OrientedImage(seen.array, spacing, seen.geometry, lambda labels: labels)
    forward, backward = tuple(plans.transpose_forward), tuple(plans.transpose_backward)
    return PreprocessedCase(torch.from_numpy(data), properties, forward, backward, image)
