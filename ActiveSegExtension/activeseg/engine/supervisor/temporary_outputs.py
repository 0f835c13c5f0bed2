"""What a process that was killed while it wrote a prediction left: its folder is brought back to how it was."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, InputError
from activeseg.engine.paths import path_of
from activeseg.predictions import prediction_folder


@dataclass(frozen=True)
class Output:
    """The folder that a job will write, and its siblings before that."""

    folder: Path
    existed: bool
    siblings: frozenset[str]

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Output | None:
        """None when the job writes no prediction folder, or names one that cannot be, which the job will refuse."""
        given = params.get("output")
        if not isinstance(given, str):
            return None
        try:
            folder = path_of(given).resolve()
            return cls(folder, folder.exists(), prediction_folder.names_beside(folder))
        except (InputError, OSError, RuntimeError):
            return None

    def tidy(self) -> None:
        """Bring back an old prediction, sweep this job's own siblings, and remove a folder that it has made."""
        with contextlib.suppress(ActiveSegError, OSError):
            prediction_folder.recover(self.folder, 0.0, self.siblings)
        if not self.existed:
            prediction_folder.remove_ours(self.folder)
