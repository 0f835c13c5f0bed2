"""``activeseg refiners``: what answers prompts, and the weights that the user brings for it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from activeseg.commands.conversation import Debug, Json, conversation, table
from activeseg.commands.models import STYLES
from activeseg.core.errors import ModelError

app = typer.Typer(no_args_is_help=True, help="List what answers prompts, and add nnInteractive's weights.")


@app.command("list")
def list_all(json: Json = False, debug: Debug = False) -> None:
    """List the refiners, and what is missing for each."""
    with conversation(json, debug) as talk:
        from activeseg.refiners.listing import list_refiners

        found = list_refiners()
        rows = table("REFINER", "STATE", "LICENCE OF ITS WEIGHTS", "WHAT IT IS")
        for refiner in found:
            state = Text(refiner.state, style=STYLES.get(refiner.state, ""))
            rows.add_row(refiner.name, state, refiner.licence, refiner.description)
        reasons = [f"{refiner.problem} {refiner.action}" for refiner in found if refiner.problem]
        talk.result({"refiners": [asdict(refiner) for refiner in found]}, rows, *reasons)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The refiner: nninteractive.")],
    folder: Annotated[Path, typer.Argument(help="The weights' folder, with plans.json and LICENSE; it stays there.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Confirm the licence of the weights, which is shown.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Use weights that you have; their licence is shown and has to be confirmed."""
    with conversation(json, debug) as talk:
        from activeseg.refiners.listing import choose_weights, confirm_licence

        found = choose_weights(name, folder)
        if found.state == "licence":
            talk.notice(found.licence_text)
            if not accept_licence:
                raise ModelError(
                    found.problem, "If you accept it, add --accept-licence.", licence=found.licence, folder=found.folder
                )
            found = confirm_licence(name, found.licence_sha256)
        if found.state != "ready":
            raise ModelError(found.problem, found.action, state=found.state, folder=found.folder)
        talk.result({"refiner": asdict(found)}, f"'{name}' uses the weights in {found.folder} ({found.licence}).")
