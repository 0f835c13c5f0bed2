"""Puts corrections of a phantom into a dataset of nnU-Net, and verifies it.

    python docs/examples/correct_and_export.py [FOLDER]

The phantom's ground truth stands in for the person who corrects the first five regions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import activeseg
from activeseg.core.correction import RegionState
from activeseg.core.volume import Volume
from activeseg.corrections.exporting import CorrectedCase, export_correction
from activeseg.dataset.verification import verify_dataset
from activeseg.io.images import write_volume
from activeseg.samples.phantom import Domain, make_phantom


def main(folder: str = "corrected-phantom") -> None:
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    phantom = make_phantom(Domain.NATIVE, seed=41)
    prediction = activeseg.segment({"CT": phantom.ct}, activeseg.open_model("demo"), regions=5)

    labels = prediction.labels.array.copy()
    for region in prediction.regions:
        box = tuple(slice(*span) for span in region.box_kji)
        labels[box] = phantom.labels.array[box]
    edited = home / "edited.nii.gz"
    write_volume(Volume(labels, phantom.ct.geometry), edited)

    corrected = CorrectedCase(
        prediction,
        edited,
        {"CT": phantom.ct},
        states={region.number: RegionState.CORRECTED for region in prediction.regions},
        patient="phantom 41",  # goes to the private file only
    )
    private = home / "private"  # outside of the dataset, which may be shared
    exported = export_correction(corrected, home / "data" / "Dataset801_Phantom", private_dir=private)
    for sentence in exported.sentences:
        print(sentence)

    dataset = activeseg.Dataset.open(exported.dataset, private_dir=private)
    problems = verify_dataset(dataset)
    print(f"{dataset.folder}: {len(dataset.cases())} case, {len(problems)} problems")


if __name__ == "__main__":
    main(*sys.argv[1:])
