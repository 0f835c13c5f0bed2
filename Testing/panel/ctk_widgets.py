"""CTK's widgets as far as a panel uses them, in the sizes that they have in Slicer. Anything else raises."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets
from widget_parts import PRETENDS, Policy, Sized, row_of, stored, with_setters

_HUGE = 16777215
_WANTED = "visibilityToParent"
_Shown = QtCore.QEvent.Type.ShowToParent
_Hidden = QtCore.QEvent.Type.HideToParent


class _Folding:
    """Hides its children while it is collapsed, also those that are shown meanwhile, and brings back what was shown."""

    COLLAPSED_HEIGHT = 0
    FRAME_HEIGHT = 0
    TITLE_HEIGHT = 0

    def fold(self: Any, collapsed: bool) -> None:
        self._folding = True
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and not child.isWindow():
                if collapsed:
                    child.setProperty(_WANTED, not child.isHidden())
                    child.hide()
                else:
                    child.setVisible(child.property(_WANTED) is not False)
        self._folding = False
        self.setMaximumHeight(self.COLLAPSED_HEIGHT if collapsed else _HUGE)
        self.updateGeometry()

    def watch(self: Any, event: QtCore.QEvent) -> None:
        """Of a ``childEvent``."""
        if not isinstance(event, QtCore.QChildEvent) or not isinstance(event.child(), QtWidgets.QWidget):
            return
        if event.added():
            event.child().installEventFilter(self)
        elif event.polished() and self.collapsed and not event.child().isHidden():
            self._keep_hidden(event.child(), wanted=True)

    def remember(self: Any, child: Any, event: QtCore.QEvent) -> None:
        """Of an ``eventFilter``."""
        if event.type() in (_Shown, _Hidden) and self.collapsed and not getattr(self, "_folding", False):
            self._keep_hidden(child, wanted=event.type() == _Shown)

    def _keep_hidden(self: Any, child: Any, wanted: bool) -> None:
        self._folding = True
        child.setProperty(_WANTED, wanted)
        child.hide()
        self._folding = False

    def asked(self: Any, least: bool) -> QtCore.QSize:
        layout = self.layout()
        inner = QtCore.QSize(0, 0)
        if layout is not None:
            inner = layout.minimumSize() if least else layout.sizeHint()
        height = self.COLLAPSED_HEIGHT if self.collapsed else inner.height() + self.FRAME_HEIGHT
        return QtCore.QSize(max(inner.width(), self.title_width()), height)

    def title_width(self: Any) -> int:
        return self.fontMetrics().horizontalAdvance(self._title()) + 50


@with_setters
class ctkCollapsibleButton(QtWidgets.QWidget, _Folding):  # noqa: N801
    __module__ = PRETENDS
    COLLAPSED_HEIGHT, FRAME_HEIGHT, TITLE_HEIGHT = 40, 34, 30
    contentsCollapsed = QtCore.Signal(bool)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setContentsMargins(1, self.TITLE_HEIGHT, 1, 2)

    def _folded(self) -> None:
        self.fold(self.collapsed)
        self.contentsCollapsed.emit(self.collapsed)

    def _title(self) -> str:
        return str(self.text)

    collapsed = stored("collapsed", bool, False, _folded)
    text = stored("text", str, "", lambda button: button.update())
    flat = stored("flat", bool, False)

    def childEvent(self, event: Any) -> None:  # noqa: N802
        self.watch(event)

    def eventFilter(self, child: Any, event: Any) -> bool:  # noqa: N802
        self.remember(child, event)
        return False

    def sizeHint(self) -> QtCore.QSize:  # noqa: N802
        return self.asked(least=False)

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802
        return self.asked(least=True)

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        if event.position().y() < self.TITLE_HEIGHT:
            self.collapsed = not self.collapsed

    def paintEvent(self, _event: Any) -> None:  # noqa: N802
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.rect.width(), self.TITLE_HEIGHT)
        option.text = ("▸ " if self.collapsed else "▾ ") + str(self.text)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option)
        painter.end()


@with_setters
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox, _Folding):  # noqa: N801
    __module__ = PRETENDS
    COLLAPSED_HEIGHT, FRAME_HEIGHT = 34, 39

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.toggled.connect(lambda checked: setattr(self, "collapsed", not checked))

    def _folded(self) -> None:
        self.fold(self.collapsed)
        self.setChecked(not self.collapsed)

    def _title(self) -> str:
        return str(self.title)

    collapsed = stored("collapsed", bool, False, _folded)
    collapsedHeight = stored("collapsedHeight", int, 14)  # noqa: N815

    def childEvent(self, event: Any) -> None:  # noqa: N802
        self.watch(event)

    def eventFilter(self, child: Any, event: Any) -> bool:  # noqa: N802
        self.remember(child, event)
        return False

    def sizeHint(self) -> QtCore.QSize:  # noqa: N802
        return self.asked(least=False)

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802
        return self.asked(least=True)


class _Number(Sized):
    """A value between two ends."""

    def set_value(self: Any, value: float) -> None:
        value = min(max(float(value), self.minimum), self.maximum)
        if value != self.value:
            self._value = value
            self.show_value()
            self.valueChanged.emit(value)

    def ends_changed(self: Any) -> None:
        self.set_value(self.value)
        self.show_value()

    def show_value(self: Any) -> None:
        span = self.maximum - self.minimum
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (self.value - self.minimum) / span) if span > 0 else 0)
        self._slider.blockSignals(blocked)

    def dragged(self: Any, thousandths: int) -> None:
        self.set_value(self.minimum + (self.maximum - self.minimum) * thousandths / 1000)

    def inner_slider(self: Any) -> Any:
        slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        slider.setRange(0, 1000)
        slider.valueChanged.connect(self.dragged)
        return slider


@with_setters
class ctkSliderWidget(QtWidgets.QWidget, _Number):  # noqa: N801
    __module__ = PRETENDS
    HINT, LEAST = (149, 27), (77, 27)
    valueChanged = QtCore.Signal(float)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider, self._box = self.inner_slider(), QtWidgets.QDoubleSpinBox()
        self._slider.setObjectName("Slider")
        self._box.setObjectName("SpinBox")
        self._box.valueChanged.connect(self.set_value)
        row_of(self, self._slider, self._box)
        self.show_value()

    minimum = stored("minimum", float, 0.0, lambda widget: widget.ends_changed())
    maximum = stored("maximum", float, 99.0, lambda widget: widget.ends_changed())
    singleStep = stored("singleStep", float, 1.0, lambda widget: widget.ends_changed())  # noqa: N815
    pageStep = stored("pageStep", float, 10.0)  # noqa: N815
    decimals = stored("decimals", int, 2, lambda widget: widget.ends_changed())
    prefix = stored("prefix", str, "", lambda widget: widget.ends_changed())
    suffix = stored("suffix", str, "", lambda widget: widget.ends_changed())
    tracking = stored("tracking", bool, True)
    value = QtCore.Property(float, lambda self: getattr(self, "_value", 0.0), _Number.set_value)

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815

    def show_value(self) -> None:
        _Number.show_value(self)
        blocked = self._box.blockSignals(True)
        self._box.setDecimals(self.decimals)
        self._box.setRange(self.minimum, self.maximum)
        self._box.setSingleStep(self.singleStep)
        self._box.setPrefix(self.prefix)
        self._box.setSuffix(self.suffix)
        self._box.setValue(self.value)
        self._box.blockSignals(blocked)


@with_setters
class ctkDoubleSlider(QtWidgets.QWidget, _Number):  # noqa: N801
    """Without ends of its own, as in Slicer: it does not move until it is given some."""

    __module__ = PRETENDS
    HINT, LEAST = (84, 15), (12, 15)
    valueChanged = QtCore.Signal(float)  # noqa: N815
    sliderReleased = QtCore.Signal()  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = self.inner_slider()
        self._slider.sliderReleased.connect(self.sliderReleased)
        self.setSizePolicy(Policy.Expanding, Policy.Fixed)
        row_of(self, self._slider)

    minimum = stored("minimum", float, 0.0, lambda widget: widget.ends_changed())
    maximum = stored("maximum", float, 99.0, lambda widget: widget.ends_changed())
    singleStep = stored("singleStep", float, 1.0)  # noqa: N815
    pageStep = stored("pageStep", float, 10.0)  # noqa: N815
    tracking = stored("tracking", bool, True)
    orientation = stored("orientation", QtCore.Qt.Orientation, QtCore.Qt.Orientation.Horizontal)
    value = QtCore.Property(float, lambda self: getattr(self, "_value", 0.0), _Number.set_value)

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815


@with_setters
class ctkRangeWidget(QtWidgets.QWidget, Sized):  # noqa: N801
    __module__ = PRETENDS
    HINT, LEAST = (214, 27), (142, 27)
    valuesChanged = QtCore.Signal(float, float)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._boxes = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        row_of(self, self._boxes[0], slider, self._boxes[1])
        for box in self._boxes:
            box.valueChanged.connect(lambda _value: self.setValues(*(box.value for box in self._boxes)))
        self._show()

    minimum = stored("minimum", float, 0.0, lambda widget: widget._show())
    maximum = stored("maximum", float, 99.0, lambda widget: widget._show())
    minimumValue = stored("minimumValue", float, 0.0, lambda widget: widget._tell())  # noqa: N815
    maximumValue = stored("maximumValue", float, 99.0, lambda widget: widget._tell())  # noqa: N815
    singleStep = stored("singleStep", float, 1.0)  # noqa: N815
    decimals = stored("decimals", int, 2, lambda widget: widget._show())

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815

    def setRange(self, low: float, high: float) -> None:  # noqa: N802
        self.minimum, self.maximum = low, high

    def setValues(self, low: float, high: float) -> None:  # noqa: N802
        self.minimumValue, self.maximumValue = low, high

    def _tell(self) -> None:
        self._show()
        self.valuesChanged.emit(self.minimumValue, self.maximumValue)

    def _show(self) -> None:
        for box, value in zip(self._boxes, (self.minimumValue, self.maximumValue), strict=True):
            blocked = box.blockSignals(True)
            box.setDecimals(self.decimals)
            box.setRange(self.minimum, self.maximum)
            box.setValue(value)
            box.blockSignals(blocked)


@with_setters
class ctkPathLineEdit(QtWidgets.QWidget, Sized):  # noqa: N801
    __module__ = PRETENDS
    HINT = LEAST = (53, 26)
    currentPathChanged = QtCore.Signal(str)  # noqa: N815
    validInputChanged = QtCore.Signal(bool)  # noqa: N815
    Files, Dirs, Writable, Readable = 2, 1, 32, 16

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(Policy.Expanding, Policy.Fixed)
        self._edit, browse = QtWidgets.QComboBox(), QtWidgets.QToolButton()
        self._edit.setEditable(True)
        self._edit.setSizePolicy(Policy.Ignored, Policy.Fixed)
        self._edit.editTextChanged.connect(lambda text: setattr(self, "currentPath", text))
        browse.setText("...")
        row_of(self, self._edit, browse)

    def _changed(self) -> None:
        if self._edit.currentText != self.currentPath:
            self._edit.setEditText(self.currentPath)
        self.currentPathChanged.emit(self.currentPath)

    currentPath = stored("currentPath", str, "", _changed)  # noqa: N815
    filters = stored("filters", int, 2)
    nameFilters = stored("nameFilters", list, [])  # noqa: N815
    settingKey = stored("settingKey", str, "")  # noqa: N815
    label = stored("label", str, "")
    showHistoryButton = stored("showHistoryButton", bool, True)  # noqa: N815
    showBrowseButton = stored("showBrowseButton", bool, True)  # noqa: N815

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815

    def addCurrentPathToHistory(self) -> None:  # noqa: N802
        self._edit.addItem(self.currentPath)


@with_setters
class ctkSearchBox(QtWidgets.QLineEdit, Sized):  # noqa: N801
    __module__ = PRETENDS
    HINT, LEAST = (125, 26), (43, 26)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setPlaceholderText("Search...")
        self.setClearButtonEnabled(True)

    showSearchIcon = stored("showSearchIcon", bool, False)  # noqa: N815
    alwaysShowClearIcon = stored("alwaysShowClearIcon", bool, False)  # noqa: N815

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815


class ctkCheckableComboBox(QtWidgets.QComboBox, Sized):  # noqa: N801
    __module__ = PRETENDS
    HINT = LEAST = (79, 26)
    checkedIndexesChanged = QtCore.Signal()  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.model().dataChanged.connect(lambda *_: self.checkedIndexesChanged.emit())

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815

    def checkableModel(self) -> Any:  # noqa: N802
        return self.model()

    def checkState(self, index: Any) -> Any:  # noqa: N802
        state = index.data(QtCore.Qt.ItemDataRole.CheckStateRole)
        return QtCore.Qt.CheckState.Unchecked if state is None else QtCore.Qt.CheckState(state)

    def setCheckState(self, index: Any, state: Any) -> None:  # noqa: N802
        self.model().setData(index, state, QtCore.Qt.ItemDataRole.CheckStateRole)

    def checkedIndexes(self) -> list[Any]:  # noqa: N802
        indexes = (self.model().index(row, 0) for row in range(self.count))
        return [index for index in indexes if self.checkState(index) == QtCore.Qt.CheckState.Checked]

    def allChecked(self) -> bool:  # noqa: N802
        return bool(self.count) and len(self.checkedIndexes()) == self.count

    def noneChecked(self) -> bool:  # noqa: N802
        return not self.checkedIndexes()


@with_setters
class ctkFittedTextBrowser(QtWidgets.QTextBrowser, Sized):  # noqa: N801
    __module__ = PRETENDS
    HINT = LEAST = (640, 28)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(Policy.Ignored, Policy.Fixed)

    collapsed = stored("collapsed", bool, True)
    collapsibleText = stored("collapsibleText", str, "")  # noqa: N815

    sizeHint, minimumSizeHint = Sized.sizeHint, Sized.minimumSizeHint  # noqa: N815


@with_setters
class ctkMessageBox(QtWidgets.QMessageBox):  # noqa: N801
    __module__ = PRETENDS
    dontShowAgainVisible = stored("dontShowAgainVisible", bool, False)  # noqa: N815
    dontShowAgain = stored("dontShowAgain", bool, False)  # noqa: N815
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", str, "")  # noqa: N815

    def exec_(self) -> int:
        return int(self.exec())


IN_FILES = (
    *(ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkSliderWidget, ctkDoubleSlider, ctkRangeWidget),
    *(ctkPathLineEdit, ctkSearchBox, ctkCheckableComboBox, ctkFittedTextBrowser),
)
"""Those that a ``.ui`` file may name."""
WIDGETS = (*IN_FILES, ctkMessageBox)
"""What the module ``ctk`` has."""
