"""``activeseg finetune`` and ``activeseg training ...``: a model learns from a project's corrections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live

from activeseg.commands.arguments import is_number
from activeseg.commands.conversation import Conversation, Debug, Json, table
from activeseg.commands.opened_project import Folder, opened_project
from activeseg.core.errors import Cancelled, InputError, shown
from activeseg.core.records import to_json

if TYPE_CHECKING:
    from activeseg.learning.project.project import Project
    from activeseg.learning.training.finetuning import Planned
    from activeseg.learning.training.run_folder import RunFolder, RunState

app = typer.Typer(no_args_is_help=True, help="Watch, pause, resume, stop and cancel a project's fine-tuning.")

_LOOK_S = 0.5


def finetune(
    folder: Folder,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Only preview the training: cases, settings, time and memory.")
    ] = False,
    detach: Annotated[
        bool, typer.Option(help="Start in the background and return immediately; see 'activeseg training show'.")
    ] = False,
    parent: Annotated[
        str, typer.Option(metavar="VERSION", help="Version to start from (default: the current one).")
    ] = "",
    part: Annotated[str, typer.Option(help="Which of several networks to train (default: the corrected one).")] = "",
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or mps.")] = "auto",
    members: Annotated[int | None, typer.Option(min=1, help="Number of members of the new ensemble.")] = None,
    members_from: Annotated[
        str | None, typer.Option(help="'seeds': one training each; 'snapshots': of one cyclic training.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs per member.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Iterations per epoch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    warm_up: Annotated[float | None, typer.Option(help="Fraction of the iterations with a rising rate.")] = None,
    frozen_stages: Annotated[int | None, typer.Option(min=0, help="Encoder stages to freeze, from the first.")] = None,
    replay: Annotated[float | None, typer.Option(help="Fraction of replayed images, from 0 to 1.")] = None,
    distillation: Annotated[
        float | None, typer.Option(help="Weight of the parent's probabilities on replayed images; 0 for none.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Patches per iteration.")] = None,
    patch: Annotated[str, typer.Option(metavar="K,J,I", help="Patch size; a smaller one saves time and memory.")] = "",
    foreground: Annotated[float | None, typer.Option(help="Fraction of patches centred on a structure.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the random numbers.")] = None,
    margin: Annotated[float | None, typer.Option(help="Largest Dice drop allowed per structure.")] = None,
    forgetting_margin: Annotated[
        float | None, typer.Option(help="Largest drop of the mean Dice allowed on held-out replayed images.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fine-tune a project's current version on its corrections, measure the new one, and promote it if it is better."""
    with opened_project(folder, json, debug) as (talk, project):
        from activeseg.learning.training.finetuning import plan_finetuning

        changes = {
            "members": members,
            "members_from": members_from,
            "epochs": epochs,
            "iterations": iterations,
            "learning_rate": learning_rate,
            "warm_up": warm_up,
            "frozen_stages": frozen_stages,
            "replay": replay,
            "distillation": distillation,
            "batch_size": batch_size,
            "patch_kji": _sizes(patch),
            "foreground": foreground,
            "seed": seed,
            "margin": margin,
            "forgetting_margin": forgetting_margin,
        }
        planned = plan_finetuning(project, changes, parent=parent, part=part, device=device)
        if plan_only:
            talk.result(planned.to_dict(), *_plan_report(planned))
            return
        _carry_out(talk, project, planned, detach)


def _carry_out(talk: Conversation, project: Project, planned: Planned, detach: bool) -> None:
    """Start what was planned; unless it is detached, show it to its end."""
    from activeseg.learning.training.finetuning import start_finetuning

    for sentence in planned.sentences():
        talk.notice(sentence)
    run = start_finetuning(project, planned.plan, parent=planned.parent, part=planned.part)
    if detach:
        told = f"Training continues in the background: activeseg training show {project.folder}"
        talk.result({"run": run.id, **to_json(run.state)}, told)
        return
    _watch(talk, run)
    _end(talk, run)


