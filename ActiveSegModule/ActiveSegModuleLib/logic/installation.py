"""The engine's environment: which Python the engine gets, and what is installed, by a process that can be watched.

Nothing here asks the user, and nothing is changed without a call: the panel shows ``plan`` before ``install``.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from activeseg.client.environment.environment import EngineEnvironment, default_folder
from activeseg.client.environment.lock import engine_lock
from activeseg.client.environment.plan import PROXY, Options, Plan, expected_accelerator, expected_bytes
from activeseg.client.environment_command import command
from activeseg.core.errors import ActiveSegError, EngineError, InputError, Remedy

from ..engine.later import Later
from ..engine.signals import connect
from ..slicer_types import Qt, Settings, Widget
from .environment_action import CHANGES, EnvironmentAction, Working
from .sources import Sources, remember_sources, remembered_sources

OWN_PYTHON = "ACTIVESEG_ENGINE_PYTHON"
"""Environment variable that names the engine's Python; it wins over everything else."""

FOLDER = "ActiveSeg/engineFolder"
_DONE_TO_IT = {"install": "installed", "update": "updated", "repair": "repaired", "remove": "removed", "use": "set up"}
_STARTED = "ActiveSeg/engineStarted"
_STDERR_BYTES = 8192


class PythonOrigin(Enum):
    """Whose Python the engine gets."""

    NONE = "none"
    OURS = "ours"
    OWN = "own"  # the user's, chosen in the panel
    VARIABLE = "variable"  # named by ACTIVESEG_ENGINE_PYTHON


