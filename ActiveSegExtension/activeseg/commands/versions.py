"""``activeseg versions ...``: what was trained, how good it is, and which one segments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from activeseg.commands.conversation import Debug, Json, table
from activeseg.commands.opened_project import Folder, opened_project

if TYPE_CHECKING:
    from activeseg.learning.measuring.comparison import Comparison
    from activeseg.learning.project.project import Project

app = typer.Typer(no_args_is_help=True, help="List, compare, promote, roll back, export and import versions.")

Id = Annotated[str, typer.Argument(metavar="VERSION", help="A version such as v0003, or base.")]


@app.command(name="list")
def list_(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """List all versions, and which one is current."""
    with opened_project(folder, json, debug) as (talk, project):
        versions, current = project.versions(), project.state.current
        rows = table("VERSION", "FROM", "CREATED", "CASES", "MEAN DICE", "VERDICT", right=("CASES", "MEAN DICE"))
        rows.add_row("base" + (" *" if current == "base" else ""), "", "", "", "", project.state.base_model)
        for id, version in versions.items():
            verdict = version.verdict
            dice = "" if verdict is None or verdict.after is None else f"{verdict.before:.3f} > {verdict.after:.3f}"
            name = id + (" *" if id == current else "")
            reason = verdict.reason if verdict else "not measured"
            parent = version.imported or version.parent
            rows.add_row(name, parent, version.created, str(len(version.data)), dice, reason)
        damaged = project.damaged_versions()
        for id, why in damaged.items():
            rows.add_row(id + (" *" if id == current else ""), "", "", "", "", "damaged")
            talk.notice(f"{why} See 'activeseg project check {folder}'.")
        document = {
            "current": current,
            "versions": [version.to_dict() for version in versions.values()],
            "damaged": damaged,
        }
        talk.result(document, rows)


@app.command()
def compare(
    folder: Folder,
    first: Id,
    second: Annotated[
        str, typer.Argument(metavar="OTHER", help="The version to compare with (default: the current one).")
    ] = "",
    picture: Annotated[Path | None, typer.Option(help="Also draw the comparison into this PNG file.")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or mps.")] = "auto",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two versions on the held-out cases, structure by structure, measuring what is missing."""
    with opened_project(folder, json, debug) as (talk, project):
        from activeseg.learning.measuring.comparison import compare_versions

        with talk.progress() as progress:
            compared = compare_versions(project, first, second or project.state.current, device, progress)
        if picture is not None:
            compared.draw(picture)
        talk.result(compared.to_dict(), *_comparison(compared))


@app.command()
def promote(
    folder: Folder,
    version: Id,
    reason: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a version current by hand, regardless of the gate's decision; this is recorded."""
    with opened_project(folder, json, debug) as (talk, project):
        project.promote(version, reason or "by hand")
        _told(talk, project)


@app.command()
def rollback(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Return to the previously current version."""
    with opened_project(folder, json, debug) as (talk, project):
        project.rollback()
        _told(talk, project)


@app.command(name="export")
def export_(
    folder: Folder,
    version: Id,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new .zip file.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Export a version to one file, for another installation."""
    with opened_project(folder, json, debug) as (talk, project):
        from activeseg.learning.bundle import export_version

        with talk.progress() as progress:
            export_version(project, version, file, progress)
        talk.result({"file": str(file), "bytes": file.stat().st_size}, f"Written to {file}.")


@app.command(name="import")
def import_(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What 'versions export' wrote.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Import a version from a file. It does not become current; compare it, then promote it."""
    with opened_project(folder, json, debug) as (talk, project):
        from activeseg.learning.bundle import import_version

        with talk.progress() as progress:
            version = import_version(project, file, progress)
        talk.result({"version": version.id}, f"Imported as {version.id} (it was {version.imported}).")


def _told(talk: Any, project: Project) -> None:
    state = project.state
    talk.result({"current": state.current}, f"The current version is {state.current}.")


def _comparison(compared: Comparison) -> list[Any]:
    rows = table("STRUCTURE", "CASES", *compared.headings, right=("CASES", *compared.headings))
    for row in compared.rows():
        rows.add_row(*row)
    return [rows, *compared.sentences()]
