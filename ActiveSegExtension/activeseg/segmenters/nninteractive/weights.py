"""Where the user's weights of nnInteractive lie, what licence they have, and whether the user has confirmed it.

ActiveSeg neither brings nor fetches them. A confirmation is kept with the licence's check sum: another text, as a later
version of the weights may have, asks again.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from packaging.specifiers import SpecifierSet

from activeseg.core.errors import InputError, ModelError, Remedy, printable
from activeseg.core.records import Sha256, Within, damaged, from_json, to_json
from activeseg.segmenters.nninteractive.model_folder import WEIGHTS_PAGE, InteractiveModel, check_folder
from activeseg.system.files import make_folder, remove_abandoned, write_json
from activeseg.system.folders import data_folder
from activeseg.system.regular_files import read_bytes, read_json

PLACE = "ACTIVESEG_NNINTERACTIVE_DIR"
"""The environment variable that names the weights' folder, before the one that was chosen."""
VERSIONS = ">=2.5.1,<3"
"""Of the package, whose functions changed at 2.0."""
NO_LICENCE = "!!MISSING!!"
"""The original package's name for the licence of weights that state none."""
NON_COMMERCIAL = "CC BY-NC-SA 4.0"

_LONGEST_LICENCE, _LONGEST_NAME = 1 << 20, 100
_MOST_CONFIRMED = 100


class Readiness(StrEnum):
    """``licence``: the weights are there and the user has not confirmed their licence."""

    READY = "ready"
    PACKAGE = "package missing"
    MISSING = "weights missing"
    DAMAGED = "damaged"
    LICENCE = "licence"


@dataclass(frozen=True)
class Licence:
    """What the weights' file LICENSE says; ``name`` is its first line, by which the original package shows it."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Confirmed:
    """A licence that the user has confirmed, and the day."""

    licence: str
    sha256: Sha256
    date: str


@dataclass(frozen=True)
class WeightsChoice:
    """What the user chose; written to ``nninteractive.json`` in the user's data folder."""

    folder: Path | None = None
    confirmed: tuple[Confirmed, ...] = ()
    format: Annotated[int, Within(1, 1)] = 1


@dataclass(frozen=True)
class Standing:
    """Whether nnInteractive can answer here: its state, one sentence where it cannot, and what is there."""

    state: Readiness
    folder: Path
    problem: str = ""
    action: str = ""
    licence: Licence | None = None
    model: InteractiveModel | None = field(default=None, repr=False)

    def required(self) -> InteractiveModel:
        """The checked weights. Raises ModelError with the sentence where nnInteractive cannot answer."""
        if self.model is not None and self.state is Readiness.READY:
            return self.model
        raise self.error()

    def error(self) -> ModelError:
        """Why nnInteractive cannot answer here."""
        details = {"licence": self.licence.name} if self.licence else {}
        remedy = {Readiness.PACKAGE: Remedy.UPDATE_ENVIRONMENT}.get(self.state, Remedy.ADD_NNINTERACTIVE)
        return ModelError(
            self.problem, self.action, state=str(self.state), folder=str(self.folder), remedy=remedy, **details
        )


def record_file() -> Path:
    """Where the user's choice is kept."""
    return data_folder() / "nninteractive.json"


def weights_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """As the environment says, else as the user chose, else ``nninteractive`` in the user's data folder."""
    if environment.get(PLACE):
        return Path(environment[PLACE]).expanduser().absolute()
    return read_choice().folder or data_folder() / "nninteractive"


def read_choice() -> WeightsChoice:
    """What the user chose. Raises ModelError when the file is damaged: a confirmation is not guessed."""
    path = record_file()
    if not os.path.lexists(path):
        return WeightsChoice()
    action = "Remove the file; the folder and the licence are asked for again."
    content = read_json(path, ModelError, action, limit=1 << 20)
    with damaged(ModelError, f"The file '{path}'", action):
        return from_json(WeightsChoice, content)