class Installation:
    """One action at a time, in a process of Slicer's own Python.

    Attributes
    ----------
    damage : a sentence about what the engine or a check found wrong in the environment; empty when nothing is known
    is_busy_elsewhere : whether another Slicer was changing the environment when it was last looked at
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
        self._action: EnvironmentAction | None = None
        self._ignores_variable = False
        self._held: int | None = None
        self.damage = ""
        self.is_busy_elsewhere = False

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
        self.is_busy_elsewhere = False
        self._changed()

    @property
    def sources(self) -> Sources:
        """As they were chosen last, in this session of Slicer or an earlier one."""
        return remembered_sources(self._settings)

    def remember(self, sources: Sources) -> None:
        """Keep them for the next start, all but the proxy's password."""
        remember_sources(self._settings, sources)

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
    def is_outdated(self) -> bool:
        """Whether ActiveSeg installed the environment and its packages are those of an earlier version of ActiveSeg."""
        if self.installed is not PythonOrigin.OURS:
            return False
        installed = EngineEnvironment(self.folder).folder.installed() or {}
        return installed.get("lock") not in (None, _lock_digest())

    @property
    def was_started(self) -> bool:
        """Whether an engine has started with this Python before; the first start takes longer."""
        return self._settings.value(_STARTED) == str(self.python)

    def note_started(self) -> None:
        """An engine has started with it."""
        if not self.was_started:
            self._settings.setValue(_STARTED, str(self.python))

    def rough_plan(self, sources: Sources) -> Mapping[str, Any]:
        """What ``plan`` tells, as far as it is known without looking: free space and what is there are not."""
        accelerator = expected_accelerator(sources.torch)
        download, disk = expected_bytes(engine_lock(), accelerator, with_python=False)
        download = 0 if sources.offline else download
        plan = Plan(self.folder, Options(), None, None, accelerator, 0, download, disk, 0, with_weights=True)
        return plan.to_dict()

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
        if self.is_busy_elsewhere:
            return self._busy_elsewhere()
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

    def hold(self) -> None:
        """An engine starts: keep other programs from changing its environment. Raises EngineError while one does."""
        self.release()
        if self.origin is PythonOrigin.VARIABLE:
            return
        try:
            self._held = EngineEnvironment(self.folder).folder.share()
        except EngineError as error:
            self._learn_from_error(error)
            raise self._busy_elsewhere() from error

    def release(self) -> None:
        """No engine of ours runs in the environment."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def look_again(self) -> None:
        """Whether another Slicer is changing the environment now."""
        try:
            held = EngineEnvironment(self.folder).folder.share()
        except EngineError as error:
            self._learn_from_error(error)
        else:
            self.is_busy_elsewhere = False
            if held is not None:
                os.close(held)
        self._changed()

    def suspect(self, error: ActiveSegError) -> None:
        """The engine failed: where its environment may be the reason, look whether it is damaged, and say so."""
        if error.details.get("cause") == "imports":
            self.damage = error.message
            self._changed()
        elif not isinstance(error, EngineError) or error.details.get("cause") or self.origin is not PythonOrigin.OURS:
            return
        if self.origin is PythonOrigin.OURS and self.working is None:
            self.run("check", lambda _: None, lambda _: None, quiet=True)

    @property
    def _named(self) -> str:
        """What the variable says; empty when it is not set, or is to be ignored."""
        return "" if self._ignores_variable else self._environment.get(OWN_PYTHON, "")

    @property
    def working(self) -> Working | None:
        """What is being done that the user asked for; None when nothing is."""
        return self._action.working if self._action and not self._action.quiet else None

    @property
    def is_looking(self) -> bool:
        """Whether something is being looked up that nobody asked for."""
        return self._action is not None and self._action.quiet

    def run(
        self,
        action: str,
        on_result: Callable[[Mapping[str, Any]], None],
        on_error: Callable[[ActiveSegError], None],
        sources: Sources | None = None,
        python: str = "",
        quiet: bool = False,
    ) -> None:
        """Do something to the environment; either callback is called once, from the event loop.

        Parameters
        ----------
        action : ``plan`` (what ``install`` would do; nothing is written), ``plan-again`` (what ``repair`` would do),
            ``install``, ``check``, ``update``, ``repair``, ``remove``, or ``use`` a Python that the user has
        on_result : gets what ``environment_command`` prints as its result
        python : for ``use``
        quiet : for ``plan`` and ``check``: nobody asked for it. It makes way for the next action, and then neither
            callback is called

        Raises InputError while another action is being done, and for sources that cannot be.
        """
        if self.working is not None:
            raise InputError(f"'{self.working.action}' is still going on.", "Wait for it, or cancel it.")
        if sources is not None:
            sources.refuse_incomplete()
        self._make_way()
        options = sources.options() if sources is not None else []
        options += [f"--python={python}"] if python else []
        program, *arguments = command(action, self.folder, options, self._interpreter)
        self._action = EnvironmentAction(action, on_result, on_error, quiet)
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
        if self.is_looking:
            self._make_way()
        process, self._process, self._action = self._process, None, None
        if process is not None and process.state() != self._qt.QProcess.ProcessState.NotRunning:
            process.closeWriteChannel()
            if not process.waitForFinished(round(timeout_s * 1000)):
                process.kill()
                process.waitForFinished(round(timeout_s * 1000))

    def _make_way(self) -> None:
        """End what nobody asked for; it only looks, so it can be killed."""
        process, self._process, self._action = self._process, None, None
        if process is not None and process.state() != self._qt.QProcess.ProcessState.NotRunning:
            process.kill()
            process.waitForFinished()

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

    def _end(self, action: EnvironmentAction, error: ActiveSegError | None) -> None:
        """From the next turn of the event loop on another action may begin, also in the callbacks."""

        def tell() -> None:
            if self._action is not action:
                return  # shut down in the meantime
            self._process = self._action = None
            if error is None:
                self._learn_from(action.working.action, action.result or {})
            else:
                self._learn_from_error(error)
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
            self.is_busy_elsewhere = False
            self._settings.remove(_STARTED)

    def _learn_from_error(self, error: ActiveSegError) -> None:
        self.is_busy_elsewhere = error.details.get("cause") == "busy"

    def _busy_elsewhere(self) -> EngineError:
        sentence = f"Another Slicer is changing the engine in '{self.folder}'."
        return EngineError(sentence, "Wait until it is done there, then look again.", cause="busy")


@functools.cache
def _lock_digest() -> str:
    """Of the packages that this version of ActiveSeg was tested with."""
    return engine_lock().digest
