"""A phantom in Slicer's Sample Data module: made on this computer, so that the tutorial needs no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from activeseg.io.images import write_volume
from activeseg.samples.phantom import Domain, make_phantom

NAME = "ActiveSegPhantom"
TITLE = "ActiveSeg phantom"
SEED = 12
"""The person of the demo; the network that ships was trained on others, and on another kind of scan."""

_FILE = f"ActiveSeg-phantom-native-{SEED}-v1.nrrd"  # Slicer takes a cached file of the same name again
_THUMBNAIL = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / "ActiveSegPhantom.png"


def make_phantom_file(folder: Path) -> Path:
    """The phantom's CT as a file in ``folder``; made within a second, unless it is there. Raises ActiveSegError."""
    path = folder / _FILE
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_volume(make_phantom(Domain.NATIVE, SEED).ct, path)
    return path


def register(sample_data: Any, folder: Path) -> None:
    """Add the phantom to the Sample Data module; nothing is made before it is asked for.

    ``sample_data`` is Slicer's module ``SampleData``, ``folder`` where the file is kept.
    """

    def load(_source: object) -> Sequence[Any]:
        import slicer

        return [slicer.util.loadVolume(str(make_phantom_file(folder)), {"name": TITLE})]

    sample_data.SampleDataLogic.registerCustomSampleDataSource(
        category="ActiveSeg",
        sampleName=NAME,
        uris=(folder / _FILE).as_uri(),
        fileNames=_FILE,
        nodeNames=TITLE,
        thumbnailFileName=str(_THUMBNAIL),
        customDownloader=load,
    )
