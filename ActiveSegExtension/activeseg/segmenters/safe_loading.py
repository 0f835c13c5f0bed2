"""Loading checkpoints without running code that somebody hid in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from activeseg.errors import ModelError


@contextmanager
def safe_unpickling() -> Iterator[None]:
    """Within it every ``torch.load`` uses the safe unpickler, also where nnU-Net asks for the unsafe one.

    The allow-list is what genuine nnU-Net checkpoints hold beside tensors: numpy scalars and their dtypes.
    """
    import torch

    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = ("Float64DType", "Float32DType", "Float16DType", "Int64DType", "Int32DType", "BoolDType")
    allowed = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *(getattr(np.dtypes, k) for k in kinds)]
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        with torch.serialization.safe_globals(allowed):
            yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def unsafe_checkpoint(path: Path, error: Exception) -> ModelError:
    """The error for a checkpoint that the safe unpickler refused."""
    import re

    blocked = re.search(r"GLOBAL ([\w.]+)|Unsupported class ([\w.]+)|Unsupported operand", str(error))
    what = next((g for g in blocked.groups() if g), "an operation") if blocked else "something"
    return ModelError(
        f"The checkpoint {path} was not loaded: it wants to run '{what}', which weights never need.",
        "Only load models from people you trust; ask for a checkpoint that holds weights alone.",
        file=str(path),
        blocked=what,
    )
