"""Arrays as files between Slicer and the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from activeseg.client.messages.images import ArrayFile
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.json_values import WrongField
from activeseg.core.records import from_json, to_json
from activeseg.core.volume import Volume
from activeseg.io import npy

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def geometry(*shape_kji: int, spacing: float = 3.0) -> Geometry:
    k, j, i = shape_kji
    return Geometry((k, j, i), (spacing,) * 3, (0.0, 0.0, 0.0), IDENTITY)


def test_arrays_travel_with_their_geometry(tmp_path: Path) -> None:
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, ::-1], geometry(2, 3, 4))
    message = to_json(ArrayFile.write(tmp_path / "a.npy", volume))
    back = from_json(ArrayFile, message).read()
    assert np.array_equal(back.array, volume.array)
    assert back.geometry == volume.geometry
    for key in message["geometry"]:
        with pytest.raises(WrongField, match="is missing"):
            from_json(ArrayFile, {**message, "geometry": {k: v for k, v in message["geometry"].items() if k != key}})
    with pytest.raises(InputError, match="shape"):
        from_json(ArrayFile, {**message, "geometry": geometry(2, 3, 5).to_dict()}).read()
    (tmp_path / "b.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="no array file"):
        npy.read_array(tmp_path / "b.npy")
    np.savez(tmp_path / "c.npz", a=np.zeros(1))
    with pytest.raises(InputError, match="no array file"):
        npy.read_array(tmp_path / "c.npz")
