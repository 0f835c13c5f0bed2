"""The start of every command about a project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from activeseg.commands.conversation import Conversation, conversation

if TYPE_CHECKING:
    from activeseg.learning.project.project import Project

Folder = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's folder.")]


@contextmanager
def opened_project(folder: Path, json: bool, debug: bool) -> Iterator[tuple[Conversation, Project]]:
    """A conversation about the project in a folder; ``conversation`` says how it ends."""
    with conversation(json, debug) as talk:
        from activeseg.learning.project.project import Project

        yield talk, Project.open(folder)
