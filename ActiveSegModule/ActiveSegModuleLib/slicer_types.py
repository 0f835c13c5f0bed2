"""Names for what comes from Slicer, Qt and VTK, of which no types can be imported: each says what is meant."""

from __future__ import annotations

from typing import Any, TypeAlias

Node: TypeAlias = Any
"""A MRML node; None where one may be missing."""

Scene: TypeAlias = Any
"""The MRML scene."""

ParameterNode: TypeAlias = Any
"""What the panel keeps in the scene: the class of that name in ``ActiveSegModule.py``."""

VtkObject: TypeAlias = Any
"""What VTK or Slicer's logic classes give and is no node, such as an image, a segment or a transform."""

Widget: TypeAlias = Any
"""An object of Qt: mostly a widget, also an event, a timer or a process."""

Widgets: TypeAlias = Any
"""The widgets of the ``.ui`` file by their names."""

Qt: TypeAlias = Any
"""The module ``qt`` of Slicer, or PySide6 in its shape."""

Settings: TypeAlias = Any
"""A QSettings."""
