"""What torch sees in the worker: its libraries, the devices, and how fast one of them is."""

from __future__ import annotations

import importlib
import math
import sys
import time
from contextlib import suppress
from typing import Any

from activeseg.core.progress import Progress
from activeseg.engine.worker import memory

_TRUSTED_S = 0.02
"""A pass that takes so long is timed well enough; the next size would take eight times that."""


def load_libraries(progress: Progress, totalsegmentator: bool) -> str:
    """Import what a network needs, and for TotalSegmentator its package, too; torch's version."""
    import torch

    progress("import", 0.4)
    importlib.import_module("nnunetv2.inference.predict_from_raw_data")
    if totalsegmentator:
        progress("import", 0.7)
        importlib.import_module("totalsegmentator.python_api")
    return str(torch.__version__)


def torch_version() -> str | None:
    """Its version, or None while torch is not loaded."""
    return getattr(sys.modules.get("torch"), "__version__", None)


def seen() -> list[dict[str, Any]]:
    """The devices that torch sees; none while torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    devices: list[dict[str, Any]] = [{"name": "cpu", "threads": torch.get_num_threads()}]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        told = {"name": f"cuda:{index}", "model": about.name, "total_bytes": about.total_memory}
        if index == 0:  # asking another one would take some of its memory, and it may be somebody else's
            with suppress(RuntimeError):
                told["free_bytes"] = memory.free_vram()
        devices.append(told)
    if torch.backends.mps.is_available():
        devices.append({"name": "mps"})
    return devices


def timed_rate(device: Any) -> float:
    """Floating point operations per second of a small convolution on a torch device, as in a U-Net's first stages.

    The image grows until one pass takes long enough to be trusted, so that a slow computer is not kept busy.
    """
    import torch

    best = 0.0
    with torch.inference_mode():
        layer = torch.nn.functional.conv3d
        weight = torch.zeros((32, 32, 3, 3, 3), device=device)
        for size in (8, 16, 32, 64):
            image = torch.zeros((1, 32, size, size, size), device=device)
            flops = 2.0 * 27 * 32 * 32 * size**3
            took = math.inf
            for _ in range(2):  # the first one prepares
                started = time.perf_counter()
                float(layer(image, weight, padding=1)[0, 0, 0, 0, 0])  # reading a value waits for a GPU
                took = min(took, time.perf_counter() - started)
            best = max(best, flops / took)
            if took > _TRUSTED_S:
                break
    return best


def kind_of(name: str) -> str:
    """``cpu``, ``cuda`` or ``mps``: what a setting such as ``auto`` comes to on this computer. Raises DeviceError."""
    from activeseg.segmenters.nnunet.device import resolve_device

    return str(resolve_device(name).type)
