"""Whether a CPU segments quicker in bfloat16: asked of torch, tried on a layer that grows, and remembered.

Without units for it one layer of a real network takes a minute in bfloat16 (400 times what float32 takes), and a pass
that has begun cannot be ended. So the library is asked first, and what is timed begins so small that even then it is
over in a part of a second, and grows only while both are quick.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, ModelError
from activeseg.system.files import write_json
from activeseg.system.folders import default_home
from activeseg.system.regular_files import read_json

FILE = "precision.json"
SIZES = (8, 12, 16, 24)
"""Voxels along each side of the layer's image: 28 million to 0.8 billion operations with its 32 channels."""
PASSES = 3
ENOUGH_S = 0.25
"""So much time for one size; one pass in each precision is made in any case."""
LIMIT_S = 0.5
"""A size is not begun when it is expected to end later than that."""
LOST = 4.0
"""So many times slower, and no larger layer brings it back: up to 2.5 were seen for the smallest where it pays."""
_PAYS = 0.9
_BUSY = 1.5  # processes that run or wait for each core
_TOO_SHORT_S = 0.005  # a difference of less is the system's
_CHANNELS = 32
_REMEMBERED = 200  # computers that share a home folder
_LARGEST = 1 << 20  # bytes
_LIMITS_OF_ONEDNN = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "ATEN_CPU_CAPABILITY")


def bfloat16_pays(check: Callable[[], None], path: Path | None = None) -> bool:
    """Whether a network's forward pass is quicker in bfloat16 than in float32 on this CPU.

    Parameters
    ----------
    check : called before every pass; what it raises (``Cancelled``) ends the trial, and nothing is remembered
    path : of the answers for all computers; by default beside what the engine keeps. A file that is damaged, or cannot
        be written, or a computer that is busy, only means that it is tried again
    """
    if not has_bfloat16():
        return False
    path = path or _answers_file()
    computer = computer_key()
    known = _read(path).get(computer)
    if isinstance(known, bool):
        return known
    answer = is_quicker(seconds, check)
    if not is_busy():
        _remember(path, computer, answer)
    return answer


def is_busy() -> bool:
    """Whether so much else runs that times say little: then the answer is good for this process, and not kept."""
    try:
        return os.getloadavg()[0] > _BUSY * (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows does not tell
        return False


def has_bfloat16() -> bool:
    """What torch says of this CPU; True where it does not say, for then a trial tells.

    oneDNN's own limit (``ONEDNN_MAX_CPU_ISA``) is not known to every version of torch.
    """
    import torch

    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a build without oneDNN
        return True


def is_quicker(timed: Callable[[bool, int], float], check: Callable[[], None]) -> bool:
    """Whether bfloat16 wins where the layer is as large as time allows; given up at the size where it has clearly lost.

    Parameters
    ----------
    timed : (in bfloat16, size) -> seconds of one pass
    """
    spent, ratio = 0.0, math.inf
    for size, following in zip(SIZES, (*SIZES[1:], 0), strict=True):
        best, begun = {False: math.inf, True: math.inf}, spent
        for _ in range(PASSES):  # the first one prepares the kernels
            for half in (False, True):
                check()
                took = timed(half, size)
                best[half], spent = min(best[half], took), spent + took
            if spent - begun > ENOUGH_S:
                break
        ratio = best[True] / max(best[False], 1e-9)
        if ratio > LOST and best[True] > _TOO_SHORT_S:
            return False
        if spent + (best[False] + best[True]) * (following / size) ** 3 > LIMIT_S:
            break
    return ratio < _PAYS


def seconds(half: bool, size: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """One pass of a U-Net's commonest layer over ``size``^3 voxels. Draws no random number, touches no network."""
    import torch
    from torch.nn import functional

    with torch.inference_mode():
        image = torch.full((1, _CHANNELS, size, size, size), 0.5)
        weight = torch.full((_CHANNELS, _CHANNELS, 3, 3, 3), 0.01)
        started = clock()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            functional.leaky_relu(functional.instance_norm(functional.conv3d(image, weight, padding=1)))
        return clock() - started


def computer_key() -> str:
    """A digest of what the answer depends on: the CPU, torch, and what limits either."""
    import torch

    known = [platform.machine(), torch.__version__, torch.backends.cpu.get_cpu_capability(), *_cpu()]
    known += [f"{name}={os.environ.get(name, '')}" for name in _LIMITS_OF_ONEDNN]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:32]


def _cpu() -> list[str]:
    """Name and abilities of the first CPU; the computer's name where the system does not tell them."""
    told = ("vendor_id", "cpu family", "model", "model name", "flags", "CPU implementer", "CPU part", "Features")
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return [platform.processor(), platform.node()]
    return [line for line in first.splitlines() if line.partition(":")[0].strip() in told]


def _answers_file() -> Path | None:
    try:
        return default_home() / FILE
    except RuntimeError:  # a user without a home folder
        return None


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return read_json(path, ModelError, limit=_LARGEST)
    except ActiveSegError:
        return {}


def _remember(path: Path | None, computer: str, answer: bool) -> None:
    if path is None:
        return
    known = _read(path)
    known.pop(computer, None)
    known[computer] = answer
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(path, dict(list(known.items())[-_REMEMBERED:]), indent=None)
