"""The engine's environment: which Python the engine gets, and what is installed, by a process that can be watched.

Nothing here asks the user, and nothing is changed without a call: the panel shows ``plan`` and asks before ``install``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from activeseg.client.environment.environment import EngineEnvironment, default_folder
from activeseg.client.environment.plan import PROXY
from activeseg.client.environment_command import command
from activeseg.core.errors import ActiveSegError, EngineError, InputError, Remedy

from ..engine.later import Later
from ..engine.signals import connect
from ..slicer_types import Qt, Settings, Widget

OWN_PYTHON = "ACTIVESEG_ENGINE_PYTHON"
"""Environment variable that names the engine's Python; it wins over everything else."""

FOLDER = "ActiveSeg/engineFolder"
CHANGES = ("install", "update", "repair", "remove", "use")
"""Actions during which no engine can run in the environment."""

_DONE_TO_IT = {"install": "installed", "update": "updated", "repair": "repaired", "remove": "removed", "use": "set up"}
_WHEELS, _OFFLINE, _PROXY, _TORCH = (f"ActiveSeg/{name}" for name in ("wheels", "offline", "proxy", "torch"))
_STDERR_BYTES = 8192
_PASSWORD = re.compile(r"(?<=://)([^/@]*?):[^/]*@")


class PythonOrigin(Enum):
    """Whose Python the engine gets."""

    NONE = "none"
    OURS = "ours"
    OWN = "own"  # the user's, chosen in the panel
    VARIABLE = "variable"  # named by ACTIVESEG_ENGINE_PYTHON


@dataclass(frozen=True)
class Sources:
    """Where packages come from; the defaults suit a computer with internet."""

    wheels: str = ""
    offline: bool = False
    proxy: str = ""
    torch: str = "auto"

    def options(self) -> list[str]:
        """Arguments of ``environment_command``; all but the proxy, whose password every user could read there."""
        options = [f"--torch={self.torch}"]
        options += [f"--wheels={self.wheels}"] if self.wheels else []
        return options + (["--offline"] if self.offline else [])

    def refuse_incomplete(self) -> None:
        """Raise InputError where it is plain already that nothing can come from there."""
        if self.offline and not self.wheels:
            raise InputError("Without internet a folder of wheels is needed, and none is named.", "Choose the folder.")
        if self.wheels and not Path(self.wheels).is_dir():
            raise InputError(f"There is no folder '{self.wheels}'.", "Choose the folder of wheels.")


@dataclass(frozen=True)
class Working:
    """What is being done to the environment, and how far it is."""

    action: str
    stage: str = ""
    fraction: float = 0.0
    text: str = ""


