"""What a process that was killed while it wrote a prediction left beside the output folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Output:
    """The folder that a job will write, and its siblings before that."""

    folder: Path
    existed: bool
    siblings: frozenset[str]

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Output | None:
        """None when the job writes no prediction folder, or names one that cannot be."""
        given = params.get("output")
        if not isinstance(given, str) or not given or "\0" in given:
            return None
        folder = Path(given).expanduser().absolute()
        return cls(folder, folder.exists(), frozenset(_names(folder.parent)))

    def tidy(self) -> None:
        """Bring back how it was: remove temporary siblings, put an old prediction back, remove one of this job's own.

        The names are those of ``Prediction.save``.
        """
        stem = re.escape(self.folder.name)
        parent = self.folder.parent
        for name in set(_names(parent)) - self.siblings:
            path = parent / name
            if re.fullmatch(rf"\.{stem}\.old\.\w{{8}}", name):
                if not self.folder.exists():
                    with contextlib.suppress(OSError):
                        os.rename(path / "old", self.folder)
                shutil.rmtree(path, ignore_errors=True)
            elif re.fullmatch(rf"\.{stem}\.\w{{8}}", name):
                shutil.rmtree(path, ignore_errors=True)
        if not self.existed:
            shutil.rmtree(self.folder, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
