"""The models to choose from, in groups, with what a search finds in each and what its weights need."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import qt
from slicer.i18n import tr as _

from activeseg.core.segmenter import ModelGroup

from ..engine.signals import connect
from ..logic.models import Model, WeightsState
from ..slicer_types import Widget


class ModelTree:
    """Models in a QTreeWidget of two columns: title, and state of the weights."""

    def __init__(self, search: Widget, tree: Widget, nothing: Widget, chosen: Callable[[str], None]) -> None:
        """
        Parameters
        ----------
        nothing
            A label that takes the tree's place when there is nothing in it
        chosen
            Gets the name of the model that the user chooses
        """
        self._search, self._tree, self._nothing = search, tree, nothing
        self._chosen = chosen
        self._models: list[Model] = []
        self._items: dict[str, Widget] = {}
        self._groups: dict[ModelGroup, Widget] = {}
        self._empty = ""
        header = tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        connect(search, "textChanged(QString)", lambda _text: self._filter())
        connect(search, "returnPressed()", self._choose_first)
        connect(tree, "itemSelectionChanged()", self._on_selection)

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are listed now, from top to bottom."""
        return tuple(model.name for model in self._models if not self._items[model.name].isHidden())

    @property
    def current(self) -> str:
        """The name of the model that is selected; empty when none is."""
        selected = self._tree.selectedItems()
        return str(selected[0].data(0, qt.Qt.UserRole) or "") if selected else ""

    def fill(self, models: Iterable[Model]) -> None:
        """List these models; they come in the order of their groups."""
        models = list(models)
        if models == self._models:
            return
        self._models = models
        current, blocked = self.current, self._tree.blockSignals(True)
        self._tree.clear()
        self._items, self._groups = {}, {}
        for model in models:
            if model.group not in self._groups:
                self._groups[model.group] = self._add_group(model.group)
            item = qt.QTreeWidgetItem()
            item.setData(0, qt.Qt.UserRole, model.name)
            item.setText(1, weights_text(model))
            item.setToolTip(0, f"{model.name}: {model.description}")
            item.setToolTip(1, weights_help(model))
            self._groups[model.group].addChild(item)
            self._items[model.name] = item
        self._tree.blockSignals(blocked)
        self._filter()
        self.choose(current)

    def choose(self, name: str) -> None:
        """Select a model, as a program; an unknown one: select none."""
        if name == self.current:
            return
        blocked = self._tree.blockSignals(True)
        item = self._items.get(name)
        if item is None:
            self._tree.clearSelection()
        else:
            self._tree.setCurrentItem(item)
            self._tree.scrollToItem(item)
        self._tree.blockSignals(blocked)

    def say_when_empty(self, text: str) -> None:
        """Why there is no model to choose from."""
        self._empty = text
        self._say_nothing()

    def _add_group(self, group: ModelGroup) -> Widget:
        item = qt.QTreeWidgetItem()
        item.setText(0, group_text(group))
        item.setFlags(item.flags() & ~qt.Qt.ItemIsSelectable)
        font = qt.QFont(item.font(0))
        font.setBold(True)
        item.setFont(0, font)
        self._tree.addTopLevelItem(item)
        item.setExpanded(True)
        return item

    def _filter(self) -> None:
        """Names and structures with the words of the search field; the row says which structures."""
        text, shown = str(self._search.text), set()
        for model in self._models:
            hits = model.hits(text)
            item = self._items[model.name]
            item.setHidden(hits is None)
            item.setText(0, model.title_with(hits or ()))
            shown |= {model.group} if hits is not None else set()
        for group, item in self._groups.items():
            item.setHidden(group not in shown)
        self._say_nothing()

    def _say_nothing(self) -> None:
        text = str(self._search.text).strip()
        self._nothing.setText(
            _("No model is called '{text}' or segments it.").format(text=text) if self._models else self._empty
        )
        self._nothing.setVisible(not self.names)
        self._tree.setVisible(bool(self.names))

    def _choose_first(self) -> None:
        """Return in the search field takes the first model that was found."""
        if self.names:
            self._tree.setCurrentItem(self._items[self.names[0]])

    def _on_selection(self) -> None:
        if self.current:
            self._chosen(self.current)


def group_text(group: ModelGroup) -> str:
    """The title of a group."""
    return {
        ModelGroup.WHOLE_BODY: _("Whole body"),
        ModelGroup.ORGANS: _("Organs"),
        ModelGroup.YOUR_MODELS: _("Your models"),
        ModelGroup.YOUR_PROJECTS: _("Your projects"),
        ModelGroup.DEMONSTRATION: _("Demonstration"),
    }[group]


def weights_text(model: Model) -> str:
    """What a model's weights need, in two or three words."""
    if model.weights is WeightsState.DOWNLOAD and model.download_bytes:
        return _("{size} MB to download").format(size=round(model.download_bytes / 1e6))
    return {
        WeightsState.BUILT_IN: _("built in"),
        WeightsState.PRESENT: _("present"),
        WeightsState.DOWNLOAD: _("to download"),
        WeightsState.DOWNLOAD_AGAIN: _("download again"),
        WeightsState.LICENCE: _("licence needed"),
    }[model.weights]


def weights_help(model: Model) -> str:
    """The same in a sentence."""
    return {
        WeightsState.BUILT_IN: _("Nothing has to be downloaded."),
        WeightsState.PRESENT: _("Its weights are on this computer."),
        WeightsState.DOWNLOAD: _("Its weights are downloaded at the first use, or added from a file."),
        WeightsState.DOWNLOAD_AGAIN: _("Its weights are damaged or of another version and are downloaded again."),
        WeightsState.LICENCE: _("It needs a licence number of TotalSegmentator."),
    }[model.weights]
