"""``activeseg export``: a prediction and what the user made of it, into a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activeseg.commands.arguments import channel_files, mapping, numbers, read_channels, values_by_option
from activeseg.commands.conversation import Debug, Json, conversation, table
from activeseg.core.correction import RegionState, Review

if TYPE_CHECKING:
    from activeseg.corrections.exporting import Exported


def export(
    prediction: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that 'activeseg segment' wrote.")],
    labels: Annotated[
        Path, typer.Option(metavar="EDITED", help="The corrected label map, or a .seg.nrrd saved in Slicer.")
    ],
    dataset: Annotated[
        Path,
        typer.Option("--dataset", "-d", metavar="DATASET", help="Folder DatasetNNN_Name; made if it is not there."),
    ],
    review: Annotated[
        Review,
        typer.Option(
            help="Unreviewed voxels: use as ground truth (all), ignore where uncertain (regions), ignore (none)."
        ),
    ] = Review.REGIONS,
    reviewed: Annotated[
        str, typer.Option(metavar="1,2,5-7", help="Regions that were reviewed and found correct.")
    ] = "",
    case: Annotated[
        str | None, typer.Option(metavar="NAME", help="Anonymous case name (default: CT_0001, CT_0002, ...).")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="SEGMENT=STRUCTURE",
            help="What a segment (or a value of a label map) is; 'SEGMENT=' leaves it out.",
        ),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Where the image is now, if it was moved.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Where further channels are now.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="DICOM series of --image.")] = None,
    annotator: Annotated[str, typer.Option(help="Who corrected it; kept in the provenance.")] = "",
    notes: Annotated[str, typer.Option(help="Kept in the provenance; must not identify the patient.")] = "",
    patient: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Patient ID. Keeps all images of a patient on one side of the training / test split; "
            "never stored in the dataset.",
        ),
    ] = "",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Add a corrected prediction to a dataset. The same image again updates its case."""
    with conversation(json, debug) as talk:
        from activeseg.corrections.exporting import CorrectedCase, export_correction
        from activeseg.predictions.prediction import Prediction

        states = dict.fromkeys(numbers(reviewed, "--reviewed"), RegionState.ACCEPTED)
        with talk.progress() as progress:
            progress("read", 0.0)
            predicted = Prediction.load(prediction)
            images = None
            if image is not None:
                files = channel_files(tuple(predicted.images), image, channel or [])
                images = read_channels(talk, files, image, series)
            with values_by_option("--map VALUE=STRUCTURE for each, such as --map 2=liver"):
                corrected = CorrectedCase(
                    predicted,
                    labels,
                    images,
                    review=review,
                    states=states,
                    mapping=mapping(map_ or []),
                    case=case,
                    annotator=annotator,
                    notes=notes,
                    patient=patient,
                )
                exported = export_correction(corrected, dataset, progress=progress)
        talk.result(exported.to_dict(), *_report(exported))


def _report(exported: Exported) -> list[Any]:
    """For a person: what changed in each structure, and how unreviewed voxels are treated."""
    rows = table(
        "STRUCTURE", "VOXELS +", "VOXELS -", "MM3", "DICE BEFORE", right=("VOXELS +", "VOXELS -", "MM3", "DICE BEFORE")
    )
    changed = [structure for structure in exported.correction.structures if structure.voxels_changed]
    for structure in sorted(changed, key=lambda structure: -structure.voxels_changed):
        rows.add_row(
            structure.name,
            str(structure.voxels_added),
            str(structure.voxels_removed),
            f"{structure.mm3_changed:.0f}",
            "" if structure.dice_before is None else f"{structure.dice_before:.3f}",
        )
    return [*([rows, ""] if changed else []), *exported.sentences, f"Dataset: {exported.dataset}"]
