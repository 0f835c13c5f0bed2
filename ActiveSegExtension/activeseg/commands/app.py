"""The command ``activeseg`` with everything that can be called."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from activeseg.commands import candidates, dataset, environment, finetune, project, refiners, versions
from activeseg.commands.export import export
from activeseg.commands.models import models
from activeseg.commands.refine import refine, spread
from activeseg.commands.segment import segment
from activeseg.core.about import __version__
from activeseg.core.errors import InputError

EXIT_CODES = "Exit codes: 0 done, 1 failed, 2 input or usage, 3 model, 4 dataset, 5 device, 130 cancelled."
UsageError: Any = typer.BadParameter.__base__  # typer has its own copy of click and does not export this one

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
app.command()(models)
app.command()(segment)
app.command()(refine)
app.command()(spread)
app.command()(export)
app.command()(finetune.finetune)
app.add_typer(finetune.app, name="training")
app.add_typer(project.app, name="project")
app.add_typer(versions.app, name="versions")
dataset.app.command()(candidates.refine)
app.add_typer(dataset.app, name="dataset")
app.add_typer(refiners.app, name="refiners")
app.add_typer(environment.app, name="environment")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"activeseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Segment a CT, review where the model is uncertain, correct it, and fine-tune the model on the corrections."""


def run() -> None:
    """Run the command that ``sys.argv`` says and end the process with its exit code."""
    try:
        sys.exit(app(prog_name="activeseg", standalone_mode=False))
    except UsageError as error:
        error.show()
        if "--json" in sys.argv:
            told = InputError(error.format_message(), "See 'activeseg --help'.")
            print(json.dumps({"error": told.to_dict()}, indent=1))
        sys.exit(error.exit_code)
