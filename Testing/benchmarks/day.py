"""Clicks, keys and seconds of a whole day with the panel, beside the clicks and commands of the same day by hand.

    .venv-slicer/bin/python Testing/benchmarks/day.py [--json FILE]

The day is that of ``Testing/panel/day_walk.py``: two patients, one training, against the real engine with a Python that
has its packages. Every press of the mouse and every key is a real event and is counted where it is made; letters typed
into fields are counted apart. An entry of a combo box counts as two clicks, a file dialog as two, a question as one, a
stroke of the brush as one. Seconds include what the engine does (a tiny network, a training of two iterations) and that
the user never thinks: they compare two versions of the panel, not two products.

By hand: SlicerTotalSegmentator, Slicer's Segment Editor, and nnU-Net on the command line. Its clicks and commands were
counted from their documentation, by the same rules, not from a run; nobody measured their seconds, so none are given:

* SlicerTotalSegmentator, ``README.md`` (module, input volume, new segmentation, Apply; packages at first use);
* Slicer's user guide: extensions manager, Segment Editor, Segmentations (export to a label map), saving;
* nnU-Net, ``documentation/``: installation, dataset format, pretraining and fine-tuning, usage (predict, evaluate).

Both begin with Slicer's module open and a CT loaded; ours uses a Python that has the packages already (an installation
by the card is one click more, and minutes). To find what needs a correction is not counted by hand, for these
tools have nothing for it; nor is the table of plans and epochs that a person compares by eye before he takes a model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml", "Testing/panel", "Testing/benchmarks")
sys.path[:0] = [str(ROOT / folder) for folder in FOLDERS]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from asked import SLICER, file_to_write, refuse, started_in  # noqa: E402

started_in(SLICER, __file__, __doc__)

import pytest  # noqa: E402
from day_hands import Hands, Ledger, opened  # noqa: E402
from day_walk import Day  # noqa: E402
from pictures_look import Theme, dress  # noqa: E402
from PySide6 import QtWidgets  # noqa: E402
from slicer_stand_in import LoadedModule, installed  # noqa: E402

ENGINE_PYTHON = "ACTIVESEG_ENGINE_PYTHON"


@dataclass(frozen=True)
class ByHand:
    """What a step takes with the other tools, and how that was counted."""

    clicks: int
    commands: int
    how: str


BY_HAND = {
    "install": ByHand(
        6,
        4,
        "extensions manager, search, Install, Restart, its question, packages at first use; "
        "pip install nnunetv2 and three variables",
    ),
    "segment": ByHand(5, 0, "input volume 2, new segmentation 2, Apply"),
    "review": ByHand(8, 0, "module Segment Editor 2; two corrections: segment, effect, stroke; no list of regions"),
    "export": ByHand(
        14,
        2,
        "module Segmentations 2, label map, Export; Save, two files ticked, their formats 4, folder 2, Save; "
        "folders and dataset.json by hand",
    ),
    "next case": ByHand(
        23, 1, "file 2, module 2, volume 2, new segmentation 2, Apply; label map and files 14; dataset.json"
    ),
    "train": ByHand(
        0,
        8,
        "fingerprint, plans of the pretrained model, preprocess, train -pretrained_weights; "
        "predict and evaluate the held-out case with both",
    ),
    "use the version": ByHand(10, 1, "CT saved as NIfTI 7, predict, result added as a segmentation 3"),
    "open again": ByHand(0, 0, "Slicer's own saving and loading, not counted on either side"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=file_to_write, help="write the figures there, too")
    options = parser.parse_args()
    python = Path(os.environ.pop(ENGINE_PYTHON, "") or ROOT / ".venv" / "bin" / "python")
    if not python.is_file():
        refuse(f"The engine's Python '{python}' is not there; {ENGINE_PYTHON} names another one.")
    application = QtWidgets.QApplication(sys.argv[:1])
    dress(application, Theme.LIGHT)
    ledger = Ledger()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", f"{folder}/data")
        patch.setenv("XDG_CACHE_HOME", f"{folder}/cache")
        with installed(Path(folder)) as (core, _):
            walk(core, python, Path(folder), ledger, patch)
    print(f"{'':16s} {'ActiveSeg':>34s}   {'by hand':>17s}")
    print(f"{'':16s} {'clicks':>7s} {'keys':>7s} {'letters':>8s} {'seconds':>9s}   {'clicks':>7s} {'commands':>9s}")
    for name, effort in ledger.steps.items():
        other = BY_HAND[name]
        print(
            f"{name:16s} {effort.clicks:7d} {effort.keys:7d} {effort.typed:8d} {effort.seconds:9.1f}   "
            f"{other.clicks:7d} {other.commands:9d}   {other.how}"
        )
    ours, theirs = ledger.steps.values(), BY_HAND.values()
    print(
        f"{'the day':16s} {sum(e.clicks for e in ours):7d} {sum(e.keys for e in ours):7d} "
        f"{sum(e.typed for e in ours):8d} {sum(e.seconds for e in ours):9.1f}   "
        f"{sum(each.clicks for each in theirs):7d} {sum(each.commands for each in theirs):9d}"
    )
    if options.json:
        figures = {name: {**asdict(effort), "by_hand": asdict(BY_HAND[name])} for name, effort in ledger.steps.items()}
        options.json.write_text(json.dumps(figures, indent=1))


def walk(core: object, python: Path, folder: Path, ledger: Ledger, patch: pytest.MonkeyPatch) -> None:
    """The day, with what it costs in the ledger."""
    module = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
    window = opened(module.parent, patch)
    hands = Hands(window, ledger)
    try:
        module.enter()
        Day(module, core, hands, folder, patch).walk(python)
    finally:
        hands.let_go()
        module.close()
        window.close()


if __name__ == "__main__":
    main()
