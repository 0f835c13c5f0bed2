"""An engine that has a case open for prompts, and answers them with a cube."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answering_engine import AnsweringEngine
from user import User


def refining_engine(user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AnsweringEngine:
    """Answers a click with a cube around the last prompt's first point; ``pid`` is that of its process."""
    made = AnsweringEngine(user.module, monkeypatch)
    made.answers["hello"] = {}
    monkeypatch.setattr(
        type(user.logic.engine), "engine", property(lambda _self: {"inbox": str(tmp_path), "pid": made.pid})
    )
    made.answers["refine.open"] = lambda _params: {
        "session": f"s{made.pid}",
        "refiners": ["features", "walker"],
        "kept": True,
        "spreads": True,
    }
    made.answers["refine"] = lambda params: answer(params, tmp_path)
    made.answers["job.release"] = {"released": True}
    return made


def answer(params: Mapping[str, Any], folder: Path, value: int | None = None) -> dict[str, Any]:
    labels, prompt = np.load(params["labels"]), params["prompts"][-1]
    first = [span[0] for span in params["box_kji"]]
    at = [point - low for point, low in zip(prompt["points_kji"][0], first, strict=True)]
    cube = np.zeros(labels.shape, bool)
    cube[tuple(slice(max(0, n - 1), n + 2) for n in at)] = True
    names = ["liver", "kidney_left", "kidney_right", "spleen", "aorta"]
    own = names.index(prompt["structure"]) + 1 if value is None else value
    then = np.full(labels.shape, own if prompt.get("include", True) else 0, np.uint8)
    changed = cube & ((labels == 0) if prompt.get("include", True) else (labels == own))
    path = folder / f"patch{len(list(folder.glob('patch*')))}.npz"
    np.savez(path, labels=then, changed=changed)
    entry = {"summary": "a cube", "votes": 0, "members": ["features"], "gains": {}, "loses": {}}
    return {"alternative": entry, "patch": str(path), "box_kji": params["box_kji"], "refiner": "features"}
