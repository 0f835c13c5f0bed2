"""Draws docs/pictures/first_page.png: what somebody sees who opens the module for the first time.

``.venv-slicer/bin/python Testing/panel/draw_first_page.py`` writes it again; sizes are those of this computer.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "pictures" / "first_page.png"


def main() -> None:
    """Open the module in Slicer's style, without an engine and in a home folder of its own."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    for folder in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml", "Testing/panel"):
        sys.path.insert(0, str(ROOT / folder))
    from pictures_look import ROOMS, Theme, dress, grab, place
    from PySide6 import QtWidgets
    from slicer_stand_in import LoadedModule, installed

    application = QtWidgets.QApplication(sys.argv[:1])
    dress(application, Theme.LIGHT)
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = os.environ["USERPROFILE"] = home
        for name in ("ACTIVESEG_ENGINE_PYTHON", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
            os.environ.pop(name, None)
        with installed(Path(home)):
            module = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
            module.enter()
            module.parent.layout().setContentsMargins(0, 0, 0, 0)
            while module.widget.logic.installation.is_looking:
                application.processEvents()
            place(module.parent, ROOMS[1])
            grab(module.parent, PICTURE)
            module.close()
    print(PICTURE)


if __name__ == "__main__":
    main()
