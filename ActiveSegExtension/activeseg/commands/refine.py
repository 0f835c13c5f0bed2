"""``activeseg refine`` and ``activeseg spread``: a few clicks repair a region, a few regions the rest of the case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activeseg.commands.arguments import channel_files, mapping, names, numbers, read_channels, values_by_option
from activeseg.commands.conversation import Conversation, Debug, Json, conversation, table
from activeseg.commands.prompts import read_prompts
from activeseg.core.correction import RegionState, states_after_editing
from activeseg.core.errors import InputError
from activeseg.core.prompt import PromptKind
from activeseg.core.records import to_json

if TYPE_CHECKING:
    from activeseg.core.correction import RegionReview
    from activeseg.core.geometry import Box
    from activeseg.core.prompt import Prompt
    from activeseg.core.volume import Volume
    from activeseg.corrections.live_case import LiveCase
    from activeseg.predictions.prediction import Prediction
    from activeseg.refiners.spreading import Spread
    from activeseg.review.alternatives import Alternative
    from activeseg.review.regions import FoundRegion

Case = Annotated[Path, typer.Argument(metavar="CASE", help="The folder that 'activeseg segment' wrote.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="New folder of the same form.")]
Moved = Annotated[Path | None, typer.Option("--image", help="Where the image is now, if it was moved.")]
Channel = Annotated[list[str] | None, typer.Option(metavar="NAME=FILE", help="Where further channels are now.")]
Series = Annotated[str | None, typer.Option(help="DICOM series of --image.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a prediction that is in OUT.")]


def refine(
    case: Case,
    structure: Annotated[str, typer.Option("--structure", "-s", metavar="NAME", help="The structure that is meant.")],
    output: Output,
    at: Annotated[
        list[str] | None, typer.Option(metavar="R,A,S", help="A point (RAS, mm) that belongs to it; repeatable.")
    ] = None,
    not_at: Annotated[
        list[str] | None, typer.Option("--not", metavar="R,A,S", help="A point that does not belong to it; repeatable.")
    ] = None,
    scribble: Annotated[
        list[str] | None, typer.Option(metavar="'R,A,S ...'", help="A line through it; repeatable.")
    ] = None,
    not_scribble: Annotated[
        list[str] | None, typer.Option(metavar="'R,A,S ...'", help="A line through what is not part of it; repeatable.")
    ] = None,
    lasso: Annotated[
        list[str] | None, typer.Option(metavar="'R,A,S ...'", help="A closed line around it in one slice; repeatable.")
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option(metavar="'R,A,S R,A,S'", help="Two corners of a box around it; repeatable.")
    ] = None,
    region: Annotated[
        int | None,
        typer.Option(min=1, help="Change only this region (default: that in which the prompts lie)."),
    ] = None,
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="Change what is within 48 mm of the prompts, in a region or not.")
    ] = False,
    refiner: Annotated[str, typer.Option(metavar="auto|NAME", help="What answers the prompts.")] = "auto",
    image: Moved = None,
    channel: Channel = None,
    series: Series = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Repair a structure in a region with clicks, scribbles, a lasso or a box."""
    with conversation(json, debug) as talk:
        from activeseg.core.geometry import slices_of
        from activeseg.predictions.prediction import Prediction, check_output
        from activeseg.refiners.choosing import check_name

        check_output(output, overwrite)
        predicted = Prediction.load(case)
        predicted.schema.named(structure)
        given = [
            *((PromptKind.BOX, "--box", True, text) for text in box or ()),
            *((PromptKind.LASSO, "--lasso", True, text) for text in lasso or ()),
            *((PromptKind.SCRIBBLE, "--not-scribble", False, text) for text in not_scribble or ()),
            *((PromptKind.POINT, "--not", False, text) for text in not_at or ()),
            *((PromptKind.SCRIBBLE, "--scribble", True, text) for text in scribble or ()),
            *((PromptKind.POINT, "--at", True, text) for text in at or ()),
        ]
        if not given:
            raise InputError("No prompt was given.", "Say where the structure is, such as --at R,A,S.")
        prompts = read_prompts(given, structure, predicted.labels.geometry)
        check_name(refiner)
        number, where = _place_of(predicted, prompts, region, anywhere)
        with talk.progress() as progress:
            progress("read", 0.0)
            live, images = _live(talk, predicted, image, channel, series)
            labels = predicted.labels.array
            answer = live.refine(labels[slices_of(where)], where, prompts, progress.part(0.1, 0.9), refiner)
            after = labels.copy()
            after[slices_of(where)] = answer.labels
            progress("save", 0.9)
            note = {
                "refiner": answer.members[0],
                "region": number,
                "prompts": to_json(prompts),
                "box_kji": to_json(where),
                "voxels_changed": int(answer.changed.sum()),
            }
            predicted.corrected(after, note, live.shapes).save(output, images, overwrite)
        document = {"folder": str(output), **note, "alternative": to_json(answer)}
        talk.result(document, *_answer_report(answer, number, output))


