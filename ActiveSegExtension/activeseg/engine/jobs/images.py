"""The images that a request names: paths, series, or arrays with their geometry, one for each channel of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from activeseg.client.messages.images import ArrayFile, Image, ImageFile
from activeseg.core.errors import InputError
from activeseg.core.segmenter import Segmenter
from activeseg.core.volume import Volume
from activeseg.io.images import read_volume


def read_image(image: Image, notice: Callable[[str], None]) -> Volume:
    """An image from a file, a DICOM series or an array file. Raises InputError."""
    if isinstance(image, ArrayFile):
        return image.read()
    file = ImageFile(image) if isinstance(image, Path) else image
    return read_volume(file.path, file.series, notice)


def by_channel(image: Image | None, images: Mapping[str, Image] | None, segmenter: Segmenter) -> dict[str, Image]:
    """``image`` or ``images`` of a request in the order of the model's channels. Raises InputError."""
    channels = segmenter.channels
    if images is not None:
        unknown = sorted(set(images) - set(channels))
        if unknown:
            raise InputError(f"The model has no channel '{unknown[0]}'.", f"Its channels: {', '.join(channels)}.")
        return {channel: images[channel] for channel in channels if channel in images}
    if image is None or len(channels) != 1:
        raise InputError(f"The model needs {len(channels)} images.", f"Give 'images' for {', '.join(channels)}.")
    return {channels[0]: image}


def sources_of(images: Mapping[str, Image]) -> dict[str, dict[str, str]]:
    """Where images came from, as an export needs it; an image in memory came from nowhere."""
    return {channel: _source(image) for channel, image in images.items()}


def _source(image: Image) -> dict[str, str]:
    if isinstance(image, ArrayFile):
        return {}
    file = ImageFile(image) if isinstance(image, Path) else image
    return {"path": str(file.path), **({"series": file.series} if file.series else {})}
