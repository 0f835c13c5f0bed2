"""``activeseg dataset ...``: what can be done with a dataset besides exporting into it."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activeseg.commands.arguments import (
    channel_files,
    channel_names,
    mapping,
    names,
    pairs,
    read_channels,
    values_by_option,
)
from activeseg.commands.conversation import Debug, Json, conversation, table
from activeseg.core.errors import DatasetError, InputError
from activeseg.core.labels import Label, LabelSchema
from activeseg.core.records import to_json
from activeseg.dataset.migration import migrate_dataset
from activeseg.dataset.recovery import recover_dataset
from activeseg.dataset.verification import verify_dataset
from activeseg.io.images import write_volume
from activeseg.system.files import make_folder, new_folder

if TYPE_CHECKING:
    from activeseg.dataset.unlisted import Unlisted

app = typer.Typer(no_args_is_help=True, help="Add to, inspect, verify, open, remove cases from and migrate a dataset.")

Folder = Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset's folder (DatasetNNN_Name).")]
Case = Annotated[str, typer.Argument(metavar="CASE", help="The case's name, from 'dataset show'.")]


@app.command()
def add(
    folder: Folder,
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="The image, as for 'segment'.")],
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="Its ground truth: a label map, or a .seg.nrrd from Slicer.")
    ],
    structures: Annotated[
        str, typer.Option(metavar="A,B", help="What the values 1, 2, ... of LABELS are; default: the dataset's own.")
    ] = "",
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="NAME=STRUCTURE", help="What a segment or structure is; 'NAME=' leaves it out."),
    ] = None,
    case: Annotated[
        str | None, typer.Option(metavar="NAME", help="Anonymous case name (default: CT_0001, CT_0002, ...).")
    ] = None,
    series: Annotated[str | None, typer.Option(help="DICOM series: its number, UID or description.")] = None,
    channel: Annotated[list[str] | None, typer.Option(metavar="NAME=FILE", help="Image of a further channel.")] = None,
    channels: Annotated[str, typer.Option(metavar="A,B", help="Names of a new dataset's channels.")] = "CT",
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
    """Add an image with its ground truth. The same image again updates its case."""
    with conversation(json, debug) as talk:
        from activeseg.dataset import Dataset
        from activeseg.dataset.layout import find_dataset
        from activeseg.dataset.truth import check_values_of, read_truth
        from activeseg.io.seg_nrrd import is_segmentation_file

        given, wanted = names(structures, "--structures"), mapping(map_ or [])
        known = Dataset.open(folder, only_look=True) if find_dataset(folder) else None
        wanted_channels = known.channel_names if known else channel_names(channels, "--channels")
        files = channel_files(wanted_channels, image, channel or [])
        with talk.progress() as progress:
            progress("read", 0.0)
            images = read_channels(talk, files, image, series)
            if not known and not given and not is_segmentation_file(labels):
                raise InputError(
                    "A new dataset needs to know what the values of the label map are.",
                    "Name the structures of the values 1, 2, ... with --structures A,B.",
                )
            if given and is_segmentation_file(labels):
                raise InputError("A .seg.nrrd names its segments itself.", "Leave --structures out.")
            grid = next(iter(images.values())).geometry
            truth = read_truth(labels, grid, known.schema if known else None, given, wanted, talk.notice)
            for sentence in truth.sentences:
                talk.notice(sentence)
            source: dict[str, Any] = {name: {"path": str(path.absolute())} for name, path in files.items()}
            if patient:
                source["patient"] = patient
            source["labels"] = {"path": str(labels.absolute())}
            with Dataset.opened_or_created(folder, truth.schema, tuple(files)) as dataset:
                with values_by_option("--structures A,B,... for the values 1, 2, ..."):
                    check_values_of(dataset, images, truth, labels.name)
                new = replace(truth.case(images), name=case, source=source)
                saved = dataset.add_case(new, progress.part(0.1, 1.0))
        document = {
            "dataset": str(dataset.folder),
            "case": saved.name,
            "revision": saved.revision,
            "added": saved.added,
        }
        talk.result(document, saved.sentence(), f"Dataset: {dataset.folder}")


@app.command()
def show(
    folder: Folder,
    case: Annotated[str | None, typer.Argument(metavar="[CASE]", help="Show this case's record.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the cases and structures of a dataset, or the record of one case."""
    with conversation(json, debug) as talk:
        from activeseg.dataset import Dataset

        dataset = Dataset.open(folder, only_look=True)
        if case is not None:
            record = json_format.loads(dataset.record(case).to_json())
            talk.result({"dataset": str(dataset.folder), "record": record}, json_format.dumps(record, indent=1))
            return
        entries = dataset.cases()
        rows = table("CASE", "REVISION", "MADE BY", "WAITS FOR", right=("REVISION",))
        cases = []
        for name, entry in entries.items():
            described: dict[str, Any] = {"name": name, "revision": entry.revision, "waiting": list(entry.waiting)}
            try:
                provenance = dataset.record(name).current.provenance
                described |= {"origin": provenance.origin.value, "model": provenance.model}
                origin = " ".join(filter(None, [provenance.origin.value, provenance.model]))
            except DatasetError as error:  # one damaged record does not hide the others
                described |= {"problem": error.message}
                origin = "damaged, see 'verify'"
                talk.notice(f"{name}: {error}")
            rows.add_row(name, str(entry.revision), origin, ", ".join(entry.waiting))
            cases.append(described)
        unlisted = dataset.unlisted()
        document = {
            "dataset": str(dataset.folder),
            "channels": list(dataset.channel_names),
            "structures": list(dataset.schema.names),
            "ignore": dataset.schema.ignore_value,
            "cases": cases,
            "unlisted": {"cases": unlisted.cases, "files": list(unlisted.files)},
            "private_file": str(dataset.private.path),
        }
        talk.result(
            document,
            f"Dataset: {dataset.folder}",
            f"{len(dataset.schema)} structures: {', '.join(dataset.schema.names)}",
            _cases(len(cases)),
            *([rows] if cases else []),
            *_unlisted_lines(unlisted, folder),
            f"Where the cases come from is in {dataset.private.path}",
        )


