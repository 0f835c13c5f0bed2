"""The environment as a process of its own, for callers that must not block: Slicer starts this file with its Python.

``python environment_command.py ACTION --folder=FOLDER [options]`` prints one JSON object a line: ``{"progress":
{"stage", "fraction", "text", "step", "steps", "done_bytes", "total_bytes"}}`` while it works (bytes on disk; 0 of 0 in
a stage that does not count them), and at the end ``{"result": ...}`` or ``{"error": ...}``. An error, cancelling too,
has ``kept_bytes`` in its details: what lies in the folder for the next attempt, or can be removed. Anything on
stdin, its end too, cancels, so that nothing goes on when the caller is gone. Exit codes are those of the errors.

Addresses of a proxy or an index may hold a password, which every user of the computer could read on the command line:
they come in the variables ``ACTIVESEG_PROXY`` and ``ACTIVESEG_INDEX``, and arguments with passwords are refused.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if importlib.util.find_spec("packaging") is None:
        # A new Python has it only inside of its pip, or of the pip that it keeps for environments.
        kept = importlib.util.find_spec("ensurepip")
        if importlib.util.find_spec("pip") is None and kept is not None and kept.origin is not None:
            sys.path += map(str, Path(kept.origin).parent.glob("_bundled/pip-*.whl"))
        sys.modules["packaging"] = importlib.import_module("pip._vendor.packaging")

from activeseg.client.environment.environment import STAGES, EngineEnvironment, Options, Source, default_folder
from activeseg.client.environment.failure import without_password
from activeseg.client.environment.lock import Lock
from activeseg.client.environment.plan import INDEX, PROXY
from activeseg.core.errors import ActiveSegError, InputError
from activeseg.core.progress import Progress

ACTIONS = ("plan", "plan-again", "install", "check", "repair", "update", "remove", "use")
"""``plan-again``: what ``repair`` and ``update`` would do, with the options of the installation that is there."""

_LEAVES = ("install", "repair", "update")
_SECONDS_BETWEEN_LINES = 0.2


def command(action: str, folder: Path, options: Sequence[str] = (), python: str | Path = sys.executable) -> list[str]:
    """The command line for another process; ``options`` such as ``--torch=cpu``."""
    script = str(Path(__file__).resolve())
    return [str(python), "-X", "utf8", "-u", script, action, f"--folder={folder}", *options]


def parser() -> argparse.ArgumentParser:
    """The arguments, which are the fields of ``Options`` and ``Source``."""
    arguments = argparse.ArgumentParser(description="The Python environment of ActiveSeg's engine.")
    arguments.add_argument("action", choices=ACTIONS)
    arguments.add_argument("--folder", type=Path, default=default_folder())
    arguments.add_argument("--python", type=Path, help="the Python to build on, or for 'use' the one to use")
    arguments.add_argument("--index", default="", help="address of a package index")
    arguments.add_argument("--wheels", type=Path, help="folder of wheels that is looked into as well")
    arguments.add_argument("--offline", action="store_true", help="use nothing but the folder of wheels")
    arguments.add_argument("--proxy", default="", help="address of a proxy")
    arguments.add_argument("--torch", default="auto", help="'auto', 'cpu', 'cu130', ..., or '' for the index's own")
    return arguments


def perform(
    environment: EngineEnvironment, action: str, options: Callable[[], Options], progress: Progress
) -> dict[str, Any]:
    """Do one of the actions; a JSON-ready result. Raises what ``EngineEnvironment`` raises."""
    if action == "remove":
        return {"kept": environment.remove(progress)}
    if action in ("plan", "plan-again"):
        plan = environment.plan(options()) if action == "plan" else environment.plan_again()
        return {"plan": plan.to_dict(), "sentences": plan.sentences()}
    if action == "install":
        return environment.install(environment.plan(options()), progress).to_dict()
    if action == "use":
        return environment.use_existing(options().python or "", progress).to_dict()
    if action == "check":
        return environment.check().to_dict()
    return (environment.repair if action == "repair" else environment.update)(progress).to_dict()


def main(arguments: Sequence[str] | None = None, lock: Lock | None = None) -> int:
    """Run one action and print as the module says; the exit code. ``lock`` None takes the engine's packages."""
    given = parser().parse_args(arguments)
    cancelled = threading.Event()
    threading.Thread(target=_cancel_on_input, args=(cancelled,), daemon=True).start()
    last: list[Any] = [0.0, "", 0]
    amount, step = {"done_bytes": 0, "total_bytes": 0}, {"step": 1, "steps": 1}

    def count(done: int, total: int) -> None:
        amount.update(done_bytes=done, total_bytes=total)

    def report(stage: str, fraction: float, text: str) -> None:
        if stage != last[1]:
            steps = STAGES if stage in STAGES else (stage,)
            step.update(step=steps.index(stage) + 1, steps=len(steps))
            amount.update(done_bytes=0, total_bytes=0)
        elif (
            fraction < 1.0 and last[2] == amount["total_bytes"] and time.monotonic() - last[0] < _SECONDS_BETWEEN_LINES
        ):
            return
        last[:] = time.monotonic(), stage, amount["total_bytes"]
        _print({"progress": {"stage": stage, "fraction": round(fraction, 4), "text": text, **step, **amount}})

    def options() -> Options:
        for name, variable in (("proxy", PROXY), ("index", INDEX)):
            if without_password(getattr(given, name)) != getattr(given, name):
                raise InputError(
                    f"Every user of this computer could read the password of the {name} among the arguments.",
                    f"Give the address in the environment variable {variable}.",
                )
        proxy, index = given.proxy or os.environ.get(PROXY, ""), given.index or os.environ.get(INDEX, "")
        source = Source(index, given.wheels, given.offline, proxy, given.torch)
        return Options(given.python, source)

    environment = EngineEnvironment(given.folder, lock)
    try:
        progress = Progress(report, cancelled.is_set, count)
        _print({"result": perform(environment, given.action, options, progress)})
    except ActiveSegError as error:
        if given.action in _LEAVES:
            error.details["kept_bytes"] = environment.left_bytes()
        _print({"error": error.to_dict()})
        return error.exit_code
    except OSError as error:
        told = ActiveSegError(f"A file could not be used: {error}.", "Check free space, names and permissions.")
        _print({"error": told.to_dict()})
        return told.exit_code
    return 0


def _cancel_on_input(cancelled: threading.Event) -> None:
    try:
        os.read(0, 1)
    except OSError:
        return  # there is no stdin: it is ended by ending this process
    cancelled.set()


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line, default=str), flush=True)


if __name__ == "__main__":
    sys.exit(main())
