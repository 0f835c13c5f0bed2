"""What the commands' arguments mean: lists, numbers, ``NAME=VALUE`` pairs and the images of a model's channels."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from activeseg.core.channel_names import different_names
from activeseg.core.errors import InputError, shown

if TYPE_CHECKING:
    from activeseg.commands.conversation import Conversation
    from activeseg.core.volume import Volume

_LONGEST_RANGE = 100_000


def names(text: str, option: str) -> tuple[str, ...]:
    """``a, b`` as a tuple without repetitions. Raises InputError for a list with nothing between two commas."""
    if not text.strip():
        return ()
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if "" in found:
        raise InputError(f"{option} is '{text}'.", "Give names with a comma between them, such as liver,spleen.")
    return found


def channel_names(text: str, option: str) -> tuple[str, ...]:
    """``CT, CT`` as ``CT``, ``CT_2``. Raises InputError as ``names``."""
    names(text, option)
    return different_names(name.strip() for name in text.split(","))


def is_number(text: str) -> bool:
    """Whether it is a whole number from 0, of a size that anything here could have."""
    return re.fullmatch("[0-9]{1,9}", text) is not None


def numbers(text: str, option: str) -> tuple[int, ...]:
    """``1,2,5-7`` as 1, 2, 5, 6, 7. Raises InputError."""
    found: dict[int, None] = {}
    for part in names(text, option):
        first, dash, last = part.partition("-")
        if not is_number(first) or (dash and not is_number(last)) or int(last or first) - int(first) > _LONGEST_RANGE:
            raise InputError(f"{option} is {shown(text)}.", "Give numbers and ranges, such as 1,2,5-7.")
        found.update(dict.fromkeys(range(int(first), int(last or first) + 1)))
    return tuple(found)


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """Each ``NAME=VALUE``; the value may be empty. Raises InputError for another form and for a name given twice."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.rpartition("=") if option == "--map" else text.partition("=")
        if not equals or not name:
            raise InputError(f"{option} is '{text}'.", "Give a name, an equals sign and a value.")
        if name in found:
            raise InputError(f"{option} is given twice for '{name}'.", "Give it once.")
        found[name] = value
    return found


def mapping(given: Sequence[str]) -> dict[str, str | None]:
    """``SEGMENT=STRUCTURE`` of --map; ``SEGMENT=`` leaves the segment out. A segment's name may hold an equals sign."""
    return {name: structure or None for name, structure in pairs(given, "--map").items()}


@contextlib.contextmanager
def values_by_option(option: str) -> Iterator[None]:
    """Values of a label map that seem to be other structures' are an error that says with which option to name them."""
    from activeseg.core.label_values import DoubtfulValues

    try:
        yield
    except DoubtfulValues as error:
        raise InputError(
            error.message, f"Save the segmentation as .seg.nrrd, or say what the values are: {option}.", **error.details
        ) from error


def channel_files(channels: Sequence[str], image: Path, given: Sequence[str]) -> dict[str, Path]:
    """The file of each channel, in the order of ``channels``.

    ``given`` are the ``NAME=FILE`` of the command line; ``image`` is the one channel that they leave.
    Raises InputError.
    """
    files: dict[str, Path] = {}
    for name, file in pairs(given, "--channel").items():
        if name not in channels:
            raise InputError(f"There is no channel '{name}'.", f"The channels are {', '.join(channels)}.")
        if not file:
            raise InputError(f"--channel {name} has no file.", "Give NAME=FILE, such as T2=t2.nii.gz.")
        files[name] = Path(file)
    left = [name for name in channels if name not in files]
    if len(left) != 1:
        raise InputError(
            f"Images needed: {len(channels)} ({', '.join(channels)}); given: {len(files) + 1}.",
            f"INPUT is one of them; give {'the others' if left else 'one less'} with --channel NAME=FILE.",
        )
    files[left[0]] = image
    return {name: files[name] for name in channels}


def read_channels(talk: Conversation, files: Mapping[str, Path], image: Path, series: str | None) -> dict[str, Volume]:
    """Read each channel's image, and tell what is odd about them; ``series`` belongs to ``image``."""
    from activeseg.core.hounsfield_units import doubts
    from activeseg.io.images import read_volume

    images = {
        name: read_volume(path, series=series if path is image else None, notice=talk.notice)
        for name, path in files.items()
    }
    for sentence in doubts(images):
        talk.notice(sentence)
    return images
