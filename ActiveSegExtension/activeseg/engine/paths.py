"""Paths as requests name them."""

from __future__ import annotations

import os
from pathlib import Path

from activeseg.core.errors import InputError, shown


def path_of(text: str) -> Path:
    """The absolute path that a text names. Raises InputError when none can be named so, whatever lies on the disk."""
    try:
        path = Path(text).expanduser().absolute()
        os.fsencode(path)
    except RuntimeError as error:  # ~name of nobody
        raise InputError(f"The path {shown(text)} begins with a user that this computer does not know.") from error
    except UnicodeError as error:
        raise InputError(f"The path {shown(text)} holds characters that no file can have in its name.") from error
    if not text or "\0" in text:
        raise InputError(f"{shown(text)} is not a path.")
    return path
