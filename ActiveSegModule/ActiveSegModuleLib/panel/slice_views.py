"""Slicer's slice views: where they are found, and how they show that a click is waited for."""

from __future__ import annotations

import qt
import slicer

from ..slicer_types import Node, VtkObject, Widget


def slice_views() -> list[Widget]:
    """The qMRMLSliceViews of the present layout; none without a main window."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return []
    return [manager.sliceWidget(name).sliceView() for name in manager.sliceViewNames()]


def interactors_of(views: list[Widget]) -> list[tuple[VtkObject, Node]]:
    """vtkRenderWindowInteractor and vtkMRMLSliceNode of each."""
    return [(view.interactor(), view.mrmlSliceNode()) for view in views]


def show_cross(views: list[Widget], shown: bool) -> None:
    """A cross in place of the mouse's arrow."""
    for view in views:
        if shown:
            view.setCursor(qt.QCursor(qt.Qt.CrossCursor))
        else:
            view.unsetCursor()
