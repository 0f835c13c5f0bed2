"""The images that a request names: paths, series, or arrays with their geometry, one for each channel of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from activeseg.core.errors import InputError
from activeseg.core.segmenter import Segmenter
from activeseg.core.volume import Volume
from activeseg.engine.worker.params import Params, WrongParams
from activeseg.io import npy
from activeseg.io.images import read_volume


def read_image(message: Any, notice: Callable[[str], None]) -> Volume:
    """An image from a path (with ``series`` for DICOM), or from an array file with its geometry. Raises InputError."""
    if isinstance(message, Mapping) and "array" in message:
        return npy.read_volume(message)
    with Params("image", message if isinstance(message, Mapping) else {"path": message}) as params:
        path, series = params.path("path"), params.text("series") if params.has("series") else None
    return read_volume(path, series, notice)


def given_images(params: Params) -> Any:
    """``image`` for a model with one channel, ``images`` by channel for any."""
    if params.has("image") == params.has("images"):
        raise WrongParams("Give either 'image' or 'images'.", "'images' is an object: channel -> image.")
    return params.images() if params.has("images") else params.any("image")


def by_channel(given: Any, segmenter: Segmenter) -> dict[str, Any]:
    channels = segmenter.channels
    if isinstance(given, Mapping) and not {"path", "array"} & set(given):
        unknown = sorted(set(given) - set(channels))
        if unknown:
            raise InputError(f"The model has no channel '{unknown[0]}'.", f"Its channels: {', '.join(channels)}.")
        return {channel: given[channel] for channel in channels if channel in given}
    if len(channels) != 1:
        raise InputError(f"The model needs {len(channels)} images.", f"Give 'images' for {', '.join(channels)}.")
    return {channels[0]: given}


def sources_of(files: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Where images came from, as an export needs it; an image in memory came from nowhere."""
    found = {}
    for channel, file in files.items():
        named = file if isinstance(file, Mapping) else {"path": file}
        kept = {key: str(named[key]) for key in ("path", "series") if named.get(key)}
        if "path" in kept:
            kept["path"] = str(Path(kept["path"]).expanduser().absolute())
        found[channel] = kept
    return found
