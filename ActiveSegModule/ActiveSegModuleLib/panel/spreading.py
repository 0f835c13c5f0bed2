"""*Apply to the rest of this case*: what would change, structure by structure, before any of it is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer
from slicer.i18n import tr as _

from activeseg.core.correction import Region, RegionState
from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect, timer
from ..logic.case_session import cannot_ask
from ..logic.spreading import LEAST_REVIEWED, Proposal, can_spread
from ..scene.case import Case
from ..scene.preview import AlternativePreview
from .refining_texts import cannot_ask_text
from .region_icons import swatch
from .region_table import size_text
from .section import Panel
from .steps import Step, turn_to
from .tables import dense

OFFERED_AFTER = 3
"""Corrected regions after which it is offered once."""
PREVIEW_DELAY_MS = 100
"""Ticks follow each other quickly."""


class SpreadFace:
    """In front of the list of regions from the question to *Apply* or *Cancel*; outlines say what would change."""

    def __init__(self, panel: Panel, relisted: Callable[[], None]) -> None:
        """``relisted``: the case that is reviewed has another list of regions."""
        self._panel = panel
        self._ui = ui = panel.ui
        self._review, self._spreading = panel.logic.review, panel.logic.spreading
        self._relisted = relisted
        self._proposal: Proposal | None = None
        self._asked_for: Case | None = None
        self._offered: set[str] = set()  # cases
        self._preview = AlternativePreview(panel.scene)
        self._due = timer(qt, PREVIEW_DELAY_MS, self._show_preview, once=True)
        dense(ui.spreadTable)
        connect(ui.spreadButton, "clicked()", self.ask)
        connect(ui.spreadApplyButton, "clicked()", self._apply)
        connect(ui.spreadCancelButton, "clicked()", self.close)
        connect(ui.spreadAllButton, "clicked()", lambda: self._tick(qt.Qt.Checked))
        connect(ui.spreadNoneButton, "clicked()", lambda: self._tick(qt.Qt.Unchecked))
        connect(ui.spreadTable, "itemChanged(QTableWidgetItem*)", lambda _item: self._on_ticked())
        connect(ui.spreadTable, "itemSelectionChanged()", self._on_row)
        panel.steps.follow(self._on_page)

    @property
    def is_open(self) -> bool:
        """Whether it is in front of the list."""
        return bool(self._ui.reviewFaces.currentWidget() == self._ui.spreadFace)

    def update(self, case: Case | None) -> None:
        """Follow the case: what was asked about another one is gone."""
        if self.is_open and (case is None or case != self._asked_for or not case.has_ct):
            self.close()

    def update_button(self, rows: Sequence[Region]) -> None:
        """Whether there is enough to learn from, and what is missing."""
        button, reason = self._ui.spreadButton, cannot_ask(self._review.case)
        enough = can_spread([row.state for row in rows])
        button.enabled = enough and reason is None and not self._spreading.is_asking
        tip = _("Apply to the rest of this case what you have corrected")
        if reason is not None:
            tip = f"{tip}. {cannot_ask_text(reason)}"
        elif not enough:
            more = _("It needs {count} regions that you accepted or corrected, at least one of them corrected.")
            tip = f"{tip}. {more.format(count=LEAST_REVIEWED)}"
        button.setToolTip(tip)

    def offers(self, rows: Sequence[Region]) -> list[tuple[str, Callable[[], None]]]:
        """A button for a message, where there is enough to learn from."""
        case = self._review.case
        if case is None or cannot_ask(case) is not None or not can_spread([row.state for row in rows]):
            return []
        self._offered.add(case.id)
        return [(_("Apply to the rest..."), self.ask)]

    def offer_once(self, rows: Sequence[Region]) -> None:
        """After a few corrections, where the model of the case can learn from them."""
        case = self._review.case
        corrected = [row for row in rows if row.state is RegionState.CORRECTED]
        if case is None or len(corrected) < OFFERED_AFTER or case.id in self._offered:
            return
        self._offered.add(case.id)

        def possible() -> None:
            if case == self._review.case and not self.is_open:
                told = _("{count} regions are corrected. What you corrected can be applied to the rest of this case.")
                self._panel.message.notice(told.format(count=len(corrected)), _("Apply to the rest..."), self.ask)

        self._spreading.find_out(case, possible, lambda _error: None)  # told when it is asked for

    def ask(self) -> None:
        """Ask what would change; the face shows how far that is, then the proposal."""
        case = self._review.case
        if case is None or self._spreading.is_asking:
            return
        self._panel.message.clear()
        self._asked_for, self._proposal = case, None
        ui = self._ui
        ui.spreadLabel.setText(_("Learning from the regions that you accepted and corrected..."))
        ui.spreadProgressBar.setValue(0)
        ui.spreadTable.setRowCount(0)
        turn_to(ui.reviewFaces, ui.spreadFace)
        ui.spreadCancelButton.setFocus()
        self._spreading.propose(case, self._proposed, self._refused, self._failed, self._progressed)
        self._show()

    def close(self) -> None:
        """Back to the list of regions; nothing has changed."""
        self._spreading.cancel()
        self._proposal = self._asked_for = None
        self._due.stop()
        self._preview.remove()
        if self.is_open:
            turn_to(self._ui.reviewFaces, self._ui.listFace)
            self._ui.regionTable.setFocus()
        self.update_button(self._review.rows())

    def leave(self) -> None:
        """The scene is closed, or the panel goes away."""
        self.close()

    def _on_page(self) -> None:
        """Outlines are seen only while the face is."""
        steps = self._panel.steps
        if steps.current is Step.REVIEW and not steps.shows_settings and self._proposal is not None and self.is_open:
            self._due.start()
        else:
            self._due.stop()
            self._preview.hide()

    def _progressed(self, fraction: float) -> None:
        self._ui.spreadProgressBar.setValue(round(100 * fraction))

    def _refused(self, why: str) -> None:
        self.close()
        text = _("Nothing would improve in the rest of this case: it stays as it is.")
        self._panel.message.notice(why or text)

    def _failed(self, error: ActiveSegError) -> None:
        self.close()
        self._panel.show_error(error)

    def _proposed(self, proposal: Proposal) -> None:
        if proposal.case != self._review.case:
            self.close()
            return
        self._proposal = proposal
        self._ui.spreadLabel.setText(gain_text(proposal))
        self._fill(proposal)
        self._show()
        self._due.start()
        self._ui.spreadTable.setFocus()

    def _fill(self, proposal: Proposal) -> None:
        table, colors = self._ui.spreadTable, {label.name: label.color for label in proposal.case.schema.labels}
        blocked = table.blockSignals(True)
        table.setRowCount(len(proposal.changes))
        for row, change in enumerate(proposal.changes):
            name = qt.QTableWidgetItem(swatch(colors[change.structure]), change.structure.replace("_", " "))
            name.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            name.setCheckState(qt.Qt.Checked)
            table.setItem(row, 0, name)
            for column, ml in ((1, change.gained_ml), (2, change.lost_ml)):
                amount = qt.QTableWidgetItem(size_text(1000 * ml) if ml else "")
                amount.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(row, column, amount)
        table.blockSignals(blocked)

    @property
    def ticked(self) -> list[str]:
        """Structures that may change."""
        table, proposal = self._ui.spreadTable, self._proposal
        changes = proposal.changes if proposal is not None else ()
        return [
            change.structure for row, change in enumerate(changes) if table.item(row, 0).checkState() == qt.Qt.Checked
        ]

    def _tick(self, state: object) -> None:
        table = self._ui.spreadTable
        blocked = table.blockSignals(True)
        for row in range(int(table.rowCount)):
            table.item(row, 0).setCheckState(state)
        table.blockSignals(blocked)
        self._on_ticked()

    def _on_ticked(self) -> None:
        self._show()
        self._due.start()

    def _show(self) -> None:
        """The parts of the face: progress before there is a proposal, the table after."""
        ui, there = self._ui, self._proposal is not None
        ui.spreadProgressBar.setVisible(not there)
        for widget in (ui.spreadTable, ui.spreadAllButton, ui.spreadNoneButton):
            widget.enabled = there
        ui.spreadApplyButton.enabled = there and bool(self.ticked)

    def _show_preview(self) -> None:
        proposal = self._proposal
        if proposal is not None and proposal.case == self._review.case and proposal.case.has_ct:
            try:
                self._preview.show(proposal.case, proposal.patch(self.ticked))
            except ActiveSegError as error:
                self._failed(error)

    def _on_row(self) -> None:
        """Views to where the structure changes most."""
        proposal, row = self._proposal, int(self._ui.spreadTable.currentRow())
        if proposal is None or not 0 <= row < len(proposal.changes) or not proposal.case.has_ct:
            return
        place = proposal.middle_of(proposal.changes[row].structure)
        if place is not None:
            world = [0.0, 0.0, 0.0]
            proposal.case.ct_node.TransformPointToWorld(list(place), world)
            slices = slicer.vtkMRMLSliceNode
            slices.JumpAllSlices(self._panel.scene, *world, slices.CenteredJumpSlice)

    def _apply(self) -> None:
        """Write what is ticked, as one step to undo; then the regions are found again."""
        proposal, ticked = self._proposal, self.ticked
        if proposal is None or not ticked:
            return
        case = proposal.case
        self.close()
        self._review.forget_region()  # what changes in it was not corrected by hand
        try:
            self._panel.write(lambda logic, save: self._spreading.take(proposal, ticked, logic, save))
            self._review.note_edits()
        except ActiveSegError as error:
            self._panel.show_error(error)
            return
        told = (
            _("1 structure was changed in the rest of this case.")
            if len(ticked) == 1
            else _("{count} structures were changed in the rest of this case.").format(count=len(ticked))
        )
        undo: tuple[str, Callable[[], None]] = _("Undo"), lambda: self._panel.editor_step("undo")

        def found(count: int) -> None:
            if case == self._review.case:
                self._relisted()
                self._panel.case_changed_by_user()
                again = _("{count} new regions to review.") if count != 1 else _("1 new region to review.")
                self._panel.message.notice(f"{told} {again.format(count=count)}", *undo)

        def failed(error: ActiveSegError) -> None:
            self._panel.show_error(error)
            self.update_button(self._review.rows())

        focus = tuple(filter(None, self._panel.parameter_node.focus.split("\n")))
        count = int(self._panel.parameter_node.regionCount)
        self._panel.message.notice(told, *undo)
        self._spreading.find_regions(case, focus, count, found, failed)
        self._panel.update()


def gain_text(proposal: Proposal) -> str:
    """What is expected of it, and what will stay."""
    stays = _("Regions that you accepted or corrected stay as they are.")
    what = _("This would change in the rest of the case:")
    gain = proposal.expected_gain
    if gain is None:
        return f"{stays} {what}"
    told = _("Expected where you have not corrected: Dice +{points} points.").format(points=f"{100 * gain:.1f}")
    return f"{told} {stays} {what}"