@app.command()
def show(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Show the progress of the last fine-tuning."""
    with _last_training(folder, json, debug) as (talk, run):
        state = run.state
        talk.result({"run": run.id, **to_json(state)}, _state_table(run, state))


@app.command()
def watch(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Follow the last fine-tuning to its end; Ctrl+C stops watching, not the training."""
    with _last_training(folder, json, debug) as (talk, run):
        _watch(talk, run, cancels=False)
        _end(talk, run)


@app.command()
def pause(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Pause the training; it stays in memory, and 'resume' continues it."""
    _tell(folder, "pause", json, debug)


@app.command()
def stop(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Stop the training's process; 'resume' continues after the last complete epoch."""
    _tell(folder, "stop", json, debug)


@app.command()
def cancel(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Cancel the training for good. A version that is written already stays, and is not current."""
    _tell(folder, "cancel", json, debug)


@app.command()
def resume(folder: Folder, json: Json = False, debug: Debug = False) -> None:
    """Continue after a pause, a stop, a killed process or a restarted machine."""
    with _last_training(folder, json, debug) as (talk, run):
        from activeseg.learning.training.finetuning import resume_finetuning

        resume_finetuning(run)
        talk.result({"run": run.id, **to_json(run.state)}, f"{run.id} continues.")


def _tell(folder: Path, what: str, json: bool, debug: bool) -> None:
    with _last_training(folder, json, debug) as (talk, run):
        from activeseg.learning.training.finetuning import wait_for_end
        from activeseg.learning.training.run_folder import Control

        stopped = run.state.stage == "stopped" and what == "cancel"
        if run.state.stage.ended and not stopped:
            raise InputError(f"The fine-tuning {run.id} has ended ({run.state.stage}).", "Start a new one.")
        run.tell(Control(what))
        if what != "pause":
            wait_for_end(run)
        talk.result({"run": run.id, **to_json(run.state)}, f"{run.id}: {run.state.stage}.")


@contextmanager
def _last_training(folder: Path, json: bool, debug: bool) -> Iterator[tuple[Conversation, RunFolder]]:
    """A conversation about a project's last fine-tuning."""
    with opened_project(folder, json, debug) as (talk, project):
        from activeseg.learning.training.run_folder import RunFolder

        yield talk, RunFolder.last_of(project)


def _watch(talk: Conversation, run: RunFolder, cancels: bool = True) -> None:
    """Show it until it ends. Ctrl+C cancels it, or only ends the watching."""
    from activeseg.learning.training.finetuning import wait_for_end
    from activeseg.learning.training.run_folder import Control

    said = 0.0
    try:
        with Live(console=talk.errors, transient=True, auto_refresh=False) as live:
            while not (state := run.state).stage.ended:
                if talk.errors.is_terminal:
                    live.update(_state_table(run, state), refresh=True)
                elif time.monotonic() - said > 10:
                    said = time.monotonic()
                    talk.notice(_line(state))
                if talk.interrupted:
                    raise KeyboardInterrupt
                time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        if cancels:
            run.tell(Control.CANCEL)
            wait_for_end(run)
        raise Cancelled() from None


def _end(talk: Conversation, run: RunFolder) -> None:
    """The result, or what went wrong."""
    from activeseg.learning.training.finetuning import outcome

    state = outcome(run)
    lines = [f"Version {state.version}: {state.verdict}"]
    lines.append(f"It is {'the current version now' if state.promoted else 'kept, and not current'}.")
    talk.result({"run": run.id, **to_json(state)}, *lines)


def _line(state: RunState) -> str:
    left = "" if state.eta_s is None else f", {state.eta_s:.0f} s left"
    loss = "" if state.loss is None else f", loss {state.loss:.3f}"
    return f"{state.fraction:4.0%} {state.where}{loss}{left}"


def _state_table(run: RunFolder, state: RunState) -> Any:
    shown = table("FINE-TUNING", run.id)
    shown.add_row("stage", str(state.stage))
    shown.add_row("done", f"{state.fraction:.0%}" + ("" if state.eta_s is None else f", {state.eta_s:.0f} s left"))
    if state.epoch:
        shown.add_row("member, epoch", f"{state.member}, {state.epoch}")
    if state.loss is not None:
        shown.add_row("loss", f"{state.loss:.3f}")
    for name, dice in (state.dice or {}).items():
        shown.add_row(name, f"{dice:.2f} {'█' * round(20 * dice)}")
    if state.verdict:
        shown.add_row("version", f"{state.version}: {state.verdict}")
    if state.error:
        shown.add_row("failed", str(state.error.get("message", "")))
    return shown


def _sizes(patch: str) -> tuple[int, ...] | None:
    """``32,48,48`` as numbers, of which several may be the same. Raises InputError."""
    parts = [part.strip() for part in patch.split(",")] if patch.strip() else []
    if not all(is_number(part) for part in parts):
        raise InputError(f"--patch is {shown(patch)}.", "Give one number for each axis, such as 32,48,48.")
    return tuple(int(part) for part in parts) or None


def _plan_report(planned: Planned) -> list[Any]:
    shown = table("FINE-TUNING", "")
    for name, value in planned.rows():
        shown.add_row(name, value)
    return [shown, *planned.sentences()]
