"""``activeseg project ...``: a labelling task with its base model, dataset, hold-out and versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activeseg.commands.arguments import channel_files, mapping, names, read_channels
from activeseg.commands.conversation import Conversation, Debug, Json, conversation, table
from activeseg.commands.opened_project import Folder, opened_project
from activeseg.core.errors import InputError
from activeseg.core.records import to_json

if TYPE_CHECKING:
    from activeseg.learning.project.project import Project

app = typer.Typer(
    no_args_is_help=True, help="Create and inspect a project: base model, dataset, held-out cases, versions."
)


@app.command()
def new(
    folder: Folder,
    model: Annotated[str, typer.Option("--model", "-m", help="The base model, as for 'segment'.")],
    dataset: Annotated[
        Path | None,
        typer.Option("--dataset", "-d", help="An existing dataset (default: a new one inside the project)."),
    ] = None,
    add: Annotated[str, typer.Option(metavar="A,B", help="New structures that the model does not know yet.")] = "",
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="STRUCTURE=MODELS", help="The model's name of a structure; 'STRUCTURE=' is new."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Create a project."""
    with conversation(json, debug) as talk:
        from activeseg.learning.project.project import Project

        project = Project.create(
            folder, model, dataset=dataset, new_structures=names(add, "--add"), matching=mapping(map_ or [])
        )
        _show(talk, project)


@app.command()
def show(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Show structures, cases (training or held out), versions, and whether a new fine-tuning is worthwhile."""
    with opened_project(folder, json, debug) as (talk, project):
        project.admit_known()
        _show(talk, project)


@app.command()
def match(
    folder: Folder,
    map_: Annotated[
        list[str], typer.Argument(metavar="STRUCTURE=MODELS...", help="The model's name; 'STRUCTURE=' makes it new.")
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Match the dataset's structures with the base model's; only before the first version."""
    with opened_project(folder, json, debug) as (talk, project):
        project.match(mapping(map_))
        _show(talk, project)


@app.command()
def admit(
    folder: Folder,
    case: Annotated[str, typer.Argument(help="The case's name, from 'project show'.")],
    patient: Annotated[
        str,
        typer.Option(
            metavar="ID", help="Patient ID, the same for all images of a patient; never stored in the dataset."
        ),
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Assign a patient ID to a case: all images of a patient are trained on, or all are held out, permanently."""
    with opened_project(folder, json, debug) as (talk, project):
        from activeseg.learning.project.holdout import Side

        side = project.admit(case, patient)
        told = f"{case}: {side}."
        if side is Side.HELD_OUT:
            told += " It measures versions and is never trained on: review it fully, only reviewed voxels count."
        talk.result({"case": case, "side": side.value}, told)


@app.command()
def reviewed(
    folder: Folder,
    case: Annotated[str, typer.Argument(help="A held-out case.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Mark a held-out case as completely reviewed: all of it is then used to measure versions."""
    with opened_project(folder, json, debug) as (talk, project):
        project.mark_reviewed(case)
        talk.result({"case": case, "reviewed": True}, f"{case} is marked as completely reviewed.")


@app.command()
def check(
    folder: Folder,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired; nothing is deleted.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a project's files; exit code 4 when problems remain."""
    with conversation(json, debug) as talk:
        from activeseg.core.errors import DatasetError
        from activeseg.learning.project_check import check_project

        problems = check_project(folder, repair)
        rows = table("WHERE", "WHAT IS WRONG", "WHAT WAS DONE" if repair else "WHAT REPAIRING DOES")
        for problem in problems:
            rows.add_row(problem.where, problem.what, problem.mending or "nothing: see what is wrong")
        document = {"project": str(folder), "problems": to_json(problems), "repaired": repair}
        talk.result(document, rows if problems else "No problems found.")
        if any(not (repair and problem.mending) for problem in problems):
            raise typer.Exit(DatasetError.exit_code)


@app.command()
def replay(
    folder: Folder,
    images: Annotated[list[Path], typer.Argument(metavar="CT...", help="Uncorrected images.")],
    channel: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="A further image of a case with several channels.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or mps.")] = "auto",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Preserve what the current version can do: train on its results for more images, beside the corrections."""
    with opened_project(folder, json, debug) as (talk, project):
        from activeseg.learning.training.replay import add_replay

        channels = project.dataset().channel_names
        if channel and len(images) > 1:
            raise InputError(f"{len(images)} images were given with --channel.", "Replay one case at a time.")
        added = []
        with talk.progress() as progress:
            for number, image in enumerate(images):
                volumes = read_channels(talk, channel_files(channels, image, channel or []), image, None)
                part = progress.part(number / len(images), (number + 1) / len(images))
                added.append(add_replay(project, volumes, device, part))
        talk.result({"added": added}, f"{len(added)} image{'s' * (len(added) != 1)} will be replayed.")


def _show(talk: Conversation, project: Project) -> None:
    from activeseg.learning.summary import project_summary

    document = project_summary(project)
    for problem in document["problems"]:
        talk.notice(f"{problem} See 'activeseg project check {project.folder}'.")
    matched = table("STRUCTURE", "IN THE MODEL")
    for name, structure in document["matching"].items():
        matched.add_row(name, structure or "new")
    cases = table("CASE", "SIDE")
    for case, side in document["cases"].items():
        cases.add_row(case, side or "whose? say it with 'activeseg project admit'")
    shown_cases: list[Any] = [cases, ""] if document["cases"] else []
    versions = [version["id"] for version in document["versions"]]
    talk.result(
        document,
        f"Base model: {document['base_model']}",
        f"Dataset: {document['dataset']}",
        f"Current version: {document['current']} (of {', '.join(versions)})",
        "",
        matched,
        "",
        *shown_cases,
        document["worth_it"],
    )
