"""The panel in the language of Slicer. Slicer itself reads translations from its own folder only."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer

from .slicer_types import Widget

FOLDER = Path(__file__).resolve().parents[1] / "Resources" / "Translations"

installed: list[Widget] = []
"""Qt does not keep a translator alive."""


def install() -> None:
    """Load the translation for Slicer's language, where there is one; before the first text is asked for.

    Texts of the code and of the ``.ui`` files both come from it. A second call, after a reload, changes nothing.
    """
    language = str(slicer.app.applicationLocaleName).replace("-", "_").partition("_")[0]
    file = FOLDER / f"ActiveSeg_{language}.qm"
    if installed or not file.is_file():
        return
    translator = qt.QTranslator()
    if translator.load(str(file)):
        slicer.app.installTranslator(translator)
        installed.append(translator)
