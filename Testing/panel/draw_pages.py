"""Draws the pictures of the panel in docs/pictures: the first page, and a day with the phantom and the demo model.

``.venv-slicer/bin/python Testing/panel/draw_pages.py`` writes them again, with the engine of ``.venv``; sizes on the
first page are those of this computer.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
ENGINE = ROOT / ".venv" / "bin" / "python"
GAP = 12


def main() -> None:
    """Open the module in Slicer's style, in a home folder of its own: first without an engine, then with one."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml", "Testing/panel"):
        sys.path.insert(0, str(ROOT / folder))
    from pictures_look import ROOMS, Theme, dress
    from PySide6 import QtWidgets

    dress(QtWidgets.QApplication(sys.argv[:1]), Theme.LIGHT)
    with opened("") as (module, _core):
        while module.widget.logic.installation.is_looking:
            QtWidgets.QApplication.processEvents()
        write("first_page.png", [picture(module, ROOMS[1])])
    with opened(str(ENGINE)) as (module, core), tempfile.TemporaryDirectory() as folder:
        segment, review, editing, export = day(module, core, Path(folder))
        write("panel.png", [segment, review, editing])
        write("panel_export.png", [export])


@contextlib.contextmanager
def opened(engine: str) -> Iterator[tuple[Any, Any]]:
    """The module as its user opens it, and Slicer's core; ``engine`` is a Python, or empty where none is installed."""
    from slicer_stand_in import LoadedModule, installed

    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = os.environ["USERPROFILE"] = home
        for name in ("ACTIVESEG_ENGINE_PYTHON", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
            os.environ.pop(name, None)
        if engine:
            os.environ["ACTIVESEG_ENGINE_PYTHON"] = engine
        with installed(Path(home)) as (core, _said):
            module = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
            module.enter()
            yield module, core
            module.close()


def day(module: Any, core: Any, folder: Path) -> Iterator[Any]:
    """A picture of each page while a phantom is segmented, reviewed, corrected and about to be stored."""
    from pictures_look import ROOMS
    from user import User, until

    user, ui = User(module, core), module.widget.ui
    user.load_ct(name="Phantom")
    user.choose_demo("4")
    yield picture(module, ROOMS[0])
    user.segment("4")
    module.widget.panel.message.clear()
    ui.acceptButton.click()
    ui.skipButton.click()
    until(lambda: user.states().count("open") == len(user.states()) - 2)
    yield picture(module, ROOMS[0])
    ui.editButton.click()
    module.widget.panel.editing.editor.setActiveEffectByName("Paint")
    case, number = user.case, user.logic.review.current
    structure = case.regions.region(number).structures[0]
    user.paint(case, structure, case.regions.region(number).box_kji)
    until(lambda: user.states().count("corrected") == 1)
    yield picture(module, ROOMS[0])
    module.widget.panel.editing.editor.setActiveEffect(None)
    user.node.dataset = str(folder / "Dataset801_Mine")
    ui.exportStep.click()
    ui.annotatorEdit.text = "A. Reader"
    until(lambda: "regions reviewed" in ui.summaryBrowser.plainText)
    yield picture(module, ROOMS[0])


def picture(module: Any, room: Any) -> Any:
    """The panel as it is now, in a room of Slicer's window."""
    from pictures_look import place
    from PySide6 import QtWidgets

    place(module.parent, room)
    for _ in range(20):
        QtWidgets.QApplication.processEvents()
    return module.parent.grab()


def write(name: str, pictures: list[Any]) -> None:
    """Pictures beside each other in one file."""
    from PySide6 import QtCore, QtGui

    width = sum(picture.width() for picture in pictures) + GAP * (len(pictures) - 1)
    sheet = QtGui.QPixmap(width, max(picture.height() for picture in pictures))
    sheet.fill(QtCore.Qt.GlobalColor.white)
    painter, left = QtGui.QPainter(sheet), 0
    for picture in pictures:
        painter.drawPixmap(left, 0, picture)
        left += picture.width() + GAP
    painter.end()
    sheet.save(str(PICTURES / name))
    print(PICTURES / name)


if __name__ == "__main__":
    main()
