"""What a scripted module finds in Slicer and slicer-core lacks: the application, its widgets, its Python classes.

Where Slicer only prints an error, this raises. What Slicer draws is not here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import os
import sys
import tempfile
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk_widgets
import mrml_widgets
import slicer
from parameter_node import WithinRange, parameterNodeWrapper
from PySide6 import QtCore, QtUiTools, QtWidgets
from pythonqt import make_qt
from slicer_application import SlicerCore

from activeseg.io.images import read_volume


class Application:
    """``slicer.app``."""

    def __init__(self, core: SlicerCore, folder: Path) -> None:
        self.core = core
        self.cachePath = str(folder / "cache")
        self.temporaryPath = str(folder)
        self.applicationLocaleName = "en_US"
        self.slots: list[tuple[str, Callable[[], None]]] = []
        self.layout: Any = None  # a stand_in_views.LayoutManager; none as without a main window

    def applicationLogic(self) -> Any:  # noqa: N802
        return self.core.app

    def layoutManager(self) -> Any:  # noqa: N802
        return self.layout

    def style(self) -> Any:
        return QtWidgets.QApplication.style()

    def installTranslator(self, translator: Any) -> bool:  # noqa: N802
        return QtCore.QCoreApplication.installTranslator(translator)

    def testingEnabled(self) -> bool:  # noqa: N802
        return True

    def processEvents(self) -> None:  # noqa: N802
        QtCore.QCoreApplication.processEvents()

    def connect(self, signal: str, slot: Callable[[], None]) -> bool:
        if signal not in ("startupCompleted()", "aboutToQuit()"):
            raise AttributeError(f"slicer.app has no signal '{signal}'")
        self.slots.append((signal, slot))
        return True

    def disconnect(self, signal: str, slot: Callable[[], None]) -> None:
        self.slots.remove((signal, slot))

    def emit(self, signal: str) -> None:
        for name, slot in list(self.slots):
            if name == signal:
                slot()


class Said(list):  # type: ignore[type-arg]
    """Dialogs that would have been shown."""


# The four classes of a scripted module.


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent


class Panel(QtWidgets.QWidget):
    """What Slicer gives a module's widget as parent."""

    isEntered = False  # noqa: N815


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.layout = parent.layout()
        self.moduleName = type(self).__name__.removesuffix("Widget")

    def setup(self) -> None:
        pass

    def resourcePath(self, name: str) -> str:  # noqa: N802
        return str(Path(inspect.getfile(type(self))).parent / "Resources" / name)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:  # noqa: N802
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetAttribute("ModuleName", self.moduleName)
            node.SetSingletonTag(self.moduleName)
            node = scene.AddNode(node)
        return node


def make_test_class() -> type:
    import unittest

    class ScriptedLoadableModuleTest(unittest.TestCase):
        pass

    return ScriptedLoadableModuleTest


# slicer.i18n.


def tr(text: str) -> str:
    """Translated in the context of the file that asks: its name, with its folder's where that is a package."""
    path = Path(inspect.currentframe().f_back.f_code.co_filename)  # type: ignore[union-attr]
    package = (path.parent / "__init__.py").is_file()
    return QtCore.QCoreApplication.translate(f"{path.parent.name}.{path.stem}" if package else path.stem, text)


# slicer.util.


@functools.cache
def ui_loader() -> QtUiTools.QUiLoader:
    loader = QtUiTools.QUiLoader()
    for widget in mrml_widgets.ALL_IN_FILES:
        loader.registerCustomWidget(widget)
    return loader


def load_ui(path: str) -> Any:
    loader = ui_loader()
    tree = ElementTree.parse(path)
    connections = tree.getroot().find("connections")
    wanted = [tuple(c.findtext(part) for part in ("sender", "signal", "receiver", "slot")) for c in connections or ()]
    if connections is not None:
        tree.getroot().remove(connections)  # their C++ signatures mean nothing to widgets made in Python
    with tempfile.NamedTemporaryFile(suffix=".ui", delete=False) as file:
        tree.write(file)
    ui = loader.load(file.name)
    os.unlink(file.name)
    assert ui is not None, loader.errorString()
    by_name = child_widgets(ui)
    for sender, signal, receiver, slot in wanted:
        source = ui if sender == ui.objectName else getattr(by_name, sender)
        getattr(source, signal.partition("(")[0]).connect(getattr(getattr(by_name, receiver), slot.partition("(")[0]))
    return ui