def _unlisted_lines(unlisted: Unlisted, folder: Path) -> list[str]:
    told = unlisted.sentence()
    return [f"{told} Take back what is whole with 'activeseg dataset recover {folder}'."] if told else []


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"


@app.command()
def verify(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Read everything and report what is wrong; the exit code is 4 when something is."""
    with conversation(json, debug) as talk:
        from activeseg.dataset import Dataset

        dataset = Dataset.open(folder, only_look=True)
        with talk.progress() as progress:
            findings = verify_dataset(dataset, progress)
        rows = table("CASE", "WHAT IS WRONG")
        for finding in findings:
            rows.add_row(finding.case or "(all)", finding.problem)
        document = {
            "dataset": str(dataset.folder),
            "cases": len(dataset.cases()),
            "unlisted": dataset.unlisted().cases,
            "findings": to_json(findings),
        }
        told: list[Any] = [rows, *_unlisted_lines(dataset.unlisted(), folder)] if findings else []
        talk.result(document, *(told or [f"{_cases(len(dataset.cases()))}: nothing is wrong."]))
        if findings:
            raise typer.Exit(DatasetError.exit_code)


@app.command()
def recover(
    folder: Folder,
    channels: Annotated[
        str, typer.Option(metavar="A,B", help="Channel names, only where the folder does not contain them.")
    ] = "",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take back cases that the dataset does not list, and a damaged dataset.json, from the records of the cases.

    Nothing is removed: what is not whole is moved into the folder 'set_aside' in the dataset.
    """
    with conversation(json, debug) as talk:
        with talk.progress() as progress:
            done = recover_dataset(folder, channel_names=names(channels, "--channels"), progress=progress)
        document = {
            "dataset": str(done.folder),
            "listed": dict(done.listed),
            "lost": dict(done.lost),
            "set_aside": list(done.set_aside),
            "rebuilt": done.rebuilt,
        }
        talk.result(document, f"Dataset: {done.folder}", *done.sentences())


@app.command("open")
def open_case(
    folder: Folder,
    case: Case,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="New folder for the case's files.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a case as it was given, to correct it again in Slicer; 'dataset add' brings the result back."""
    with conversation(json, debug) as talk:
        from activeseg.candidates.lists import listed_regions
        from activeseg.dataset import Dataset
        from activeseg.io.seg_nrrd import write_segmentation
        from activeseg.predictions.region_files import write_regions

        dataset = Dataset.open(folder, only_look=True)
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"The output {output} is not empty.", "Name a new folder.")
        make_folder(output.parent)
        with talk.progress() as progress, new_folder(output) as fresh:
            progress("read", 0.0)
            opened = dataset.open_case(case)
            files = {name: f"image_{number}.nii.gz" for number, name in enumerate(opened.images)}
            for name, file in files.items():
                write_volume(opened.images[name], fresh / file, progress.part(0.1, 0.9))
            write_volume(opened.labels, fresh / "labels.nii.gz")
            write_segmentation(
                fresh / "segmentation.seg.nrrd",
                opened.labels.array,
                opened.labels.geometry,
                dataset.schema,
                dataset.schema.names,
            )
            regions = listed_regions(dataset.folder, opened.record)
            if regions:
                write_regions(fresh, regions)
        first, *others = files.items()
        channel = " ".join(f"--channel {name}={output / file}" for name, file in others)
        again = f"activeseg dataset add {folder} {output / first[1]} EDITED.seg.nrrd {channel}".rstrip()
        document = {
            "case": case,
            "folder": str(output),
            "images": files,
            "labels": "labels.nii.gz",
            "segmentation": "segmentation.seg.nrrd",
            "waiting": list(opened.waiting),
            "regions": to_json(regions),
        }
        waits = [f"It has not been annotated for {', '.join(opened.waiting)} yet."] if opened.waiting else []
        if regions:
            waits.append(f"Regions to review, where the model differs: {len(regions)} (regions.json).")
        talk.result(document, f"Written to {output}", *waits, f"When it is corrected: {again}")


@app.command()
def remove(
    folder: Folder,
    case: Case,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm: remove it with its history.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Remove a case with its history; it cannot be brought back."""
    with conversation(json, debug) as talk:
        from activeseg.dataset import Dataset

        dataset = Dataset.open(folder)
        revisions = dataset.record(case).current.number
        if not yes:
            raise InputError(
                f"'{case}' and its {revisions} revisions would be lost for good.", "Add --yes to remove it."
            )
        dataset.remove_case(case)
        talk.result({"dataset": str(dataset.folder), "removed": case}, f"'{case}' was removed.")


@app.command()
def migrate(
    folder: Folder,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder of the new dataset.")],
    add: Annotated[str, typer.Option(metavar="A,B", help="Structures to add.")] = "",
    remove: Annotated[str, typer.Option(metavar="A,B", help="Structures that become background.")] = "",
    rename: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="A structure's new name; an existing one merges them.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a new dataset with other structures from all cases; the old one stays as it is.

    Cases wait, out of training, until they are annotated for a structure that was added.
    """
    with conversation(json, debug) as talk:
        from activeseg.dataset import Dataset

        dataset = Dataset.open(folder)
        renamed: dict[str, str | None] = dict(pairs(rename or [], "--rename"))
        removed = names(remove, "--remove")
        for name in (*renamed, *removed):
            dataset.schema.named(name)
        schema = changed_schema(dataset.schema, names(add, "--add"), removed, renamed)
        renamed |= dict.fromkeys(removed)
        with talk.progress() as progress:
            migrated = migrate_dataset(dataset, new, schema, renamed, progress=progress)
        waiting = [name for name, entry in migrated.cases().items() if entry.waiting]
        document: dict[str, Any] = {
            "dataset": str(migrated.folder),
            "structures": list(migrated.schema.names),
            "cases": len(migrated.cases()),
            "waiting": waiting,
        }
        talk.result(
            document,
            f"New dataset: {migrated.folder}",
            f"{len(schema)} structures: {', '.join(schema.names)}",
            *([f"{_cases(len(waiting))} waiting to be annotated for what was added."] if waiting else []),
        )


def changed_schema(
    schema: LabelSchema, added: Sequence[str], removed: Sequence[str], renamed: dict[str, str | None]
) -> LabelSchema:
    """The old structures under their new names without the removed ones, then the added ones; colours stay.

    Raises InputError when nothing changes, nothing is left, or an added name exists.
    """
    kept = [label for label in schema.labels if label.name not in removed]
    names_now = {label.name: renamed.get(label.name) or label.name for label in kept}
    labels: dict[str, Label] = {}
    for label in kept:
        labels.setdefault(names_now[label.name], label)
    for name in added:
        if name in labels:
            raise InputError(f"There is a structure '{name}' already.", "Add one with another name.")
    if not (added or removed or renamed):
        raise InputError("Nothing is to be changed.", "Give --add, --remove or --rename.")
    if not (labels or added):
        raise InputError("No structure would be left.", "Keep at least one.")
    new = LabelSchema.from_names([*labels, *added])
    return LabelSchema(
        tuple(
            replace(labels[label.name], value=label.value, name=label.name) if label.name in labels else label
            for label in new.labels
        )
    )
