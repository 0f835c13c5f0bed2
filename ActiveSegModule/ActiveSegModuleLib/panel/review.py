"""The section *Review*: the regions to review, their uncertainty, and the alternatives of the members."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from activeseg.core.correction import Region, RegionState
from activeseg.core.errors import ActiveSegError
from activeseg.core.uncertainty_scale import shown_threshold

from ..engine.signals import connect
from ..scene.case import Case
from ..scene.uncertainty import UncertaintyVolume
from ..slicer_types import Node, Widget
from .check_list import CheckList
from .section import Panel, Section
from .tables import selected

_COLORS = {
    RegionState.OPEN: (128, 128, 128, 40),
    RegionState.ACCEPTED: (60, 170, 90, 90),
    RegionState.CORRECTED: (60, 120, 200, 90),
    RegionState.SKIPPED: (200, 150, 40, 90),
}


class ReviewSection(Section):
    """The regions of the chosen case, one after the other."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        ui = self._ui
        self._review = panel.logic.review
        self._focus = CheckList(ui.focusSearch, ui.focusList, self._on_focus)
        self._shown: UncertaintyVolume | None = None
        self._buttons: list[Widget] = []
        self._hover = _Hover(self._review.preview)
        self._begun: Node = None  # the table whose first region was gone to
        self._automatic: dict[str, tuple[str, float] | None] = {}  # by case: what was not chosen
        header = ui.regionTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        connect(ui.regionTable, "itemSelectionChanged()", self._on_row)
        connect(ui.nextButton, "clicked()", lambda: self._do(self._review.next))
        connect(ui.previousButton, "clicked()", lambda: self._do(self._review.previous))
        connect(ui.acceptButton, "clicked()", lambda: self._decide(self._review.accept))
        connect(ui.skipButton, "clicked()", lambda: self._decide(self._review.skip))
        connect(ui.editButton, "clicked()", panel.edit_region)
        connect(ui.undoButton, "clicked()", lambda: panel.editor_step("undo"))
        connect(ui.redoButton, "clicked()", lambda: panel.editor_step("redo"))
        connect(ui.measureSelector, "activated(int)", lambda _index: self._on_measure())
        connect(ui.focusNoneButton, "clicked()", self._on_no_focus)
        connect(ui.focusApplyButton, "clicked()", self._on_apply_focus)

    def update(self) -> None:
        """Show what the parameter node and the scene say."""
        node = self._panel.parameter_node
        if node is None:
            return
        case = Case.of(node.segmentation)
        if case != self._review.case:
            self._panel.case_left()
            self._open(case)
        self._choose_measure(case)
        self._begin(case)
        self._say_what_is_chosen(case, node.segmentation)
        names = case.decided if case is not None else ()
        self._focus.fill(names, node.focus.split("\n"))
        ticked = len(self._focus.ticked)
        self._ui.focusCountLabel.text = _("{count} ticked").format(count=ticked) if ticked else _("all structures")
        self._ui.focusApplyButton.enabled = case is not None and case.origin is None and not case.is_preview
        self.update_uncertainty()
        self.update_regions()

    def update_uncertainty(self) -> None:
        """Show, hide and colour the uncertainty map as the parameter node says."""
        node, case = self._panel.parameter_node, self._review.case
        maps = case.uncertainty if case is not None else {}
        self._fill_measures(list(maps))
        wanted = maps.get(node.measure) or next(iter(maps.values()), None) if node.showUncertainty else None
        if self._shown is not None and (wanted is None or wanted.node is not self._shown.node):
            if self._panel.scene.IsNodePresent(self._shown.node):
                self._shown.hide()
                self._shown.node.SetHideFromEditors(True)
            self._shown = None
        if wanted is None or case is None or not case.has_ct:
            return
        if self._shown is None:
            wanted.node.SetHideFromEditors(False)
            wanted.show(case.ct_node, node.opacity)
            self._shown = wanted
        wanted.set_threshold(node.threshold)
        wanted.set_opacity(node.opacity)
        if node.legend:
            wanted.add_legend(self._panel.scene.GetNodeByID("vtkMRMLSliceNodeRed"))
        else:
            wanted.show_legend(False)

    def update_regions(self) -> None:
        """Fill the table, keeping what is selected; buttons and alternatives follow."""
        rows = self._review.rows()
        _fill(self._ui.regionTable, rows, self._review.current)
        done, total = self._review.reviewed
        self._ui.reviewedLabel.text = _("{done} of {total} reviewed").format(done=done, total=total) if total else ""
        for button in (self._ui.nextButton, self._ui.previousButton):
            button.enabled = bool(rows)
        here, case = self._review.current is not None, self._review.case
        for button in (self._ui.acceptButton, self._ui.skipButton):
            button.enabled = here
        for button in (self._ui.editButton, self._ui.undoButton, self._ui.redoButton):
            button.enabled = case is not None and case.has_ct and not case.is_preview
        self._update_alternatives()

    @property
    def alternative_buttons(self) -> tuple[Widget, ...]:
        """The buttons of the current region's alternatives."""
        return tuple(self._buttons)

    def leave(self) -> None:
        """The scene is closed, or the panel goes away."""
        self._review.leave()
        self._shown = self._begun = None

    def _open(self, case: Case | None) -> None:
        self._review.open(case)
        if case is not None:
            self._panel.case_opened(case)

    def new_case(self, case: Case) -> None:
        """It was made just now: the user has not chosen how it is shown."""
        self._automatic[case.id] = None

    def _choose_measure(self, case: Case | None) -> None:
        """The case's own measure and threshold, as long as the user has not chosen others.

        They change when more members have been heard.
        """
        if case is None:
            return
        node, record = self._panel.parameter_node, case.record
        own = str(record.get("measure", "")), min(1.0, max(0.0, float(record.get("threshold", node.threshold))))
        if case.id not in self._automatic:
            if node.measure in case.uncertainty:
                return  # what was chosen, in this scene or in a saved one, stays
            self._automatic[case.id] = None
        before = self._automatic[case.id]
        if before is None or (own != before and (node.measure, node.threshold) == before):
            node.measure, node.threshold = own
            self._automatic[case.id] = own

    def _begin(self, case: Case | None) -> None:
        """Go to the first region of a list that is new here."""
        table = case.regions if case is not None and case.has_ct else None
        listed = table.node if table is not None else None
        if listed is self._begun:
            return
        self._begun = listed
        self._review.forget_region()
        if listed is not None:
            try:
                self._review.first()
            except ActiveSegError as error:
                self._panel.show_error(error)
        self._panel.region_changed()

    def _say_what_is_chosen(self, case: Case | None, chosen: Node) -> None:
        """Why there is nothing to review or to edit, where that is so."""
        others = self._panel.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
        self._ui.reviewPage.enabled = case is not None or bool(others)
        if case is None:
            text = (
                _("'{name}' was not made by ActiveSeg: there are no regions to review. Choose another one, or segment.")
                if chosen is not None
                else _("There is no segmentation of this CT to review yet.")
            ).format(name=chosen.GetName() if chosen is not None else "")
        elif not case.has_ct:
            text = _("The CT of '{name}' is no longer in the scene. Load the same CT again to go on.")
            text = text.format(name=case.name)
        elif case.is_preview:
            text = _("This is a quick preview by a coarser model. It can be neither reviewed, edited nor exported.")
        elif case.origin is not None:
            text = _("'{case}' comes from a dataset and has no regions to review. Press Edit to correct it.")
            text = text.format(case=case.origin["case"])
        elif case.regions is not None and not case.regions.regions:
            text = _("No region to review was found. Press Edit to correct the segmentation.")
        else:
            text = ""
        self._ui.caseLabel.text = text
        self._ui.caseLabel.setVisible(bool(text))
        for widget in (self._ui.focusBox, self._ui.uncertaintyBox, self._ui.regionTable):
            widget.enabled = case is not None

    def _fill_measures(self, measures: list[str]) -> None:
        selector, node = self._ui.measureSelector, self._panel.parameter_node
        if [selector.itemData(index) for index in range(selector.count)] != measures:
            selector.clear()
            for measure in measures:
                selector.addItem(measure.replace("_", " "), measure)
        index = selector.findData(node.measure)
        if measures and index != selector.currentIndex:
            selector.setCurrentIndex(max(index, 0))

    def _update_alternatives(self) -> None:
        """One button for each alternative of the current region; made again only when they are others."""
        try:
            offered = self._review.alternatives()
        except ActiveSegError as error:
            offered = ()
            self._panel.show_error(error)
        texts = [alternative.summary.replace("_", " ") for alternative in offered]
        if texts != [str(button.text) for button in self._buttons]:
            for button in self._buttons:
                button.hide()
                button.deleteLater()
            self._buttons = []
            for index, text in enumerate(texts):
                button = qt.QPushButton(text)
                button.toolTip = _("{what}. Hover to see it in the views, click to take it.").format(what=text)
                # a long text does not widen the panel, and its beginning stays in sight
                button.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
                button.styleSheet = "text-align: left"
                self._ui.alternativesFrame.layout().addWidget(button)
                connect(button, "clicked()", lambda index=index: self._take(index))
                self._hover.watch(button, index)
                self._buttons.append(button)
        label = self._ui.alternativesLabel
        if self._review.current is None:
            label.text = ""
        else:
            label.text = _("Alternatives:") if texts else _("No alternatives here.")

    def _take(self, index: int) -> None:
        try:
            self._panel.take_alternative(index)
        except ActiveSegError as error:
            self._panel.show_error(error)
        self.update_regions()

    def _do(self, step: Callable[[], object]) -> None:
        try:
            step()
        except ActiveSegError as error:
            self._panel.show_error(error)
        self._panel.region_changed()
        self.update_regions()

    def _decide(self, step: Callable[[], None]) -> None:
        """Accept or skip, then on to the next region that is open."""

        def decide_and_go_on() -> None:
            step()
            self._review.next_open()

        self._do(decide_and_go_on)
        self._panel.region_reviewed()

    def _on_row(self) -> None:
        item = selected(self._ui.regionTable)
        number = int(item.data(qt.Qt.UserRole)) if item else None
        if number is not None and number != self._review.current:
            self._do(lambda: self._review.go_to(number))

    def _on_measure(self) -> None:
        node, case = self._panel.parameter_node, self._review.case
        before, node.measure = node.measure, self._ui.measureSelector.currentData or ""
        if case is not None:
            self._automatic.pop(case.id, None)
        if node.threshold == shown_threshold(before):  # which the user did not choose
            node.threshold = shown_threshold(node.measure)

    def _on_focus(self) -> None:
        self._panel.parameter_node.focus = "\n".join(self._focus.ticked)

    def _on_no_focus(self) -> None:
        self._panel.parameter_node.focus = ""

    def _on_apply_focus(self) -> None:
        case = self._review.case
        if case is None:
            return
        reviewed, _total = self._review.reviewed
        question = _("{count} regions were reviewed. Replace the list? Your edits stay.").format(count=reviewed)
        if reviewed and not self._panel.confirm(question, _("Replace")):
            return
        self._ui.focusApplyButton.enabled = False
        try:
            self._panel.logic.segmenting.list_regions(
                case,
                tuple(self._focus.ticked),
                self._panel.parameter_node.regionCount,
                lambda: self._relisted(case),
                self._not_relisted,
            )
        except ActiveSegError as error:
            self._not_relisted(error)

    def _relisted(self, case: Case) -> None:
        if case == self._review.case:
            self._review.forget_region()
            self.update()

    def _not_relisted(self, error: ActiveSegError) -> None:
        self._ui.focusApplyButton.enabled = True
        self._panel.show_error(error)