def child_widgets(widget: Any) -> types.SimpleNamespace:
    """By object name; layouts of group boxes and buttons too, those in tab pages not."""
    children = widget.findChildren(QtCore.QObject)
    return types.SimpleNamespace(**{child.objectName: child for child in children if child.objectName})


_MADE_HERE = ("qt", "ctk", "ActiveSegModule", "ActiveSegModuleLib")


@contextlib.contextmanager
def installed(folder: Path) -> Any:
    """Slicer with an empty scene; gives the SlicerCore and what was said in dialogs."""
    before = dict(sys.modules)
    attributes = dict(vars(slicer))
    util_attributes = dict(vars(slicer.util))
    core, said = SlicerCore.start(), Said()
    core.app.SetMRMLScene(core.scene)
    qt = make_qt()
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(folder))
    QtCore.QCoreApplication.setOrganizationName("tests")
    QtCore.QCoreApplication.setApplicationName("tests")
    sys.modules["qt"] = qt
    _module("slicer.i18n", tr=tr, translate=QtCore.QCoreApplication.translate)
    _module("slicer.parameterNodeWrapper", parameterNodeWrapper=parameterNodeWrapper, WithinRange=WithinRange)
    _module(
        "slicer.ScriptedLoadableModule",
        ScriptedLoadableModule=ScriptedLoadableModule,
        ScriptedLoadableModuleWidget=ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic=ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest=make_test_class(),
    )
    slicer.mrmlScene = core.scene
    slicer.app = Application(core, folder)
    slicer.modules = types.SimpleNamespace()
    for widget in mrml_widgets.WIDGETS:
        setattr(slicer, widget.__name__, widget)
    sys.modules["ctk"] = types.ModuleType("ctk")
    vars(sys.modules["ctk"]).update({widget.__name__: widget for widget in ctk_widgets.WIDGETS})

    def load_volume(path: str, properties: Any = None) -> Any:
        volume = read_volume(Path(path))
        return core.add_volume(volume.array, volume.geometry, (properties or {}).get("name") or Path(path).stem)

    def save_scene(path: str) -> bool:
        core.save(Path(path))
        return True

    slicer.util.loadUI = load_ui
    slicer.util.childWidgetVariables = child_widgets
    slicer.util.mainWindow = lambda: None
    slicer.util.loadVolume = load_volume
    slicer.util.saveScene = save_scene
    slicer.util.loadScene = lambda path: core.load(Path(path))
    slicer.util.startupEnvironment = lambda: dict(os.environ)
    slicer.util.infoDisplay = lambda text, *_, **__: said.append(text)
    slicer.util.errorDisplay = lambda text, *_, **__: said.append(text)
    slicer.util.confirmYesNoDisplay = lambda text, *_, **__: said.append(text)
    slicer.util.toBool = lambda value: str(value).lower() in ("true", "1")
    slicer.util.settingsValue = lambda key, default, converter=lambda value: value: (
        converter(QtCore.QSettings().value(key)) if QtCore.QSettings().contains(key) else default
    )
    try:
        yield core, said
    finally:
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] in _MADE_HERE or name.startswith("slicer."):
                del sys.modules[name]
        for holder, kept in ((slicer, attributes), (slicer.util, util_attributes)):
            for name in set(vars(holder)) - set(kept):
                delattr(holder, name)


def _module(name: str, **content: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
    setattr(slicer, name.rpartition(".")[2], module)


class LoadedModule:
    """A scripted module as Slicer loads it: its file, its widget in a panel that the user has opened."""

    def __init__(self, path: Path) -> None:
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        self.module = importlib.util.module_from_spec(spec)
        sys.modules[name] = self.module
        spec.loader.exec_module(self.module)
        self.about = types.SimpleNamespace()
        getattr(self.module, name)(self.about)
        self.parent = Panel()
        self.parent.setLayout(QtWidgets.QVBoxLayout())
        self.parent.layout().setContentsMargins(0, 0, 0, 0)  # as Slicer's module panel
        self.widget = getattr(self.module, f"{name}Widget")(self.parent)
        self.widget.setup()
        slicer.util.getModuleWidget = lambda _name: self.widget
        slicer.util.getModuleLogic = lambda _name: self.widget.logic

    def enter(self) -> None:
        self.parent.isEntered = True
        self.widget.enter()

    def exit(self) -> None:
        self.parent.isEntered = False
        self.widget.exit()

    def close(self) -> None:
        if self.parent.isEntered:
            self.exit()
        self.widget.cleanup()
        self.parent.deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
