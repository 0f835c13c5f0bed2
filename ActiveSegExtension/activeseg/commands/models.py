"""``activeseg models``: what can segment here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from activeseg.commands.conversation import Debug, Json, conversation, table
from activeseg.core.sizes import size_text

if TYPE_CHECKING:
    from activeseg.core.segmenter import ModelInfo

_STATES = {"missing": "to download", "licence": "licence needed"}
STYLES = {"ready": "green", "damaged": "red", "licence": "yellow"}


def models(json: Json = False, debug: Debug = False) -> None:
    """List the models that can be chosen with -m, and whether their weights are here."""
    with conversation(json, debug) as talk:
        from activeseg.segmenters import list_models

        found = list_models()
        talk.result(
            {"models": [asdict(model) for model in found]},
            _table(found),
            "",
            "A model that nnU-Net v2 trained is chosen by its folder: -m nnunet:FOLDER.",
            "Weights that are not here are downloaded when they are first used.",
        )


def _table(found: Sequence[ModelInfo]) -> Table:
    rows = table("MODEL", "IMAGE", "STRUCTURES", "WEIGHTS", "WHAT IT IS", right=("STRUCTURES",))
    for model in found:
        size = f", {size_text(model.download_bytes)}" if model.state == "missing" and model.download_bytes else ""
        state = Text(f"{_STATES.get(model.state, model.state)}{size}", style=STYLES.get(model.state, ""))
        rows.add_row(model.name, model.modality, str(len(model.structures)), state, model.description)
    return rows
