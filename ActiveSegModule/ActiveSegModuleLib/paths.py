"""Where ``activeseg`` is: beside the installed module, or in the checkout from which the module is run."""

from __future__ import annotations

import sys
from pathlib import Path

_PROJECT = "ActiveSegExtension"


def find_activeseg(library: Path = Path(__file__).parent) -> Path:
    """Put the folder that holds ``activeseg`` first on Python's path, once, and return it.

    First, because another copy of the same name may be installed in Slicer's Python. Raises ImportError when the folder
    is in neither place.
    """
    module = library.resolve().parent
    for folder in (module / _PROJECT, module.parent / _PROJECT):
        if (folder / "activeseg" / "__init__.py").is_file():
            if sys.path[0] != str(folder):
                sys.path.insert(0, str(folder))
            return folder
    raise ImportError(f"'{_PROJECT}' is neither in '{module}' nor in '{module.parent}'. Install ActiveSeg again.")
