"""ActiveSeg: segment a CT, review where the model is uncertain, correct it, and fine-tune the model on the corrections.

What a script needs is here, and is loaded when it is first used: ``read_volume`` and ``open_model`` give what
``segment`` takes; ``Dataset`` holds corrected cases; ``Project`` holds a model's versions and what they learn from.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from activeseg.core.about import __version__

if TYPE_CHECKING:
    from activeseg.dataset.dataset import Dataset
    from activeseg.io.images import read_volume
    from activeseg.learning.project.project import Project
    from activeseg.models import open_model
    from activeseg.predictions.make_prediction import segment

_MODULES = {
    "Dataset": "dataset.dataset",
    "Project": "learning.project.project",
    "open_model": "models",
    "read_volume": "io.images",
    "segment": "predictions.make_prediction",
}

__all__ = ["Dataset", "Project", "__version__", "open_model", "read_volume", "segment"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
