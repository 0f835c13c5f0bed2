"""From a case that is stored to the next one."""

from __future__ import annotations

import slicer

from ..scene.case import Case
from ..scene.stored import stored_of
from ..slicer_types import Node, Scene
from .current_case import is_ct


def next_ct(scene: Scene, current: Node) -> Node:
    """The CT after the current one whose segmentation was not stored yet; None where all that are loaded were."""
    volumes = [volume for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if is_ct(volume)]
    ids = [volume.GetID() for volume in volumes]
    at = ids.index(current.GetID()) + 1 if current is not None and current.GetID() in ids else 0
    return next((volume for volume in volumes[at:] + volumes[:at] if not _is_done(scene, volume)), None)


def _is_done(scene: Scene, ct: Node) -> bool:
    case = Case.newest_of(scene, ct)
    stored = stored_of(case.node) if case is not None else None
    return stored is not None and not stored.changed
