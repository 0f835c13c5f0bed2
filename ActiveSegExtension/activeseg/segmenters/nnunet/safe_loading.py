"""Loading checkpoints without running code that somebody hid in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Set by users of nnU-Net for older checkpoints; torch refuses to load anything while both are set."""


@contextmanager
def safe_unpickling() -> Iterator[None]:
    """Within it every ``torch.load`` uses the safe unpickler, also where nnU-Net asks for the unsafe one.

    The allow-list is what nnU-Net's own checkpoints hold beside tensors: numpy scalars and their dtypes.
    """
    import torch

    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = ("Float64DType", "Float32DType", "Float16DType", "Int64DType", "Int32DType", "BoolDType")
    allowed = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *(getattr(np.dtypes, k) for k in kinds)]
    before = {name: os.environ.pop(name) for name in (_SAFE, _UNSAFE) if name in os.environ}
    os.environ[_SAFE] = "1"
    try:
        with torch.serialization.safe_globals(allowed):
            yield
    finally:
        del os.environ[_SAFE]
        os.environ.update(before)
