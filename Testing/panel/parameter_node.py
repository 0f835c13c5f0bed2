"""``slicer.parameterNodeWrapper``: typed fields of a node, bound to widgets; as strict as Slicer's, or more."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

import ctk_widgets
import mrml_widgets
import vtk
from PySide6 import QtCore, QtWidgets


class WithinRange:
    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high


def parameterNodeWrapper(cls: type) -> type:  # noqa: N802
    """Typed fields of a scripted module node, and their connections to widgets; as strict as Slicer's, or more."""
    hints = get_type_hints(cls, include_extras=True)
    defaults = {name: getattr(cls, name) for name in hints if hasattr(cls, name)}

    class Wrapper:
        def __init__(self, node: Any) -> None:
            object.__setattr__(self, "parameterNode", node)
            object.__setattr__(self, "_connections", {})
            object.__setattr__(self, "_observed", [])

        def __getattr__(self, name: str) -> Any:
            if name not in hints:
                return getattr(self.parameterNode, name)
            kind, _ = _kind(hints[name])
            if _is_node(kind):
                return self.parameterNode.GetNodeReference(name)
            text = self.parameterNode.GetParameter(name)
            if not text and not self.parameterNode.GetParameterNamesAsCommaSeparatedList().split(",").count(name):
                return defaults[name]
            if issubclass(kind, Enum):
                return kind[text]
            return text == "True" if kind is bool else kind(text)

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in hints:
                raise AttributeError(f"The parameter node has no '{name}'")
            kind, bounds = _kind(hints[name])
            if _is_node(kind):
                assert value is None or value.IsA(kind.__name__), value
                if self.parameterNode.GetNodeReference(name) is not value:
                    self.parameterNode.SetNodeReferenceID(name, value.GetID() if value is not None else None)
                    self.parameterNode.Modified()
                return
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, kind):
                raise TypeError(f"'{name}' is a {kind.__name__}, not {value!r}")
            if bounds is not None and not bounds.low <= value <= bounds.high:
                raise ValueError(f"'{name}' is out of range: {value}")
            self.parameterNode.SetParameter(name, value.name if isinstance(value, Enum) else str(value))

        def connectGui(self, ui: Any) -> int:  # noqa: N802
            tag = len(self._connections) + 1
            undo = []
            for widget in vars(ui).values():
                name = widget.property("SlicerParameterName") if isinstance(widget, QtCore.QObject) else None
                if name:
                    if name not in hints:
                        raise ValueError(f"'{widget.objectName}' wants the parameter '{name}', which does not exist")
                    undo.append(_connect(self, name, widget, *_kind(hints[name])))
            self._connections[tag] = undo

            def show(*_: Any) -> None:
                for _, refresh in undo:
                    refresh()

            self._observed.append(self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, show))
            show()
            return tag

        def disconnectGui(self, tag: int) -> None:  # noqa: N802
            for disconnect, _ in self._connections.pop(tag):
                disconnect()
            for observer in self._observed:
                self.parameterNode.RemoveObserver(observer)
            self._observed.clear()

    Wrapper.__name__ = cls.__name__
    return Wrapper


def _kind(hint: Any) -> tuple[Any, Any]:
    if get_origin(hint) is not None:
        kind, *marks = get_args(hint)
        return kind, next((mark for mark in marks if isinstance(mark, WithinRange)), None)
    return hint, None


def _is_node(kind: Any) -> bool:
    return kind.__name__.startswith("vtkMRML")


def _connect(
    node: Any, name: str, widget: Any, kind: Any, bounds: Any
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Both ways between a parameter and a widget: how to end it, and how to show the parameter."""
    if isinstance(widget, mrml_widgets.qMRMLNodeComboBox):
        assert _is_node(kind), name
        signal, read, write = widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
    elif isinstance(widget, (ctk_widgets.ctkSliderWidget, ctk_widgets.ctkDoubleSlider)):
        assert kind is float, name
        assert bounds is not None, f"the slider for '{name}' would be dead without WithinRange"
        widget.minimum, widget.maximum = bounds.low, bounds.high
        signal, read, write = widget.valueChanged, lambda: widget.value, lambda v: setattr(widget, "value", v)
    elif isinstance(widget, QtWidgets.QCheckBox):
        assert kind is bool, name
        signal, read, write = widget.toggled, lambda: widget.checked, lambda v: setattr(widget, "checked", v)
    elif isinstance(widget, QtWidgets.QSpinBox):
        assert kind is int, name
        if bounds is not None:
            widget.setRange(bounds.low, bounds.high)
        signal, read, write = widget.valueChanged, lambda: widget.value, lambda v: setattr(widget, "value", v)
    elif isinstance(widget, QtWidgets.QLineEdit):
        assert kind is str, name
        signal, read, write = widget.textChanged, lambda: widget.text, lambda v: setattr(widget, "text", v)
    elif isinstance(widget, QtWidgets.QComboBox):
        assert issubclass(kind, Enum), name
        if widget.count == 0:
            for member in kind:
                widget.addItem(member.label(), member.name)
        signal = widget.currentIndexChanged
        read = lambda: kind[widget.currentData]  # noqa: E731
        write = lambda v: widget.setCurrentIndex(widget.findData(v.name))  # noqa: E731
    else:
        raise TypeError(f"no connector for {type(widget).__name__}")

    def store(*_: Any) -> None:
        setattr(node, name, read())

    def refresh() -> None:
        value = getattr(node, name)
        if value != read():
            write(value)

    refresh()
    signal.connect(store)
    return lambda: signal.disconnect(store), refresh
