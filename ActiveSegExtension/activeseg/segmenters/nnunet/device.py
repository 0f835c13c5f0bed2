"""Which device a network runs on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from activeseg.core.errors import DeviceError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> torch.device:
    """The torch device of ``auto`` (CUDA, else Apple's, else CPU), ``cpu``, ``cuda`` or ``mps``.

    Raises DeviceError when the device that was asked for by name is not there: never another one silently.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if available[d]))
    if name not in available:
        raise DeviceError(f"There is no device '{name}'.", f"Choose one of {', '.join(DEVICES)}.")
    if not available[name]:
        why = "this torch is a CPU build" if name == "cuda" and torch.version.cuda is None else "torch does not see one"
        raise DeviceError(
            f"The device '{name}' is not available: {why}.", "Choose the device 'cpu', or 'auto'.", setting="device"
        )
    return torch.device(name)


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Within it torch computes with so many threads on the CPU; 0 leaves that to torch."""
    import torch

    before = torch.get_num_threads()
    try:
        if count:
            torch.set_num_threads(count)
        yield
    finally:
        if count:
            torch.set_num_threads(before)
