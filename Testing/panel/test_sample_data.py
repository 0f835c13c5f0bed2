"""The phantom in Slicer's Sample Data module, without a download."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse

import numpy as np

from activeseg.io.images import read_volume
from activeseg.samples.phantom import Domain, make_phantom


def registered(folder: Path) -> dict[str, Any]:
    """What the module tells Sample Data."""
    from ActiveSegModuleLib import sample_data

    told: dict[str, Any] = {}
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **source: told.update(source))
    sample_data.register(SimpleNamespace(SampleDataLogic=logic), folder)
    return told


def test_nothing_is_made_before_it_is_asked_for(slicer_core: Any, tmp_path: Path) -> None:
    registered(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_its_button_makes_and_loads_the_phantom(slicer_core: Any, tmp_path: Path) -> None:
    told = registered(tmp_path / "cache")
    (node,) = told["customDownloader"](None)
    assert node.GetName() == told["nodeNames"] == "ActiveSeg phantom"
    made = tmp_path / "cache" / told["fileNames"]
    assert np.array_equal(read_volume(made).array, make_phantom(Domain.NATIVE, 12).ct.array)
    assert urlparse(told["uris"]).path == str(made)
    first = made.stat().st_mtime_ns
    told["customDownloader"](None)
    assert made.stat().st_mtime_ns == first


def test_it_has_a_picture(slicer_core: Any, tmp_path: Path) -> None:
    assert Path(registered(tmp_path)["thumbnailFileName"]).read_bytes().startswith(b"\x89PNG")
