"""The errors that ActiveSeg raises on purpose: what happened, with which value, and what to do next."""

from __future__ import annotations

import contextlib
import reprlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

SHOWN_LENGTH = 100
"""Characters of a wrong value that a sentence shows."""


def shown(value: object, length: int = SHOWN_LENGTH) -> str:
    """A value as a sentence shows it: short whatever its size and depth, and without lone surrogates."""
    looks = reprlib.Repr()
    looks.maxstring = looks.maxother = looks.maxlong = length
    try:
        text = looks.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = f"a {type(value).__name__} that is too large to be written"
    return shortened(text, length)


def shortened(text: str, length: int) -> str:
    """A text of at most ``length`` characters: what is too much is taken out of its middle."""
    if len(text) <= length:
        return text
    kept = length - 5
    return f"{text[: kept - kept // 3]} ... {text[len(text) - kept // 3 :]}"


def printable(text: str, length: int) -> str:
    """A text for a sentence, such as a path or a key: as it is, or in ASCII where it cannot be shown, and cut."""
    return shortened(text if text.isprintable() else ascii(text)[1:-1], length)


def in_ascii(text: str) -> str:
    """A text with something from a stranger in it, such that no letter of it only looks like another one."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


class Remedy(StrEnum):
    """What of ActiveSeg's own helps against an error. The command line names its command, the panel its button."""

    LIST_MODELS = "list models"
    ENTER_LICENCE = "enter licence"
    ADD_NNINTERACTIVE = "add nninteractive"
    SEGMENT = "segment"
    RECOVER_DATASET = "recover dataset"
    MIGRATE_DATASET = "migrate dataset"
    NEW_PROJECT = "new project"
    CHECK_PROJECT = "check project"
    ASSIGN_PATIENT = "assign patient"
    RESUME_TRAINING = "resume training"
    INSTALL_ENVIRONMENT = "install environment"
    UPDATE_ENVIRONMENT = "update environment"
    REPAIR_ENVIRONMENT = "repair environment"
    CHOOSE_PYTHON = "choose python"


class ActiveSegError(Exception):
    """One clear sentence for the user; ``action`` says what to do next, ``details`` carries values for a program.

    Neither sentence names an option, a command or a button: who calls from Python or from a server has none of them.
    ``setting`` among the details names the setting that should be given or changed, ``remedy`` what else helps (a
    ``Remedy``). The command line makes an option and a command of them, the panel the name of a button.

    ``code`` names the kind in JSON, ``exit_code`` is what the command line ends with.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, action: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.action = action
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.action}".strip()

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON-ready values."""
        return {"code": self.code, "message": self.message, "action": self.action, "details": self.details}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ActiveSegError:
        """The error that ``to_dict`` described, of its kind; an unknown kind becomes an EngineError."""
        kind = kinds().get(str(data.get("code")), EngineError)
        details = data.get("details")
        made = kind.__new__(kind)  # Cancelled takes no action
        ActiveSegError.__init__(made, str(data.get("message") or ""), str(data.get("action") or ""))
        made.details = {str(name): value for name, value in details.items()} if isinstance(details, Mapping) else {}
        return made


class InputError(ActiveSegError):
    """An image, label map, name or setting that the user gave cannot be used."""

    code = "input"
    exit_code = 2


class ModelError(ActiveSegError):
    """A model is unknown, incomplete, of another version, not licensed, or of a kind that is not supported."""

    code = "model"
    exit_code = 3


class DatasetError(ActiveSegError):
    """A dataset is damaged, locked, of another schema, or would lose something."""

    code = "dataset"
    exit_code = 4


class DeviceError(ActiveSegError):
    """The device that was asked for is missing, or a device ran out of memory or of disk space."""

    code = "device"
    exit_code = 5


class EngineError(ActiveSegError):
    """The engine cannot be started, speaks another version of the protocol, or failed for an unexpected reason."""

    code = "engine"


class Crashed(EngineError):
    """The engine, or its process that did the work, ended unexpectedly. The next call starts it again."""

    code = "crashed"


class Cancelled(ActiveSegError):
    """The user ended the job. Nothing was left behind."""

    code = "cancelled"
    exit_code = 130

    def __init__(self, message: str = "Cancelled.") -> None:
        super().__init__(message)


def kinds() -> dict[str, type[ActiveSegError]]:
    """Every kind by its code; a class without a code of its own is told as the kind that it belongs to."""
    found: dict[str, type[ActiveSegError]] = {}
    waiting: list[type[ActiveSegError]] = [ActiveSegError]
    for kind in waiting:
        if "code" in vars(kind):
            found[kind.code] = kind
        waiting += kind.__subclasses__()
    return found


Notice = Callable[[str], None]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An InputError of the block names the file, if it did not do so itself."""
    try:
        yield
    except InputError as error:
        if path.name in error.message:
            raise
        raise InputError(f"'{path.name}': {error.message}", error.action, **error.details) from error


def warn(text: str) -> None:
    """What a notice becomes without a receiver: a Python warning."""
    warnings.warn(text, stacklevel=3)
