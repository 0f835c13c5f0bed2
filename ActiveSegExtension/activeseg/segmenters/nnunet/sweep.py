"""The sweep of a network's patch over an image: tiles, their blending, and what interrupts it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from activeseg.core.errors import DeviceError, ModelError
from activeseg.core.progress import Progress
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.nnunet.precision import bfloat16_pays
from activeseg.system.heap import is_out_of_memory


@contextlib.contextmanager
def cancellable(module: torch.nn.Module, progress: Progress) -> Iterator[None]:
    """Ask before every layer whether the user cancelled (a tile of a real model takes seconds on a CPU)."""

    def check(*_: Any) -> None:
        progress.check()

    hooks = [m.register_forward_pre_hook(check) for m in module.modules() if not list(m.children())]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def out_of_memory_is_an_error(network: Network) -> Iterator[None]:
    """Turn torch's out-of-memory exceptions into one sentence, and what a broken GPU says into another one."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise DeviceError(
                f"The device '{network.device.type}' ran out of memory while segmenting.",
                "Close other programs, choose fewer members, a coarser model, or the CPU.",
            ) from error
        if network.device.type == "cuda" and ("CUDA error" in str(error) or "cuDNN error" in str(error)):
            raise DeviceError(
                f"The GPU failed: {str(error).splitlines()[0]}.",
                "Update its driver, install PyTorch for this GPU, or choose the CPU.",
            ) from error
        raise


@dataclass(frozen=True)
class Slab:
    """Planes ``start`` to ``stop`` of the blended output: (C or F, stop - start, y, x)."""

    start: int
    stop: int
    values: torch.Tensor


def _padded(network: Network, data: torch.Tensor) -> tuple[torch.Tensor, tuple[slice, ...], list[tuple[Any, ...]]]:
    """nnU-Net's own padding to at least one patch, the way back, and its tiles."""
    from acvl_utils.cropping_and_padding.padding import pad_nd_image

    padded, back = pad_nd_image(data, network.patch, "constant", {"value": 0}, True, None)
    return padded, back[1:], network.predictor._internal_get_sliding_window_slicers(padded.shape[1:])


def _mirrored(network: Network, tile: torch.Tensor, mirror: bool) -> torch.Tensor:
    """Mean over nnU-Net's mirrored passes (itself included) of the network's output for one tile."""
    predictor = network.predictor
    predictor.use_mirroring = mirror
    result: torch.Tensor = predictor._internal_maybe_mirror_and_predict(tile)
    return result[0]


@torch.inference_mode()
def sweep_exact(
    network: Network, data: torch.Tensor, mirror: bool, progress: Progress, offload: bool = False
) -> torch.Tensor:
    """The logits (C, z, y, x), float16, bit by bit those of ``nnUNetPredictor`` (float16 Gaussian and sums).

    ``data`` is the preprocessed image (c, z, y, x), float32; ``offload`` keeps it and the sums in the computer's
    memory, and only one tile on the GPU. The arithmetic follows
    ``_internal_predict_sliding_window_return_logits`` of nnunetv2 2.8, without its threads.
    """
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    padded, back, tiles = _padded(network, data)
    device = network.device
    results = device if device.type == "cuda" and not offload else torch.device("cpu")
    padded = padded.to(results)
    gaussian = compute_gaussian(network.patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=results)
    logits = torch.zeros((network.heads, *padded.shape[1:]), dtype=torch.half, device=results)
    weights = torch.zeros(padded.shape[1:], dtype=torch.half, device=results)
    halves = device.type == "cuda" and network.autocast
    autocast = torch.autocast(device.type) if halves else contextlib.nullcontext()
    with cancellable(network.predictor.network, progress), autocast:
        for done, tile in enumerate(tiles):
            progress("network", done / len(tiles))
            image = torch.clone(padded[tile][None], memory_format=torch.contiguous_format).to(device)
            output = _mirrored(network, image, mirror).to(results)
            output *= gaussian
            logits[tile] += output
            weights[tile[1:]] += gaussian
    torch.div(logits, weights, out=logits)
    if not all(torch.isfinite(extreme) for extreme in torch.aminmax(logits)):
        raise ModelError(
            "The network's logits overflow float16, so exact mode cannot be used.", "Use fast mode.", setting="mode"
        )
    return logits[(slice(None), *back)]