def read_licence(model: InteractiveModel) -> Licence:
    """What the folder says of its licence; as the original package where it says nothing. Raises ModelError."""
    path = model.folder / "LICENSE"
    try:
        text = read_bytes(path, _LONGEST_LICENCE).decode("utf-8", "replace").removeprefix("\ufeff").strip()
    except FileNotFoundError:
        text = ""
    except (OSError, InputError) as error:
        raise ModelError(
            f"The licence of nnInteractive's weights, '{path}', cannot be read.",
            "Copy the folder again.",
            file=str(path),
        ) from error
    if text:
        return Licence(printable(text.splitlines()[0].strip(), _LONGEST_NAME), text)
    if model.official:
        return Licence(
            NON_COMMERCIAL,
            f"{NON_COMMERCIAL}\nThe folder has no file LICENSE. These are the first weights of its authors, "
            "who publish them under Creative Commons Attribution-NonCommercial-ShareAlike 4.0.",
        )
    return Licence(
        NO_LICENCE, "The folder states no licence. Ask its author whether and for what you may use these weights."
    )


def standing() -> Standing:
    """Look whether nnInteractive can answer here. Nothing is loaded."""
    try:
        folder = weights_folder()
    except ModelError as error:
        return Standing(Readiness.DAMAGED, data_folder(), error.message, error.action)
    if problem := _package_problem():
        return Standing(
            Readiness.PACKAGE, folder, problem, f"Install nnInteractive {VERSIONS} into the engine's environment."
        )
    if not os.path.lexists(folder):
        return Standing(
            Readiness.MISSING,
            folder,
            f"nnInteractive's weights are not here: '{folder}' does not exist.",
            f"Get them from their authors ({WEIGHTS_PAGE}) if you accept their licence, and choose their folder.",
        )
    try:
        model = check_folder(folder)
        licence = read_licence(model)
        confirmed = {entry.sha256 for entry in read_choice().confirmed}
    except ModelError as error:
        return Standing(Readiness.DAMAGED, folder, error.message, error.action)
    if licence.sha256 in confirmed:
        return Standing(Readiness.READY, folder, licence=licence, model=model)
    return Standing(
        Readiness.LICENCE, folder, licence_sentence(licence), "Read the licence and confirm it.", licence, model
    )


def licence_sentence(licence: Licence) -> str:
    """What has to be confirmed."""
    if licence.name == NO_LICENCE:
        return "nnInteractive's weights state no licence, and you have not confirmed that you may use them."
    more = " (not for commercial use)" if "NC" in licence.name.replace("-", " ").split() else ""
    return f"nnInteractive's weights have the licence '{licence.name}'{more}, which you have not confirmed."


def choose(folder: Path) -> Standing:
    """Use the weights in a folder from now on; they stay where they are. The licence may have to be confirmed.

    Raises ModelError when they cannot be used, and when the choice cannot be written.
    """
    folder = folder.expanduser().absolute()
    check_folder(folder)
    choice = read_choice()
    _write(WeightsChoice(folder, choice.confirmed))
    return standing()


def confirm(sha256: str) -> Standing:
    """The user confirms the licence with this check sum, that of the text which was shown.

    Raises
    ------
    InputError
        It is another licence than that of the weights.
    ModelError
        There are no weights, or the confirmation cannot be written.
    """
    found = standing()
    if found.licence is None:
        raise found.error()
    if found.licence.sha256 != sha256:
        raise InputError("The licence of nnInteractive's weights has changed since it was shown.", "Read it again.")
    if found.state is Readiness.LICENCE:
        choice = read_choice()
        entry = Confirmed(found.licence.name, sha256, datetime.date.today().isoformat())
        _write(WeightsChoice(choice.folder, (*choice.confirmed, entry)[-_MOST_CONFIRMED:]))
    return standing()


def _write(choice: WeightsChoice) -> None:
    path = record_file()
    try:
        make_folder(path.parent)
        remove_abandoned(path.parent)
        write_json(path, to_json(choice))
    except OSError as error:
        raise ModelError(
            f"'{path}' cannot be written: {error.strerror or error}.", "Check the folder's permissions and free space."
        ) from error


def _package_problem() -> str:
    try:
        version = importlib.metadata.version("nninteractive")
    except importlib.metadata.PackageNotFoundError:
        return "The package nnInteractive is not installed."
    if not SpecifierSet(VERSIONS).contains(version, prereleases=True):
        return f"The package nnInteractive is {version}; ActiveSeg works with {VERSIONS}."
    return ""
