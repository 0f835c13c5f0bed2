"""CTs and cases in the panel's scene, as a user loads and makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from conftest import ROOT
from PySide6 import QtCore
from scene_cases import OTHER_REGION, PLAIN, RECORD, REGION, boxes, patches
from user import User

from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume

MODULE = ROOT / "ActiveSegModule" / "ActiveSegModule.py"


FAR = Geometry(PLAIN.shape_kji, (1.5, 1.5, 3.0), (900.0, -700.0, 500.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def load_ct(user: User, name: str, geometry: Geometry = PLAIN, value: int = 0) -> Any:
    return user.core.add_volume(np.full(geometry.shape_kji, value, np.int16), geometry, name)


def make_case(user: User, ct: Any, name: str, geometry: Geometry = PLAIN, preview: bool = False, **record: Any) -> Any:
    """A case as the engine's answer makes it."""
    from ActiveSegModuleLib.scene.case import Case

    case = Case.create(user.core.scene, ct, Volume(boxes(), geometry), {**RECORD, **record}, name, preview=preview)
    if "origin" not in record and not preview:
        case.set_regions([REGION, OTHER_REGION], patches(), geometry)
    for measure, value in (("variance", 0.5), ("entropy", 0.25)):
        case.add_uncertainty(measure, Volume(np.full(geometry.shape_kji, value, np.float32), geometry))
    return case


def pump() -> None:
    for _ in range(20):
        QtCore.QCoreApplication.processEvents()


def visible(user: User) -> set[str]:
    from ActiveSegModuleLib.scene.case import Case

    return {case.name for case in Case.all_in(user.core.scene) if case.node.GetDisplayVisibility()}


def stroke(editor: Any, case: Any, place: Any) -> None:
    """A stroke of the panel's own editor, in the structure that is chosen there."""
    from ActiveSegModuleLib.scene.labelmap import array_of

    logic = editor.logic
    editor.saveStateForUndo()
    logic.ResetModifierLabelmapToDefault()
    array_of(logic.GetModifierLabelmap())[place] = 1
    segment_id, mode = editor.currentSegmentID(), logic.ModificationModeAdd
    logic.ModifySegmentByLabelmap(case.node, segment_id, logic.GetModifierLabelmap(), mode, False, False)