class Installation:
    """One action at a time, in a process of Slicer's own Python.

    Attributes
    ----------
    damage : a sentence about what the engine or a check found wrong in the environment; empty when nothing is known
    """

    def __init__(
        self,
        qt: Qt,
        settings: Settings,
        changed: Callable[[], None],
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        Parameters
        ----------
        qt : the module that holds QProcess, QByteArray and QTimer
        settings : as QSettings; remembers the folder
        changed : is called whenever ``working`` or ``python`` changes
        python : runs the actions; None takes Slicer's, which needs the variables that Slicer itself was started with
        environment : where ACTIVESEG_ENGINE_PYTHON is looked up; None takes this process's
        """
        self._qt = qt
        self._later = Later(qt)
        self._settings = settings
        self._changed = changed
        self._interpreter = python or shutil.which("PythonSlicer") or sys.executable
        self._environment = os.environ if environment is None else environment
        self._process: Widget = None
        self._action: _Action | None = None
        self._ignores_variable = False
        self.damage = ""

    @property
    def folder(self) -> Path:
        """Where the environment is, or will be."""
        return Path(str(self._settings.value(FOLDER) or default_folder()))

    def set_folder(self, folder: str) -> None:
        """Another place; what is in the old one stays there. Empty: the default."""
        if folder and Path(folder) != default_folder():
            self._settings.setValue(FOLDER, folder)
        else:
            self._settings.remove(FOLDER)
        self.damage = ""
        self._changed()

    @property
    def sources(self) -> Sources:
        """As they were chosen last, in this session of Slicer or an earlier one."""
        value = self._settings.value
        return Sources(
            wheels=str(value(_WHEELS) or ""),
            offline=str(value(_OFFLINE) or "").lower() == "true",
            proxy=str(value(_PROXY) or ""),
            torch=str(value(_TORCH) or "auto"),
        )

    def remember(self, sources: Sources) -> None:
        """Keep them for the next start, all but the proxy's password."""
        proxy = _PASSWORD.sub(r"\1@", sources.proxy)
        offline = "true" if sources.offline else ""
        for key, value in ((_WHEELS, sources.wheels), (_OFFLINE, offline), (_PROXY, proxy), (_TORCH, sources.torch)):
            self._settings.setValue(key, value)

    @property
    def origin(self) -> PythonOrigin:
        return PythonOrigin.VARIABLE if self._named else self.installed

    @property
    def installed(self) -> PythonOrigin:
        """What is in the folder, whatever the variable says: NONE, OURS or OWN."""
        ours = EngineEnvironment(self.folder)
        if ours.python is None:
            return PythonOrigin.NONE
        return PythonOrigin.OWN if (ours.folder.marker() or {}).get("existing") else PythonOrigin.OURS

    @property
    def is_incomplete(self) -> bool:
        """Whether an installation was begun in the folder and not completed; what it loaded lies there."""
        ours = EngineEnvironment(self.folder)
        return ours.folder.marker() is not None and ours.python is None

    @property
    def python(self) -> Path | None:
        """What to start the engine with; looked up without starting anything. None when nothing is installed."""
        return Path(self._named) if self._named else EngineEnvironment(self.folder).python

    @property
    def variable_is_wrong(self) -> bool:
        """Whether ACTIVESEG_ENGINE_PYTHON names what is no program."""
        return bool(self._named) and shutil.which(self._named) is None

    def ignore_variable(self) -> None:
        """Go by what is installed, until Slicer ends."""
        self._ignores_variable = True
        self._changed()

    @property
    def obstacle(self) -> EngineError | None:
        """Why no engine can be started now; None when one can, as far as can be seen without starting it."""
        working = self.working
        if working is not None and working.action in CHANGES:
            sentence = f"The engine is being {_DONE_TO_IT[working.action]}."
            return EngineError(sentence, "Wait until that is done, or cancel it.", cause="changing")
        if self.variable_is_wrong:
            return EngineError(
                f"The environment variable {OWN_PYTHON} is set to '{self._named}', and there is no such program.",
                "Correct or remove the variable, then start Slicer again.",
                cause="variable",
            )
        python = self.python
        if python is None and self.is_incomplete:
            sentence = f"The installation of the engine in '{self.folder}' was not completed."
            return EngineError(sentence, "Install it again; what was downloaded is used again.", cause="incomplete")
        if python is None:
            remedy = Remedy.INSTALL_ENVIRONMENT
            return EngineError("The engine is not installed.", "Install it first.", cause="missing", remedy=remedy)
        if self.origin is not PythonOrigin.VARIABLE and not python.exists():
            sentence = f"The engine's Python '{python}' is not there any more."
            if self.origin is PythonOrigin.OWN:
                return EngineError(sentence, "Choose another Python, or let ActiveSeg install one.", cause="gone")
            return EngineError(sentence, "Repair the engine.", cause="gone", remedy=Remedy.REPAIR_ENVIRONMENT)
        return None

    def suspect(self, error: ActiveSegError) -> None:
        """The engine failed: where its environment may be the reason, look whether it is damaged, and say so."""
        if error.details.get("cause") == "imports":
            self.damage = error.message
            self._changed()
        elif not isinstance(error, EngineError) or error.details.get("cause") or self.origin is not PythonOrigin.OURS:
            return
        if self.origin is PythonOrigin.OURS and self._action is None:
            self.run("check", lambda _: None, lambda _: None)

    @property
    def _named(self) -> str:
        """What the variable says; empty when it is not set, or is to be ignored."""
        return "" if self._ignores_variable else self._environment.get(OWN_PYTHON, "")

    @property
    def working(self) -> Working | None:
        """None when nothing is being done."""
        return self._action.working if self._action else None

    def run(
        self,
        action: str,
        on_result: Callable[[Mapping[str, Any]], None],
        on_error: Callable[[ActiveSegError], None],
        sources: Sources | None = None,
        python: str = "",
    ) -> None:
        """Do something to the environment; either callback is called once, from the event loop.

        Parameters
        ----------
        action : ``plan`` (what ``install`` would do; nothing is written), ``plan-again`` (what ``repair`` would do),
            ``install``, ``check``, ``update``, ``repair``, ``remove``, or ``use`` a Python that the user has
        on_result : gets what ``environment_command`` prints as its result
        python : for ``use``

        Raises InputError while another action is being done, and for sources that cannot be.
        """
        if self._action is not None:
            raise InputError(f"'{self._action.working.action}' is still going on.", "Wait for it, or cancel it.")
        if sources is not None:
            sources.refuse_incomplete()
        options = sources.options() if sources is not None else []
        options += [f"--python={python}"] if python else []
        program, *arguments = command(action, self.folder, options, self._interpreter)
        self._action = _Action(Working(action), on_result, on_error)
        process = self._process = self._qt.QProcess()
        if sources is not None and sources.proxy:
            process.setProcessEnvironment(self._with_proxy(sources.proxy))
        connect(process, "readyReadStandardOutput()", self._read)
        connect(process, "readyReadStandardError()", self._read_errors)
        connect(process, "finished(int,QProcess::ExitStatus)", self._finished)
        connect(process, "errorOccurred(QProcess::ProcessError)", self._failed)
        process.start(program, arguments)
        self._changed()

    def cancel(self) -> None:
        """End what is being done; its ``on_error`` gets a Cancelled when all that it started has ended."""
        if self._process is not None:
            self._process.closeWriteChannel()

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """End what is being done and wait until it is gone; no callback is called."""
        process, self._process, self._action = self._process, None, None
        if process is not None and process.state() != self._qt.QProcess.ProcessState.NotRunning:
            process.closeWriteChannel()
            if not process.waitForFinished(round(timeout_s * 1000)):
                process.kill()
                process.waitForFinished(round(timeout_s * 1000))

    def _with_proxy(self, proxy: str) -> Widget:
        variables = self._qt.QProcessEnvironment()
        for name, value in {**os.environ, PROXY: proxy}.items():
            variables.insert(name, value)
        return variables

    def _read(self) -> None:
        action = self._action
        if action is None:
            return
        action.buffer += self._process.readAllStandardOutput().data()
        *lines, action.buffer = action.buffer.split(b"\n")
        for line in lines:
            action.take(line)
        self._changed()

    def _read_errors(self) -> None:
        if self._action is not None:
            printed = self._process.readAllStandardError().data()
            self._action.printed = (self._action.printed + printed)[-_STDERR_BYTES:]

    def _finished(self, code: int, _status: object) -> None:
        action = self._action
        if action is None:
            return
        self._read()
        self._read_errors()
        error = action.error
        if action.result is None and error is None:
            log = action.printed.decode("utf-8", "replace").splitlines()
            error = EngineError(
                f"The program that works on the engine's environment ended unexpectedly (exit code {code}).",
                "Try again.",
                log=log,
            )
        self._end(action, error)

    def _failed(self, kind: object) -> None:
        if self._action is not None and kind == self._qt.QProcess.ProcessError.FailedToStart:
            sentence = f"'{self._interpreter}' cannot be started: {self._process.errorString()}."
            self._end(self._action, EngineError(sentence, "Start Slicer again."))

    def _end(self, action: _Action, error: ActiveSegError | None) -> None:
        """From the next turn of the event loop on another action may begin, also in the callbacks."""

        def tell() -> None:
            if self._action is not action:
                return  # shut down in the meantime
            self._process = self._action = None
            if error is None:
                self._learn_from(action.working.action, action.result or {})
            self._changed()
            if error is not None:
                action.on_error(error)
            else:
                action.on_result(action.result or {})

        self._later(tell)

    def _learn_from(self, action: str, result: Mapping[str, Any]) -> None:
        """What an action that was done says about damage. A check of whole files cannot see what an import did."""
        if result.get("state") == "damaged":
            self.damage = str(result["problem"])
        elif action in CHANGES:
            self.damage = ""


class _Action:
    """One run of ``environment_command``, and what it has said so far."""

    def __init__(
        self,
        working: Working,
        on_result: Callable[[Mapping[str, Any]], None],
        on_error: Callable[[ActiveSegError], None],
    ) -> None:
        self.working = working
        self.on_result = on_result
        self.on_error = on_error
        self.buffer = b""
        self.printed = b""
        self.result: Mapping[str, Any] | None = None
        self.error: ActiveSegError | None = None

    def take(self, line: bytes) -> None:
        """One line of what the program prints; what is none of its messages is left out."""
        try:
            message = json.loads(line)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        if "progress" in message:
            told = message["progress"]
            self.working = Working(self.working.action, told["stage"], float(told["fraction"]), told["text"])
        elif "result" in message:
            self.result = message["result"]
        elif "error" in message:
            self.error = ActiveSegError.from_dict(message["error"])
