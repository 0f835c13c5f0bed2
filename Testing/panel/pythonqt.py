"""PySide6 that behaves like PythonQt, which is how Python in Slicer sees Qt: the module ``qt``.

Qt's properties are attributes (``edit.text``, not ``edit.text()``), some functions return other things, and what slots
raise goes to ``sys.excepthook``.
"""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

_MODULES = (QtCore, QtGui, QtWidgets)
_MISSING = {"QVariant"}  # not in PythonQt
_UNKNOWN = object()
_STATIC = {("QTimer", "singleShot")}  # a property, and a static function that is called by that name


def make_qt() -> types.ModuleType:
    """The module ``qt``. From then on properties of all of PySide6's classes are attributes."""
    qt = types.ModuleType("qt")
    for module in _MODULES:
        for name in dir(module):
            if name.startswith("Q") and name not in _MISSING:
                value = getattr(module, name)
                setattr(qt, name, value)
                if isinstance(value, type) and issubclass(value, QtCore.QObject):
                    properties_as_attributes(value)
                    value.__setattr__ = _put_known  # type: ignore[method-assign]
    qt.Qt = QtCore.Qt
    qt.QFileDialog = FileDialog
    QtWidgets.QLayout.__bool__ = lambda self: self.count() > 0  # type: ignore[method-assign]
    QtCore.QObject.name = QtCore.QObject.objectName  # the property
    QtCore.QObject.className = lambda self: type(self).__name__
    return qt


def _put_known(self: Any, name: str, value: Any) -> None:
    """Qt's own objects take no attribute that they do not have; those of classes made in Python do."""
    known = next((vars(cls)[name] for cls in type(self).__mro__ if name in vars(cls)), _UNKNOWN)
    if isinstance(known, QtCore.Property):
        known.fset(self, value)
    elif hasattr(type(known), "__set__"):
        known.__set__(self, value)
    elif known is _UNKNOWN and type(self).__module__.startswith("PySide6") and not name.startswith("_"):
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")
    else:
        self.__dict__[name] = value


class FileDialog:
    """Dialogs that answer what a test put into ``answer``; PythonQt returns the path alone."""

    answer = ""

    @classmethod
    def getExistingDirectory(cls, *_: Any) -> str:  # noqa: N802
        return cls.answer

    @classmethod
    def getOpenFileName(cls, *_: Any) -> str:  # noqa: N802
        return cls.answer


def properties_as_attributes(cls: Any) -> None:
    """Qt's own properties of one class, and those that it inherits and answers in another way (``sizeHint``)."""
    if "staticMetaObject" not in vars(cls) and not hasattr(cls, "staticMetaObject"):
        return
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        name = meta.property(index).name()
        own = index >= meta.propertyOffset() or name in vars(cls)
        if own and (cls.__name__, name) not in _STATIC and not isinstance(vars(cls).get(name), property):
            setattr(cls, name, _attribute(cls, name))


def _attribute(cls: Any, name: str) -> property:
    setter = f"set{name[0].upper()}{name[1:]}"
    asked: set[int] = set()

    def get(self: Any) -> Any:
        if id(self) in asked:  # by PySide6, which looks for a function of this name in a subclass made in Python
            return None
        asked.add(id(self))
        try:
            return QtCore.QObject.property(self, name)
        finally:
            asked.discard(id(self))

    def put(self: Any, value: Any) -> None:
        if hasattr(type(self), setter):
            getattr(self, setter)(value)
        elif not self.setProperty(name, value):
            raise AttributeError(f"{type(self).__name__}.{name} cannot be set to {value!r}")

    return property(get, put)
