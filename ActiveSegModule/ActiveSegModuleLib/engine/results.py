"""What the engine answers about a prediction, read from the files that its results name."""

from __future__ import annotations

from pathlib import Path

from activeseg.client.messages.segmenting import SegmentResult
from activeseg.core.volume import Volume
from activeseg.io.npy import read_array


def labels_of(result: SegmentResult) -> Volume:
    """The label map. Raises InputError."""
    return Volume(read_array(result.labels), result.geometry, "labels")


def patches_in(folder: Path | None) -> bytes:
    """The regions' alternatives, as ``alternatives.npz`` has them; none where there is no folder. Raises OSError."""
    return (folder / "alternatives.npz").read_bytes() if folder is not None else b""
