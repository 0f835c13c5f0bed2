"""Which models there are to choose from, as the engine lists them, and nnU-Net folders that the user added."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from activeseg.client.messages.learning import ProjectResult
from activeseg.client.messages.segmenting import (
    ModelCheckRequest,
    ModelCheckResult,
    ModelListRequest,
    ModelListResult,
)
from activeseg.core.errors import InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.segmenter import ModelGroup, ModelInfo

from ..engine.asking import ask, tried
from ..engine.engine import Engine, OnError, ignore
from ..slicer_types import Settings

FAMILIES = ("project", "totalsegmentator", "nnunet", "hounsfield", "demo")
"""Families that are offered; within a group in this order."""

_FOLDERS = "ActiveSeg/nnunetFolders"
_GROUPS = tuple(ModelGroup)
_HITS = 3


class WeightsState(StrEnum):
    """What a model needs before its first use."""

    BUILT_IN = "built in"
    PRESENT = "present"
    DOWNLOAD = "download"
    DOWNLOAD_AGAIN = "download again"
    LICENCE = "licence"


@dataclass(frozen=True)
class Model(ModelInfo):
    """A model to choose, as the user reads of it."""

    @property
    def title(self) -> str:
        """Its name within the group, with the grid where there are several."""
        name = self.name.partition(":")[2] or self.name
        if self.family == "nnunet":
            folder = Path(name)
            return f"{folder.parent.name}, {folder.name}" if folder.parent.name else folder.name
        if self.family == "project":
            return Path(name).name
        is_said = self.modality == "CT" or self.modality.lower() in name.lower().replace("-", "_").split("_")
        told = [name.replace("_", " "), "" if is_said else self.modality, self.grid]
        return ", ".join(filter(None, told))

    @property
    def grid(self) -> str:
        """The spacing of the grid that it segments on; empty where that is not known."""
        if self.spacing_mm is None:
            return ""
        return " x ".join(dict.fromkeys(f"{spacing:.2g}" for spacing in self.spacing_mm)) + " mm"

    @property
    def weights(self) -> WeightsState:
        if self.state in ("damaged", "other version"):
            return WeightsState.DOWNLOAD_AGAIN
        if self.state in ("licence", "missing"):
            return WeightsState.LICENCE if self.state == "licence" else WeightsState.DOWNLOAD
        return WeightsState.BUILT_IN if self.family in ("demo", "hounsfield") else WeightsState.PRESENT

    def hits(self, text: str) -> tuple[str, ...] | None:
        """What a search for words finds in it: structures, or none of them when its name has it; None: nothing."""
        if found([f"{self.family} {self.title} {self.name}"], text):
            return ()
        return tuple(found(self.structures, text)) or None

    def title_with(self, hits: Iterable[str]) -> str:
        """Its title and the first few of the structures that were found."""
        names = [name.replace("_", " ") for name in hits]
        if not names:
            return self.title
        more = f" +{len(names) - _HITS}" if len(names) > _HITS else ""
        return f"{self.title}: {', '.join(names[:_HITS])}{more}"


class Models:
    """The list, as it was last asked for."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """``settings`` as QSettings, which remembers folders of nnU-Net models."""
        self._engine = engine
        self._settings = settings
        self._listed: dict[str, Model] = {}
        self._project: Model | None = None

    @property
    def all(self) -> list[Model]:
        """By group, what is for CT first; empty before ``refresh``."""

        def place(model: Model) -> tuple[int, int, bool]:
            return _GROUPS.index(model.group), FAMILIES.index(model.family), model.modality != "CT"

        return sorted(self._listed.values(), key=place)

    @property
    def project(self) -> Model | None:
        """The current version of the project that is open."""
        return self._project

    def named(self, name: str) -> Model | None:
        return self._listed.get(name)

    def preview_of(self, model: Model) -> str:
        """Name of the coarser model that answers many times sooner; empty for a model that is a coarser one itself."""
        is_coarser = any(model.name == other.coarser for other in self._listed.values())
        return "" if is_coarser else model.coarser

    def offer(self, model: Model) -> None:
        """Add a model to the list, or another state of one."""
        self._listed[model.name] = model

    def refresh(self, on_result: Callable[[], None], on_error: OnError) -> None:
        """Ask the engine. Folders of the user's that cannot be used any more are left out, but remembered."""

        def listed(result: ModelListResult) -> None:
            self._listed = {info.name: Model(**vars(info)) for info in result.models if info.family in FAMILIES}
            if self._project is not None:
                self._listed[self._project.name] = self._project
            on_result()
            for folder in self._folders():
                self._check(folder, lambda _: on_result(), ignore)

        tried(lambda: ask(self._engine, ModelListRequest(), listed, on_error), on_error)

    def add_folder(self, folder: Path, on_result: Callable[[Model], None], on_error: OnError) -> None:
        """Offer the nnU-Net model in a folder from now on; an error says why it cannot be used."""

        def usable(model: Model) -> None:
            self._settings.setValue(_FOLDERS, "\n".join(dict.fromkeys([*self._folders(), str(folder)])))
            on_result(model)

        self._check(str(folder), usable, on_error)

    def offer_project(self, summary: ProjectResult, on_result: Callable[[], None], on_error: OnError) -> None:
        """Offer the current version of a project, in place of another project's."""
        name = f"project:{summary.project}"

        def checked(result: ModelCheckResult) -> None:
            if self._project is not None:
                self._listed.pop(self._project.name, None)
            names = LabelSchema.from_dict(result.schema).names
            told = f"Version '{summary.current}' of the project {summary.name}"
            group = ModelGroup.YOUR_PROJECTS
            self._project = Model(name, "project", told, result.channels[0], names, "ready", group=group)
            self.offer(self._project)
            on_result()

        tried(lambda: ask(self._engine, ModelCheckRequest(model=name), checked, on_error), on_error)

    def _folders(self) -> list[str]:
        return [folder for folder in str(self._settings.value(_FOLDERS) or "").split("\n") if folder]

    def _check(self, folder: str, on_result: Callable[[Model], None], on_error: OnError) -> None:
        def checked(result: ModelCheckResult) -> None:
            if len(result.channels) != 1:
                on_error(
                    InputError(
                        f"The model in '{folder}' needs {len(result.channels)} images; the panel gives it one.",
                        "Use it on the command line or from Python, which take an image for each channel.",
                    )
                )
                return
            names = LabelSchema.from_dict(result.schema).names
            told, group = f"nnU-Net model in {folder}", ModelGroup.YOUR_MODELS
            model = Model(name, "nnunet", told, result.channels[0], names, "ready", group=group)
            self.offer(model)
            on_result(model)

        name = f"nnunet:{folder}"
        tried(lambda: ask(self._engine, ModelCheckRequest(model=name), checked, on_error), on_error)


def found(names: Iterable[str], text: str) -> list[str]:
    """The names in which every word of ``text`` occurs; underscores count as blanks."""
    words = text.lower().replace("_", " ").split()
    return [name for name in names if all(word in name.lower().replace("_", " ") for word in words)]
