"""Pictures of the panel in every step and state, in light and dark, in the rooms that Slicer's window gives it.

``python Testing/panel/pictures.py OUT [PART [LANGUAGE]]`` writes those whose names contain PART into OUT, and
prints what is wrong with their look. No engine is needed: what it would have answered is put into the scene.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    import conftest  # noqa: F401 - finds the packages

import slicer
from conftest import ENGINE_PYTHON
from loaded_cases import MODULE, load_ct, make_case, pump
from pictures_checks import findings
from pictures_look import ROOMS, Room, Theme, dress, grab, place
from PySide6 import QtCore, QtWidgets
from scene_cases import OTHER_REGION, PLAIN, REGION, patches
from slicer_stand_in import LoadedModule, installed
from user import User

from activeseg.core.errors import EngineError


class Bench:
    """The module, opened by a user whose Slicer has no engine yet, and brought into one state after the other."""

    def __init__(self, module: LoadedModule, core: Any) -> None:
        self.module = module
        self.user = User(module, core)
        self.panel = module.widget.panel
        self.root = module.parent
        self._at: tuple[str, Theme] | None = None
        self.root.setObjectName("panel")
        module.enter()
        while self.panel.logic.installation.is_looking:  # what the card of the first minute shows
            pump()
        pump()

    def bring_into(self, state: str, theme: Theme) -> None:
        """One of ``STATES``; whatever was before is gone. (A theme holds from Slicer's start on.)"""
        if (state, theme) != self._at:
            dress(QtWidgets.QApplication.instance(), theme)
            self.panel.message.clear()
            STATES[state](self)
            pump()
            self._at = state, theme

    # What leads to the states.

    def empty(self) -> None:
        self.user.core.scene.Clear()
        pump()

    def with_engine(self) -> None:
        """As if there were one."""
        self.empty()
        self.panel.steps.set_setup_needed(False)
        self.panel.steps.show(self.step("SEGMENT"))

    def with_ct(self) -> None:
        self.with_engine()
        load_ct(self.user, "CT abdomen")
        pump()

    def with_case(self) -> Any:
        """Ten regions, of which the first is looked at and has an alternative."""
        self.with_engine()
        case = make_case(self.user, load_ct(self.user, "CT abdomen"), "CT abdomen segmentation")
        names = ("liver", "spleen", "kidney_left", "kidney_right")
        others = [
            {**OTHER_REGION, "number": n, "structures": [names[n % 4]], "score": 0.4 - n / 40} for n in range(2, 11)
        ]
        case.set_regions([REGION, *others], patches(), PLAIN)
        self.panel.case_changed(case)
        pump()
        return case

    def step(self, name: str) -> Any:
        from ActiveSegModuleLib.panel.steps import Step

        return Step[name]

    def at(self, step: str) -> None:
        self.with_case()
        self.panel.message.clear()
        self.panel.steps.show(self.step(step))

    def editing(self) -> None:
        self.at("REVIEW")
        self.panel.edit_region()

    def painting(self) -> None:
        self.editing()
        self.panel.editing.editor.setActiveEffectByName("Paint")

    def failed(self) -> None:
        self.at("REVIEW")
        self.panel.message.error(
            EngineError(
                "Not enough memory: about 14.2 GB needed, 7.9 GB available.",
                "Choose a lower resolution, fewer members, or the CPU.",
            )
        )

    def settings(self) -> None:
        self.with_engine()
        self.panel.steps.show_settings()

    def set_up(self) -> None:
        self.empty()
        self.panel.steps.set_setup_needed(True)
        self.panel.steps.show(self.step("SEGMENT"))


STATES: dict[str, Callable[[Bench], object]] = {
    "setup": Bench.set_up,
    "segment-no-ct": Bench.with_engine,
    "segment": Bench.with_ct,
    "review": lambda bench: bench.at("REVIEW"),
    "review-failed": Bench.failed,
    "editing": Bench.editing,
    "painting": Bench.painting,
    "export": lambda bench: bench.at("EXPORT"),
    "learn": lambda bench: bench.at("LEARN"),
    "settings": Bench.settings,
}


@dataclass(frozen=True)
class Picture:
    state: str
    room: Room
    theme: Theme

    def __str__(self) -> str:
        return f"{self.state}-{self.room.name}-{self.theme.value}"


PICTURES = tuple(Picture(state, room, theme) for state in STATES for theme in Theme for room in ROOMS)


@contextlib.contextmanager
def opened(folder: Path, language: str = "en_US") -> Iterator[Bench]:
    """The panel without an engine; its data are kept in ``folder``."""
    kept = {name: os.environ.pop(name, None) for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", ENGINE_PYTHON)}
    os.environ.update({"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")})
    try:
        with installed(folder) as (core, _said):
            slicer.app.applicationLocaleName = language
            module = LoadedModule(MODULE)
            try:
                yield Bench(module, core)
            finally:
                module.close()
                remove_translation()
                dress(QtWidgets.QApplication.instance(), Theme.LIGHT)
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def remove_translation() -> None:
    """Qt keeps a translation for the whole process."""
    from ActiveSegModuleLib import translation

    for translator in translation.installed:
        QtCore.QCoreApplication.removeTranslator(translator)
    translation.installed.clear()


def main(out: Path, wanted: str = "", language: str = "en_US") -> int:
    """Write the pictures whose names contain ``wanted``; returns how many faults there are."""
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    dress(application, Theme.LIGHT)
    faults = 0
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), language) as bench:
        for picture in PICTURES:
            if wanted not in str(picture):
                continue
            bench.bring_into(picture.state, picture.theme)
            place(bench.root, picture.room)
            grab(bench.root, out / f"{picture}.png")
            found = findings(bench.root, picture.room)
            faults += len(found)
            print(f"{picture}: {len(found)} faults", *found, sep="\n  ")
    return faults


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1]), *sys.argv[2:4]) else 0)
