"""What other members of the ensemble would draw in the current region: a list with pictures, previewed in the views."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from activeseg.core.errors import ActiveSegError

from ..engine.signals import connect, timer
from ..scene.alternatives import OfferedAlternative
from ..scene.slice_picture import AlternativePicture, VoxelsMoved, pictures
from ..slicer_types import Widget
from .region_icons import icon_of
from .section import Panel
from .thumbnail import thumbnail

PREVIEW_DELAY_MS = 100
"""A preview costs a rendering of all views: while the mouse runs over the list only the last one is shown."""
_PICTURE = 40


class AlternativeList:
    """One row for each alternative. The chosen one is previewed; the one under the mouse as long as it is there."""

    def __init__(self, panel: Panel, take: Callable[[int], None]) -> None:
        """``take`` gets an index, counted from 0."""
        self._panel = panel
        self._review = panel.logic.review
        self._take = take
        self._list = panel.ui.alternativesList
        self._shown: tuple[object, ...] | None = None
        self._count = 0
        self._wanted: int | None = None
        self._filling = False
        self._timer = timer(qt, PREVIEW_DELAY_MS, self._preview, once=True)
        self._leaving = _Leaving(self._on_leave, self.let_go)
        self._list.viewport().installEventFilter(self._leaving)
        self._list.installEventFilter(self._leaving)
        connect(self._list, "itemEntered(QListWidgetItem*)", lambda item: self._want(self._list.row(item)))
        connect(self._list, "currentRowChanged(int)", self._on_row)
        connect(self._list, "itemActivated(QListWidgetItem*)", lambda item: self._take_row(self._list.row(item)))
        connect(panel.ui.showAlternativeButton, "clicked()", self._show_next)
        connect(panel.ui.takeAlternativeButton, "clicked()", lambda: self._take_row(self._list.currentRow))

    @property
    def count(self) -> int:
        """How many alternatives are offered."""
        return self._count

    def update(self) -> None:
        """Show those of the current region; filled only when it is another one, or was edited."""
        case, number = self._review.case, self._review.current
        table = case.regions if case is not None else None
        shown = (case.id if case is not None else "", table.node.GetID() if table is not None else "", number)
        if shown != self._shown:
            self._shown = shown
            self._fill()
        self._update_buttons()

    def forget(self) -> None:
        """The segmentation was edited: what an alternative would change is something else now."""
        self._shown = None

    def choose_first(self) -> None:
        """Preview the first one, as if it had been chosen."""
        self._list.setCurrentRow(0)

    def let_go(self) -> None:
        """None is chosen any more, nor previewed."""
        self._filling = True
        self._list.setCurrentRow(-1)
        self._list.clearSelection()
        self._filling = False
        self._want(None)
        self._update_buttons()

    def close(self) -> None:
        """The panel goes away."""
        self._timer.stop()
        self._list.viewport().removeEventFilter(self._leaving)
        self._list.removeEventFilter(self._leaving)

    def _fill(self) -> None:
        self._want(None)
        offered: tuple[OfferedAlternative, ...] = ()
        drawn: tuple[AlternativePicture, ...] = ()
        try:
            offered = self._review.alternatives()
            if self._review.case is not None:
                own = [each for each in offered if each.prompts]  # in a box and a slice of its own
                drawn = pictures(self._review.case, own) + pictures(self._review.case, offered[len(own) :])
        except ActiveSegError as error:
            self._panel.show_error(error)
        self._count = len(drawn)
        self._filling = True
        self._list.clear()
        for alternative, picture in zip(offered, drawn, strict=False):
            text = alternative_text(alternative, picture.moved)
            item = qt.QListWidgetItem(icon_of(thumbnail(picture, _PICTURE)), text)
            item.setToolTip(_("{what}\nWhite: as it is now; yellow: the alternative.").format(what=moved_text(picture)))
            self._list.addItem(item)
        if not drawn:
            item = qt.QListWidgetItem(_("No alternatives here.") if self._review.current is not None else "")
            item.setFlags(qt.Qt.NoItemFlags)
            self._list.addItem(item)
        self._list.setCurrentRow(-1)
        self._filling = False

    def _update_buttons(self) -> None:
        case = self._review.case
        editable = case is not None and case.has_ct and not case.is_preview
        self._panel.ui.showAlternativeButton.enabled = self._count > 0
        self._panel.ui.takeAlternativeButton.enabled = editable and self._chosen is not None

    @property
    def _chosen(self) -> int | None:
        row = int(self._list.currentRow)
        return row if 0 <= row < self._count else None

    def _on_row(self, row: int) -> None:
        if not self._filling:
            self._want(row if 0 <= row < self._count else None)
            self._update_buttons()

    def _on_leave(self) -> None:
        """What the mouse only passed is not shown any longer; what was chosen is."""
        self._want(self._chosen)

    def _want(self, index: int | None) -> None:
        self._wanted = index if index is not None and index < self._count else None
        if self._wanted is None:
            self._timer.stop()
            self._review.preview(None)
        else:
            self._timer.start()

    def _preview(self) -> None:
        if self._wanted is None:
            return
        try:
            self._review.preview(self._wanted)
        except ActiveSegError as error:
            self._panel.show_error(error)

    def _show_next(self) -> None:
        """After the last one: none, so that the segmentation is seen as it is."""
        following = 0 if self._chosen is None else self._chosen + 1
        if following < self._count:
            self._list.setCurrentRow(following)
        else:
            self.let_go()

    def _take_row(self, row: int) -> None:
        if 0 <= row < self._count and self._panel.ui.takeAlternativeButton.enabled:
            self._take(row)


def alternative_text(alternative: OfferedAlternative, moved: tuple[VoxelsMoved, ...]) -> str:
    """Two lines: the structure and who would draw it so; what that structure gains and loses."""
    about = next((each for each in moved if each.structure == alternative.structure), moved[0] if moved else None)
    name = (about.structure if about is not None else alternative.structure).replace("_", " ")
    who = votes_text(alternative)
    name = name or _("nothing here")
    if alternative.prompts:
        first = prompted_text(alternative.prompts, name)
    else:
        first = _("{structure} ({members})").format(structure=name, members=who) if who else name
    if about is None:
        return "\n".join((first, _("as it is now")))
    return "\n".join((first, _amount_text(about)))


def prompted_text(prompts: int, structure: str) -> str:
    """What is answered."""
    if prompts == 1:
        return _("Your click: {structure}").format(structure=structure)
    return _("Your {count} clicks: {structure}").format(count=prompts, structure=structure)


def votes_text(alternative: OfferedAlternative) -> str:
    """How many members would draw it so; empty where that is not known."""
    if alternative.of:
        return _("{votes} of {all} members").format(votes=alternative.votes, all=alternative.of)
    return _("{votes} members").format(votes=alternative.votes) if alternative.votes else ""


def moved_text(picture: AlternativePicture) -> str:
    """Every structure that gains or loses voxels, one a line."""
    lines = [f"{moved.structure.replace('_', ' ')}: {_amount_text(moved)}" for moved in picture.moved]
    return "\n".join(lines) or _("This is how it is now.")


def _amount_text(moved: VoxelsMoved) -> str:
    parts = []
    if moved.gained:
        parts.append(_("+{ml} mL ({count} voxels)").format(ml=_ml(moved.gained_ml), count=moved.gained))
    if moved.lost:
        parts.append(_("-{ml} mL ({count} voxels)").format(ml=_ml(moved.lost_ml), count=moved.lost))
    return ", ".join(parts)


def _ml(amount: float) -> str:
    return f"{amount:.2f}" if amount < 1 else f"{amount:.3g}"


class _Leaving(qt.QObject):
    """Tells when the mouse leaves the list, and when Esc is pressed in it."""

    def __init__(self, left: Callable[[], None], escaped: Callable[[], None]) -> None:
        qt.QObject.__init__(self)
        self._left = left
        self._escaped = escaped

    def eventFilter(self, _watched: Widget, event: Widget) -> bool:  # noqa: N802 - Qt's name
        if event.type() == qt.QEvent.Leave:
            self._left()
        elif event.type() == qt.QEvent.KeyPress and event.key() == qt.Qt.Key_Escape:
            self._escaped()
            return True
        return False
