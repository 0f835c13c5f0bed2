"""The network that ships, so that everything works with nothing downloaded: four members, contrast-domain phantoms."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from activeseg.samples.phantom import PHANTOM_SCHEMA
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter


def demo_segmenter() -> NnUNetSegmenter:
    """``demo``: an ordinary nnU-Net model folder inside the package (trained by ``Testing/train_demo_model.py``)."""
    folder = Path(str(resources.files("activeseg") / "resources" / "demo_model"))
    return NnUNetSegmenter(folder, name="demo", schema=PHANTOM_SCHEMA)


def open_named(rest: str) -> NnUNetSegmenter | None:
    """``demo``; None for a name that goes on."""
    return None if rest else demo_segmenter()
