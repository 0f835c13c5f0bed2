"""``activeseg dataset refine``: what a model would make of labels that exist, as candidates for a person to review."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from activeseg.commands.arguments import names
from activeseg.commands.conversation import Debug, Json, conversation, table
from activeseg.commands.segment import Device, member_count
from activeseg.core.errors import DatasetError, InputError
from activeseg.core.records import to_json
from activeseg.core.segmenter import Settings

if TYPE_CHECKING:
    from activeseg.candidates.outcome import CaseOutcome
    from activeseg.candidates.proposers import Proposer
    from activeseg.core.labels import LabelSchema


def refine(
    folder: Annotated[
        Path, typer.Argument(metavar="DATASET", help="The dataset's folder (DatasetNNN_Name), or a BIDS tree.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A name from 'activeseg models', nnunet:FOLDER, or nninteractive.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="CANDIDATES", help="Dataset, or BIDS derivative, for the candidates."),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="DERIVATIVE", help="Of a BIDS tree: the derivative with the labels (default: the only one)."
        ),
    ] = None,
    cases: Annotated[str, typer.Option(metavar="A,B", help="Refine only these cases.")] = "",
    structures: Annotated[str, typer.Option(metavar="A,B", help="Refine only these structures.")] = "",
    device: Annotated[Device, typer.Option(help="Device for inference; 'auto' reports its choice.")] = Device.AUTO,
    members: Annotated[str, typer.Option(metavar="auto|N", help="Number of ensemble members.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Number of CPU threads; 0: torch's default.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a model refine the labels of all cases, as candidates elsewhere; DATASET stays as it is.

    A voxel changes where all ensemble members are sure of another label and agree on the structure as a whole. All
    other differences are listed as regions to review, which the panel shows when a candidate is opened. Run it again to
    continue after an interruption.
    """
    with conversation(json, debug) as talk:
        from activeseg.candidates import interactive
        from activeseg.candidates.bids import is_bids
        from activeseg.candidates.of_bids import labels_to_refine, refine_tree
        from activeseg.candidates.of_dataset import refine_dataset
        from activeseg.candidates.outcome import CaseState
        from activeseg.candidates.proposers import ModelProposer
        from activeseg.dataset import Dataset
        from activeseg.dataset.layout import find_dataset
        from activeseg.models import open_model

        settings = Settings(device=device.value, members=member_count(members), threads=threads)
        wanted, chosen = names(cases, "--cases"), names(structures, "--structures")
        tree = find_dataset(folder) is None and is_bids(folder)
        if labels is not None and not tree:
            raise InputError("--labels is for BIDS trees only.", "Leave it out: a dataset has its own labels.")
        source = None if tree else Dataset.open(folder, only_look=True)
        segmenter = None if model == interactive.NAME else open_model(model)

        def told(outcome: CaseOutcome) -> None:
            if outcome.sentence:
                talk.notice(f"{outcome.case}: {outcome.sentence}")

        def proposer(schema: LabelSchema) -> Proposer:
            if segmenter is None:
                return interactive.InteractiveProposer(schema, settings, chosen)
            return ModelProposer(segmenter, settings, schema, chosen)

        with talk.progress() as progress:
            if source is not None:
                asked = proposer(source.schema)
                done = refine_dataset(source, output, asked, cases=wanted, progress=progress, told=told)
            else:
                old = labels or labels_to_refine(folder, output)
                done = refine_tree(folder, old, output, proposer, cases=wanted, progress=progress, told=told)
        rows = table("CASE", "CANDIDATE", "VOXELS CHANGED", "REGIONS", right=("VOXELS CHANGED", "REGIONS"))
        for case in done.cases:
            numbers = (case.changed_voxels, case.regions)
            rows.add_row(case.case, case.state, *("" if number is None else str(number) for number in numbers))
        document = {
            "candidates": str(done.folder),
            "model": segmenter.name if segmenter else model,
            "cases": to_json(done.cases),
        }
        talk.result(document, *([rows] if done.cases else []), done.sentence(), f"Written to {done.folder}")
        if done.of(CaseState.FAILED):
            raise typer.Exit(DatasetError.exit_code)
