"""The words of the page *Export*: what would be stored, with what is unusual first, and what is wrong with a field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from html import escape

from slicer.i18n import tr as _

from activeseg.core.correction import Review

from ..logic.dataset_folder import FolderProblem, FolderState
from ..logic.export_summary import ExportSummary
from .region_table import size_text

LISTED = 6
"""Changed structures that are named; the others are counted."""


class WhatCounts(Enum):
    """How voxels that were not reviewed are treated (the engine's ``review``)."""

    REGIONS = "regions"
    ALL = "all"
    NONE = "none"

    def label(self) -> str:
        """The text of the choice."""
        return {
            WhatCounts.REGIONS: _("Use where the model is confident"),
            WhatCounts.ALL: _("Use all: I reviewed the whole case"),
            WhatCounts.NONE: _("Ignore all outside of reviewed regions"),
        }[self]


@dataclass(frozen=True)
class Sentence:
    """``is_unusual``: read first, and in bold."""

    text: str
    is_unusual: bool = False


def summary_sentences(summary: ExportSummary, review: Review, who: list[Sentence]) -> list[Sentence]:
    """What would be stored, in the order in which it should be read; ``who`` as ``who_sentences`` gives it."""
    told = [
        *_about_image(summary),
        *_about_regions(summary, review),
        *_about_segments(summary),
        *_about_changes(summary, review),
        *who,
        Sentence(_("Unreviewed voxels: {treatment}.").format(treatment=_treatment(review))),
    ]
    return sorted(told, key=lambda sentence: not sentence.is_unusual)


def as_page(title: str, sentences: list[Sentence]) -> str:
    """HTML of a heading and a list."""
    lines = "".join(
        f"<li>{f'<b>{escape(sentence.text)}</b>' if sentence.is_unusual else escape(sentence.text)}</li>"
        for sentence in sentences
    )
    return f"<b>{escape(title)}</b><ul style='margin-left: 12px; -qt-list-indent: 0'>{lines}</ul>"


def folder_text(state: FolderState) -> str:
    """What stands beside the field *Dataset*."""
    if state.problem is None:
        return "" if state.is_there else _("New dataset: {name}").format(name=state.folder.name)
    texts = {
        FolderProblem.NONE_CHOSEN: _("Choose a folder, for example Dataset801_Liver."),
        FolderProblem.NOT_ABSOLUTE: _("Give the whole path of the folder."),
        FolderProblem.BAD_NAME: state.told,
        FolderProblem.IS_A_FILE: _("'{name}' is a file, not a folder."),
        FolderProblem.HOLDS_OTHER_FILES: _("'{name}' holds other files and no dataset: choose another folder."),
        FolderProblem.NOT_WRITABLE: _("Nothing can be written into '{name}': choose another folder."),
        FolderProblem.DISK_FULL: _("The disk is nearly full: about {needed} MB are needed, {free} MB are free."),
    }
    if state.problem is FolderProblem.BAD_NAME:
        return state.told  # not formatted: a name may hold brackets
    return texts[state.problem].format(
        name=state.folder.name or state.folder, needed=_mb(state.needed_bytes), free=_mb(state.free_bytes)
    )


def who_sentences(patient: str, annotator: str) -> list[Sentence]:
    """Whose case it is, and who corrected it."""
    told = []
    if patient:
        told.append(Sentence(_("Patient ID {patient}: kept private, outside of the dataset.").format(patient=patient)))
    else:
        told.append(Sentence(_("No patient ID yet: the CT counts as a patient of its own."), True))
    if not annotator:
        told.append(Sentence(_("No annotator is named."), True))
    return told


def _about_image(summary: ExportSummary) -> Iterator[Sentence]:
    if summary.image_has_changed:
        yield Sentence(_("The CT is not the one that was segmented: another frame of a sequence?"), True)


def _about_regions(summary: ExportSummary, review: Review) -> Iterator[Sentence]:
    if not summary.regions:
        return
    told = _("{done} of {total} regions reviewed.").format(done=summary.reviewed, total=summary.regions)
    yield Sentence(told, summary.reviewed == 0 and review is not Review.ALL)
    if summary.skipped:
        yield Sentence(_("{count} skipped: not used as ground truth.").format(count=summary.skipped))


def _about_segments(summary: ExportSummary) -> Iterator[Sentence]:
    for name in summary.deleted:
        text = _("'{name}' was deleted and will be treated as absent.")
        yield Sentence(text.format(name=name.replace("_", " ")), True)
    for name in summary.unknown:
        yield Sentence(_("'{name}' is no structure of the model: say below what it is.").format(name=name), True)


def _about_changes(summary: ExportSummary, review: Review) -> Iterator[Sentence]:
    if not summary.changes:
        yield Sentence(
            _("Nothing was changed in the segmentation."), summary.reviewed == 0 and review is not Review.ALL
        )
        return
    parts = [
        f"{change.name.replace('_', ' ')} {_amount(change.added, change.removed)}"
        for change in summary.changes[:LISTED]
    ]
    if len(summary.changes) > LISTED:
        parts.append(_("{count} more").format(count=len(summary.changes) - LISTED))
    yield Sentence(_("Changed: {changes}.").format(changes="; ".join(parts)))


def _amount(gained: float, lost: float) -> str:
    """What a structure gained and lost, in mL; both where it has both."""
    shown = [f"{sign}{size_text(1000 * ml)}" for sign, ml in (("+", gained), ("-", lost)) if ml]
    return f"{' / '.join(shown) or '0'} mL"


def _treatment(review: Review) -> str:
    return {
        Review.REGIONS: _("ground truth where the model is confident, else ignored"),
        Review.ALL: _("all are ground truth, because the whole case was reviewed"),
        Review.NONE: _("ignored outside of reviewed regions"),
    }[review]


def _mb(size: int) -> int:
    return round(size / 1e6)
