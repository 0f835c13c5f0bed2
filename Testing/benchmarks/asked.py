"""What every benchmark does before its work: it says in a sentence what it lacks, and ends with exit code 2."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ENGINE, SLICER = (".venv/bin/python", "nnunetv2"), (".venv-slicer/bin/python", "slicer")
"""The environments' Pythons, and a package that only the one has."""


def refuse(sentence: str) -> NoReturn:
    """End with this sentence."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


def started_in(environment: tuple[str, str], script: str, about: str | None) -> None:
    """Called before a benchmark imports what only one of the environments has; another one still shows the help."""
    python, package = environment
    if find_spec(package) is not None:
        return
    if {"-h", "--help"} & set(sys.argv):
        print(about)
        sys.exit(0)
    refuse(f"{Path(script).name} needs '{package}': run it with {python}.")


def file_to_write(text: str) -> Path:
    """For ``argparse``: a file that can be written when the work is done."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"'{path}' cannot be written: there is no folder for it")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder")
    return path


def file_to_read(text: str) -> Path:
    """For ``argparse``: a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def at_least_one(text: str) -> int:
    """For ``argparse``: a number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1")
    return int(text)


def nifti(text: Path) -> Path:
    """The CT that a benchmark works on, looked at before the work."""
    import nibabel

    path = text.resolve()
    if not path.is_file():
        refuse(f"There is no image {text}; give a NIfTI file with --image.")
    try:
        image = nibabel.load(path)
    except (nibabel.filebasedimages.ImageFileError, OSError, ValueError) as error:
        refuse(f"{text} is not a NIfTI image ({error}); give one with --image.")
    if len(image.shape) != 3 or min(image.shape) < 2:
        refuse(f"{text} has the shape {image.shape}; give a CT of three axes with --image.")
    return path