def spread(
    case: Case,
    labels: Annotated[
        Path, typer.Option(metavar="EDITED", help="The corrected label map, or a .seg.nrrd saved in Slicer.")
    ],
    output: Output,
    reviewed: Annotated[
        str, typer.Option(metavar="1,2,5-7", help="Regions that were reviewed and found correct.")
    ] = "",
    structures: Annotated[str, typer.Option(metavar="A,B", help="Take the changes of these structures only.")] = "",
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="SEGMENT=STRUCTURE", help="What a segment (or a value of a label map) is."),
    ] = None,
    image: Moved = None,
    channel: Channel = None,
    series: Series = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Apply what was corrected in some regions to the rest of the case, where that improves regions that are left out.

    Edited regions count as corrected. Nothing is written where it is not offered.
    """
    with conversation(json, debug) as talk:
        from activeseg.corrections.exporting import read_edited
        from activeseg.predictions.prediction import Prediction, check_output

        check_output(output, overwrite)
        predicted = Prediction.load(case)
        wanted = names(structures, "--structures")
        for name in wanted:
            predicted.schema.named(name)
        with talk.progress() as progress:
            progress("read", 0.0)
            with values_by_option("--map VALUE=STRUCTURE for each, such as --map 2=liver"):
                edited = read_edited(labels, predicted, mapping(map_ or []))
            accepted = numbers(reviewed, "--reviewed")
            unknown = sorted(set(accepted) - {region.number for region in predicted.regions})
            if unknown:
                raise InputError(
                    f"There is no region {unknown[0]}.", f"The prediction lists {len(predicted.regions)} regions."
                )
            states = states_after_editing(predicted.regions, predicted.labels.array, edited.labels)
            regions = tuple(
                replace(region, state=RegionState.ACCEPTED)
                if region.number in accepted and not region.state.reviewed
                else region
                for region in states
            )
            live, images = _live(talk, predicted, image, channel, series)
            found = live.spread(edited.labels, regions, progress.part(0.1, 0.8))
            if found.offered:
                after = found.labels(wanted or None)
                new = live.take(
                    found, after, regions, predicted.focus, len(predicted.regions), progress.part(0.8, 0.95)
                )
                votes = live.whole
                assert votes is not None
                note = {"spread_from": list(found.regions_used), "structures": list(wanted)}
                progress("save", 0.95)
                predicted.corrected(after, note, live.shapes).with_doubt(
                    votes, (*_kept(predicted, regions), *new)
                ).save(output, images, overwrite)
        for sentence in edited.sentences:
            talk.notice(sentence)
        changes = [
            {
                "name": change.name,
                "voxels_gained": change.voxels_gained,
                "voxels_lost": change.voxels_lost,
                "mm3_gained": round(change.mm3_gained, 3),
                "mm3_lost": round(change.mm3_lost, 3),
            }
            for change in found.changes
            if not wanted or change.name in wanted
        ]
        document = {
            "offered": found.offered,
            "why": found.why,
            "expected_gain": found.expected_gain,
            "regions_used": list(found.regions_used),
            "changes": changes,
            "folder": str(output) if found.offered else None,
        }
        talk.result(document, *_spread_report(found, changes, output))


def _live(
    talk: Conversation, predicted: Prediction, image: Path | None, channel: list[str] | None, series: str | None
) -> tuple[LiveCase, Mapping[str, Volume]]:
    """The case with its images and its model. Raises InputError, ModelError."""
    from activeseg.corrections.exporting import check_images, read_images
    from activeseg.corrections.live_case import LiveCase
    from activeseg.models import open_model

    if image is None:
        images = read_images(predicted)
    else:
        images = read_channels(talk, channel_files(tuple(predicted.images), image, channel or []), image, series)
    check_images(predicted, images)
    segmenter = open_model(predicted.model)
    return LiveCase(images, predicted.schema, predicted.labels.array, segmenter, predicted.settings), images


def _place_of(
    predicted: Prediction, prompts: Sequence[Prompt], number: int | None, anywhere: bool
) -> tuple[int | None, Box]:
    """The region in which the prompts lie, and what may change. Raises InputError where they do not lie in one."""
    from activeseg.core.geometry import holds
    from activeseg.corrections.live_case import box_around

    if anywhere:
        if number is not None:
            raise InputError("--region and --anywhere exclude each other.", "Give one of them.")
        return None, box_around(prompts, predicted.labels.geometry)
    if number is not None and all(region.number != number for region in predicted.regions):
        raise InputError(f"There is no region {number}.", f"The prediction lists {len(predicted.regions)} regions.")
    around = [
        region for region in predicted.regions if all(holds(region.box_kji, prompt.box_kji) for prompt in prompts)
    ]
    for region in around:
        if number in (None, region.number):
            return region.number, region.box_kji
    if number is None:
        raise InputError(
            "The prompts do not lie in one of the listed regions.",
            "Say --anywhere to change what is within 48 mm of them.",
        )
    others = f"They lie in region {around[0].number}." if around else "Say --anywhere to change what is near them."
    raise InputError(f"The prompts do not all lie in region {number}.", others)


def _kept(predicted: Prediction, regions: Sequence[RegionReview]) -> list[FoundRegion]:
    """The regions that were reviewed, with their states."""
    states = {region.number: region.state for region in regions if region.state.reviewed}
    return [replace(region, state=states[region.number]) for region in predicted.regions if region.number in states]


def _answer_report(answer: Alternative, number: int | None, output: Path) -> list[Any]:
    rows = table("STRUCTURE", "ML +", "ML -", right=("ML +", "ML -"))
    for name in dict.fromkeys((*answer.gains, *answer.loses)):
        gain, loss = (
            f"{amounts[name].mm3 / 1000:.2f}" if name in amounts else "" for amounts in (answer.gains, answer.loses)
        )
        rows.add_row(name, gain, loss)
    where = f"region {number}" if number is not None else "the surroundings of the prompts"
    if not answer.gains and not answer.loses:
        return [f"Nothing was changed in {where} ({answer.members[0]}).", "", f"Written to {output}"]
    return [f"Changed in {where} ({answer.members[0]}):", "", rows, "", f"Written to {output}"]


def _spread_report(found: Spread, changes: Sequence[Mapping[str, Any]], output: Path) -> list[Any]:
    if not found.offered:
        return [found.why, "Nothing was written."]
    rows = table("STRUCTURE", "ML +", "ML -", right=("ML +", "ML -"))
    for change in changes:
        rows.add_row(change["name"], f"{change['mm3_gained'] / 1000:.2f}", f"{change['mm3_lost'] / 1000:.2f}")
    return [found.why, "", rows, "", f"Written to {output}"]
