"""``activeseg segment``: an image in, a prediction folder out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from activeseg.commands.arguments import channel_files, is_number, names, read_channels
from activeseg.commands.conversation import Debug, Json, conversation, table
from activeseg.core.correction import NOTHING_HERE
from activeseg.core.errors import InputError, shown
from activeseg.core.records import to_json
from activeseg.core.segmenter import Mode, Resample, Settings
from activeseg.predictions.prediction_folder import RECORD
from activeseg.system.regular_files import read_json

if TYPE_CHECKING:
    from activeseg.predictions.prediction import Prediction


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


def segment(
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="NIfTI, NRRD or MHA file, or a DICOM folder.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A name from 'activeseg models', or nnunet:FOLDER.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="New folder for the prediction.")],
    device: Annotated[Device, typer.Option(help="Device for inference; 'auto' reports its choice.")] = Device.AUTO,
    members: Annotated[str, typer.Option(metavar="auto|N", help="Number of ensemble members.")] = "auto",
    mode: Annotated[Mode, typer.Option(help="'exact' reproduces the original packages voxel for voxel.")] = Mode.FAST,
    resample: Annotated[
        Resample,
        typer.Option(help="How labels return to the image's grid; 'genuine': as the model's own package does it."),
    ] = Resample.GENUINE,
    structures: Annotated[str, typer.Option(metavar="A,B", help="Segment only these structures.")] = "",
    focus: Annotated[str, typer.Option(metavar="A,B", help="Suggest regions to review in these structures only.")] = "",
    regions: Annotated[int, typer.Option(min=0, help="Number of regions to review to list.")] = 10,
    series: Annotated[str | None, typer.Option(help="DICOM series: its number, UID or description.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="A further image of a model with several channels.")
    ] = None,
    mirroring: Annotated[
        bool | None,
        typer.Option("--mirroring/--no-mirroring", help="Average over mirrored images."),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Number of CPU threads; 0: torch's default.")] = 0,
    usage_statistics: Annotated[
        bool, typer.Option("--usage-statistics", help="Let TotalSegmentator send its usage statistics.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prediction that is in OUT.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Segment an image, and find where the members of the model disagree."""
    with conversation(json, debug) as talk:
        from activeseg.models import open_model
        from activeseg.predictions.make_prediction import segment as segment_images
        from activeseg.predictions.prediction import check_output

        settings = Settings(
            device=device.value,
            members=member_count(members),
            mode=mode,
            resample=resample,
            structures=names(structures, "--structures"),
            mirroring=mirroring,
            threads=threads,
            usage_statistics=usage_statistics,
        )
        # Whatever can be wrong is found before the image is read.
        check_output(output, overwrite)
        segmenter = open_model(model)
        files = channel_files(segmenter.channels, image, channel or [])
        focused = names(focus, "--focus")
        for name in focused:
            segmenter.schema.named(name)
        segmenter.check(settings)
        if device is Device.AUTO and "torch" in sys.modules:  # models without a network have no device
            from activeseg.segmenters.nnunet.device import resolve_device

            talk.notice(f"Running on {resolve_device('auto')} (--device auto).")
        with talk.progress() as progress:
            progress("read", 0.0)
            images = read_channels(talk, files, image, series)
            prediction = segment_images(
                images,
                segmenter,
                settings,
                focus=focused,
                regions=regions,
                progress=progress.part(0.02, 0.95),
                sources={
                    name: {"path": str(path.absolute()), **({"series": series} if series and path is image else {})}
                    for name, path in files.items()
                },
            )
            progress("save", 0.95)
            prediction.save(output, images, overwrite)
        found = structure_sizes(prediction)
        document = {
            "folder": str(output),
            "prediction": read_json(output / RECORD),
            "structures": found,
            "regions": to_json(prediction.regions),
        }
        talk.result(document, *_report(prediction, found, output))


def member_count(text: str) -> str | int:
    """``auto`` or a number from 1. Raises InputError."""
    if text == "auto":
        return text
    if not is_number(text) or int(text) < 1:
        raise InputError(f"--members is {shown(text)}.", "Give 'auto' or a number from 1.")
    return int(text)


def structure_sizes(prediction: Prediction) -> list[dict[str, Any]]:
    """Voxels and millilitres of each structure that was decided, and what is unusual about its shape."""
    from activeseg.core.label_map import label_counts

    counts, geometry = label_counts(prediction.labels.array, prediction.schema), prediction.labels.geometry
    return [
        {
            "name": label.name,
            "value": label.value,
            "voxels": int(counts[label.value]),
            "ml": round(float(counts[label.value]) * geometry.voxel_mm3 / 1000, 3),
            "unusual": [warning.words for warning in prediction.warnings if warning.structure == label.name],
        }
        for label in prediction.schema.labels
        if label.name in prediction.decided
    ]


def _report(prediction: Prediction, found: Sequence[Mapping[str, Any]], output: Path) -> list[RenderableType]:
    """For a person: the structures, the regions to review, and how the prediction was made."""
    structures = table("STRUCTURE", "ML", *(["UNUSUAL"] if prediction.warnings else []), right=("ML",))
    present = [entry for entry in found if entry["voxels"]]
    for entry in sorted(present, key=lambda entry: -entry["ml"]):
        unusual = [", ".join(entry["unusual"])] if prediction.warnings else []
        structures.add_row(entry["name"], f"{entry['ml']:.1f}", *unusual)
    places = table(
        *("REGION", "STRUCTURES", "ML", "WHY", "DOUBT", "CENTRE (RAS, MM)", "ALTERNATIVES"),
        right=("REGION", "ML", "DOUBT", "CENTRE (RAS, MM)", "ALTERNATIVES"),
    )
    for region in prediction.regions:
        places.add_row(
            str(region.number),
            ", ".join(region.structures) or NOTHING_HERE,
            f"{region.size_mm3 / 1000:.1f}",
            region.reason_text,
            region.doubt_text,
            ", ".join(f"{value:.0f}" for value in region.center_ras),
            str(len(region.alternatives)),
        )
    agreement = "" if prediction.agreement is None else f", agreement {prediction.agreement:.3f}"
    device = prediction.details.get("device")
    absent = len(found) - len(present)
    count = len(prediction.members)
    return [
        structures,
        f"Looked for and not found: {absent} other structure{'s' * (absent > 1)}." if absent else "",
        "",
        places if prediction.regions else "No regions to review.",
        "",
        f"{prediction.model}: {count} member{'s' if count > 1 else ''}{agreement}, {prediction.timings['total']:.1f} s"
        + (f" on {device}." if device else "."),
        f"Written to {output}",
    ]
