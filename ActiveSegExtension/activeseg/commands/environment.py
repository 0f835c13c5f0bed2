"""``activeseg environment``: the engine's own Python environment, as Slicer's panel makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from activeseg.client.environment.environment import EngineEnvironment, Options, Source, State, Status, default_folder
from activeseg.client.environment.plan import INDEX, PROXY, Plan
from activeseg.commands.conversation import Conversation, Debug, Json, conversation
from activeseg.core.errors import ActiveSegError, EngineError
from activeseg.core.sizes import size_text

app = typer.Typer(no_args_is_help=True, help="Make, check, repair and remove the engine's own Python environment.")

Folder = Annotated[Path, typer.Option("--folder", "-f", help="The folder that holds it.")]
Python = Annotated[Path | None, typer.Option(help="The Python 3.11 to 3.13 to build on (default: one is found).")]
Index = Annotated[
    str, typer.Option(envvar=INDEX, help="Address of a package index; with a password better in the variable.")
]
Wheels = Annotated[Path | None, typer.Option(help="A folder of wheels to use as well.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use only the folder of wheels, no internet.")]
Proxy = Annotated[
    str,
    typer.Option(
        envvar=PROXY, help="Address of a proxy (default: the system's); with a password better in the variable."
    ),
]
Torch = Annotated[str, typer.Option(help="Build of PyTorch: auto, cpu, cu130, ...; '' uses the index's own.")]
FOLDER = default_folder()


Work = Callable[[Conversation, EngineEnvironment, Plan], None]


def _planned(work: Work) -> Callable[..., None]:
    """A command of ``work``'s name that takes everything an installation may be told, and plans it first."""

    def command(
        folder: Folder = FOLDER,
        python: Python = None,
        index: Index = "",
        wheels: Wheels = None,
        offline: Offline = False,
        proxy: Proxy = "",
        torch: Torch = "auto",
        json: Json = False,
        debug: Debug = False,
    ) -> None:
        with conversation(json, debug) as talk:
            environment = EngineEnvironment(folder)
            options = Options(python, Source(index, wheels, offline, proxy, torch))
            work(talk, environment, environment.plan(options))

    command.__name__, command.__doc__ = work.__name__, work.__doc__
    return command


@app.command()
@_planned
def plan(talk: Conversation, environment: EngineEnvironment, found: Plan) -> None:
    """Show what an installation would do; nothing is written."""
    talk.result({"plan": found.to_dict()}, *found.sentences())


@app.command()
@_planned
def install(talk: Conversation, environment: EngineEnvironment, found: Plan) -> None:
    """Install it. After an interruption the same command continues with what was downloaded."""
    for sentence in found.sentences():
        talk.notice(sentence)
    try:
        with talk.progress() as progress:
            status = environment.install(found, progress)
    except ActiveSegError as error:
        if left := environment.left_bytes():
            again = (
                f"The same command continues with it; 'activeseg environment remove --folder {found.folder}' frees it."
            )
            talk.notice(f"{size_text(left)} of it lie in {found.folder}. {again}")
            error.details["kept_bytes"] = left
        raise
    _tell(talk, status)


@app.command()
def check(folder: Folder = FOLDER, json: Json = False, debug: Debug = False) -> None:
    """Check its state; exit code 1 when it cannot be used."""
    with conversation(json, debug) as talk:
        status = EngineEnvironment(folder).check()
        if not status.usable:
            raise EngineError(status.problem, status.action, status=status.to_dict(), remedy=status.remedy)
        _tell(talk, status)


@app.command()
def repair(folder: Folder = FOLDER, json: Json = False, debug: Debug = False) -> None:
    """Reinstall it with the same settings."""
    with conversation(json, debug) as talk, talk.progress() as progress:
        _tell(talk, EngineEnvironment(folder).repair(progress))


@app.command()
def update(folder: Folder = FOLDER, json: Json = False, debug: Debug = False) -> None:
    """Update it to the packages of this version of ActiveSeg."""
    with conversation(json, debug) as talk, talk.progress() as progress:
        _tell(talk, EngineEnvironment(folder).update(progress))


@app.command()
def use(
    python: Annotated[Path, typer.Argument(help="The Python of an environment that you already have.")],
    folder: Folder = FOLDER,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Use a Python that you already have; it is checked and never changed."""
    with conversation(json, debug) as talk, talk.progress() as progress:
        _tell(talk, EngineEnvironment(folder).use_existing(python, progress))


@app.command()
def remove(folder: Folder = FOLDER, json: Json = False, debug: Debug = False) -> None:
    """Remove it and its folder; files in there that are not ActiveSeg's stay."""
    with conversation(json, debug) as talk:
        with talk.progress() as progress:
            kept = EngineEnvironment(folder).remove(progress)
        stays = f"Kept, because they are not ActiveSeg's: {', '.join(kept)}" if kept else f"{folder} is removed."
        talk.result({"kept": kept}, stays)


def _tell(talk: Conversation, status: Status) -> None:
    document: dict[str, Any] = status.to_dict()
    versions = ", ".join(f"{name} {version}" for name, version in status.versions.items())
    size = f" ({size_text(status.size_bytes)})" if status.size_bytes else ""
    lines = [f"{status.state.value}: {status.python}{size}", f"Python {status.python_version}, {versions}"]
    if status.state is State.OUTDATED:
        lines.append(f"{status.problem} Run: activeseg environment update --folder {status.folder}")
    talk.result(document, *lines)
