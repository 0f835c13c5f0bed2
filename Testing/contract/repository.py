"""What is in the repository: its own files, not what tools put beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ActiveSegExtension"
ACTIVESEG = PACKAGE / "activeseg"
MODULE = ROOT / "ActiveSegModule"

BINARY = {".png", ".pth", ".npz", ".npy", ".gz", ".mrb", ".nrrd", ".qm"}
_NOT_OURS = {"__pycache__", "build", "dist", "demo-output"}
_AS_WRITTEN = "files_of_0_1_0"
"""A folder of files as an earlier version wrote them."""


def files(folder: Path = ROOT) -> Iterator[Path]:
    """All files in ``folder`` but those in hidden folders (``.ci`` is ours), caches and build outputs."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name not in _NOT_OURS and (name == ".ci" or not name.startswith("."))
        )
        yield from (Path(where) / name for name in sorted(names))


def text_files(folder: Path = ROOT) -> Iterator[Path]:
    """Those that are text and ours to shape; ``.git`` is a file in a work tree."""
    found = (path for path in files(folder) if path.suffix not in BINARY and path.name != ".git")
    return (path for path in found if _AS_WRITTEN not in path.parts)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