class _Hover(qt.QObject):
    """Previews an alternative while the mouse is over its button."""

    def __init__(self, preview: Callable[[int | None], None]) -> None:
        qt.QObject.__init__(self)
        self._preview = preview

    def watch(self, button: Widget, index: int) -> None:
        button.setProperty("alternative", index)
        button.installEventFilter(self)

    def eventFilter(self, button: Widget, event: Widget) -> bool:  # noqa: N802 - Qt's name
        if event.type() == qt.QEvent.Enter:
            self._preview(int(button.property("alternative")))
        elif event.type() in (qt.QEvent.Leave, qt.QEvent.Hide):
            self._preview(None)
        return False


def _fill(table: Widget, rows: list[Region], current: int | None) -> None:
    """Rows with their region's number behind the first cell; the current one is selected, without a signal."""
    states = {
        RegionState.OPEN: _("open"),
        RegionState.ACCEPTED: _("accepted"),
        RegionState.CORRECTED: _("corrected"),
        RegionState.SKIPPED: _("skipped"),
    }
    blocked = table.blockSignals(True)
    table.setSortingEnabled(False)
    table.setRowCount(len(rows))
    for index, row in enumerate(rows):
        name = qt.QTableWidgetItem(", ".join(row.structures).replace("_", " ") or _("background"))
        name.setData(qt.Qt.UserRole, row.number)
        table.setItem(index, 0, name)
        for column, value in ((1, round(row.score, 2)), (2, round(row.size_mm3 / 1000, 2))):
            cell = qt.QTableWidgetItem()
            cell.setData(qt.Qt.DisplayRole, float(value))  # sorts as a number
            table.setItem(index, column, cell)
        state = qt.QTableWidgetItem(states[row.state])
        state.setBackground(qt.QBrush(qt.QColor(*_COLORS[row.state])))
        table.setItem(index, 3, state)
    table.setSortingEnabled(True)
    table.clearSelection()
    for index in range(len(rows)):
        if table.item(index, 0).data(qt.Qt.UserRole) == current:
            table.selectRow(index)
    table.blockSignals(blocked)