@torch.inference_mode()
def sweep_fast(
    network: Network, data: torch.Tensor, features: bool, mirror: bool, progress: Progress, offload: bool = False
) -> Iterator[Slab]:
    """The blended output slab by slab along z, float32: logits, or decoder features when ``features``.

    The head is a 1x1x1 convolution and blending is linear with weights that sum to 1, so head(blend(features)) =
    blend(logits). nnU-Net's tiles come z outermost, so planes before the next tile's start are finished: only
    one patch depth of sums exists at a time.
    """
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    padded, back, tiles = _padded(network, data)
    device = network.device
    results = torch.device("cpu") if offload else device
    padded = padded.to(results)
    flat = len(network.patch) == 2
    gaussian = None
    if len(tiles) > (padded.shape[1] if flat else 1):  # one tile alone needs no weights
        # nnU-Net's own float16 weights, whose tails are cut off: others would blend the corners of tiles differently
        gaussian = compute_gaussian(network.patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=results).float()
    model = network.predictor.network
    precision = fast_precision(network, progress)
    head = network.head
    if features:
        assert head is not None
        model.decoder.seg_layers[-1] = torch.nn.Identity()
    try:
        with cancellable(model, progress):
            yield from _blend(network, padded, tiles, gaussian, mirror, precision, back, progress)
    finally:
        if features:
            model.decoder.seg_layers[-1] = head


def fast_precision(network: Network, progress: Progress) -> torch.dtype | None:
    """Half precision on CUDA; on a CPU bfloat16 where that is quicker; None is float32."""
    if network.device.type == "cuda":
        return torch.float16
    if network.device.type != "cpu":
        return None
    if network.bf16_pays is None:
        progress("network", 0.0, "finding out what this CPU computes fastest")
        network.bf16_pays = bfloat16_pays(progress.check)
    return torch.bfloat16 if network.bf16_pays else None


def _blend(
    network: Network,
    padded: torch.Tensor,
    tiles: list[tuple[Any, ...]],
    gaussian: torch.Tensor | None,
    mirror: bool,
    precision: torch.dtype | None,
    back: tuple[slice, ...],
    progress: Progress,
) -> Iterator[Slab]:
    device, results = network.device, padded.device
    depth = 1 if len(network.patch) == 2 else network.patch[0]
    starts = [t[1] if isinstance(t[1], int) else t[1].start for t in tiles]
    first = back[0].start or 0
    last = back[0].stop if back[0].stop is not None else padded.shape[1]
    sums: torch.Tensor | None = None
    weights = torch.zeros((depth, *padded.shape[2:]), device=results)
    done = 0
    groups = [(z, [t for _, t in g]) for z, g in itertools.groupby(zip(starts, tiles, strict=True), key=lambda p: p[0])]
    for number, (z, group) in enumerate(groups):
        for tile in group:
            progress("network", done / len(tiles))
            with torch.autocast(device.type, precision) if precision is not None else contextlib.nullcontext():
                output = _mirrored(network, padded[tile][None].to(device), mirror).float().to(results)
            if len(network.patch) == 2:
                output = output[:, None]
            done += 1
            if gaussian is None:  # nothing to blend
                part = slice(max(first - z, 0), min(last - z, depth))
                yield Slab(z + part.start - first, z + part.stop - first, output[:, part, *back[1:]])
                continue
            if sums is None:
                sums = torch.zeros((output.shape[0], depth, *padded.shape[2:]), device=results)
            where = tile[-2:]
            sums[:, :, *where] += output.mul_(gaussian)
            weights[:, *where] += gaussian
        if sums is None:
            continue
        following = groups[number + 1][0] if number + 1 < len(groups) else z + depth
        finished = following - z
        a, b = max(z, first), min(following, last)
        if b > a:
            part = slice(a - z, b - z)
            values = sums[:, part] / weights[part]
            yield Slab(a - first, b - first, values[(slice(None), slice(None), *back[1:])])
        for window in (sums, weights[None]):
            if finished < depth:
                window[:, :-finished] = window[:, finished:].clone()
            window[:, -finished:] = 0
