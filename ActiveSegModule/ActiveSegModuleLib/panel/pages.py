"""The widgets of the panel: each page is a ``.ui`` file of its own, so that each can be read and translated alone."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import qt
import slicer

from ..slicer_types import Scene, Widget, Widgets

PAGES = ("SetupPage", "SegmentPage", "ReviewPage", "ExportPage", "LearnPage", "SettingsPage")
"""``.ui`` files of the stack ``pages``, in this order."""


def load_panel(resource_path: Callable[[str], str], scene: Scene) -> tuple[Widget, Widgets]:
    """The whole panel with the scene in it, and its widgets by their names.

    ``resource_path`` gives the path of a file in the module's folder ``Resources``.
    """
    main = _loaded("ActiveSegModule", resource_path, scene)
    stack = slicer.util.childWidgetVariables(main).pages
    for name in PAGES:
        stack.addWidget(_loaded(name, resource_path, scene))
    faces = slicer.util.childWidgetVariables(main).reviewFaces
    for name in ("EditingFace", "SpreadFace"):
        faces.addWidget(_loaded(name, resource_path, scene))
    place = slicer.util.childWidgetVariables(main).sourcesTab
    place.layout().insertWidget(0, _loaded("SourcesForm", resource_path, scene))
    return main, slicer.util.childWidgetVariables(main)


def _loaded(name: str, resource_path: Callable[[str], str], scene: Scene) -> Widget:
    path = resource_path(f"UI/{name}.ui")
    widget = slicer.util.loadUI(path)
    widget.setMRMLScene(scene)
    _set_keys(path, widget)
    return widget


def _set_keys(path: str, widget: Widget) -> None:
    """The keys of the buttons in a form: Qt takes a button's key away when its text is set, as by a translation."""
    loaded = vars(slicer.util.childWidgetVariables(widget))
    for element in ElementTree.parse(path).iter("widget"):
        key = element.findtext("property[@name='shortcut']/string")
        if key:
            loaded[element.get("name", "")].setShortcut(qt.QKeySequence(key))
