"""Files that look like TotalSegmentator's weights from outside, and archives of them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from activeseg.segmenters.totalsegmentator.tasks import TaskModel, task_named

BODY: TaskModel = task_named("body-fast").parts()[0]


def checkpoint_bytes() -> bytes:
    """A file that looks like a torch checkpoint from outside."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("checkpoint_final/data.pkl", b"x" * 200)
        archive.writestr("checkpoint_final/data/0", b"\0" * 30_000)
    return buffer.getvalue()


def files_of(model: TaskModel) -> dict[str, bytes]:
    """Paths below the weights' root and what a complete download has there."""
    base = f"{model.dataset}/{model.trained}"
    labels = {"background": 0, **{name: value for value, name in model.classes.items()}}
    return {
        f"{base}/plans.json": json.dumps({"configurations": {model.configuration: {}}}).encode(),
        f"{base}/dataset.json": json.dumps({"labels": labels}).encode(),
        f"{base}/fold_0/checkpoint_final.pth": checkpoint_bytes(),
    }


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def install(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
