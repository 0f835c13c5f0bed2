"""The words of prompts: their kinds, what is waited for, who answers, and why not."""

from __future__ import annotations

from slicer.i18n import tr as _

from activeseg.core.prompt import PromptKind

from ..logic.case_session import CannotAsk
from ..logic.refining import AUTO


def kind_text(kind: PromptKind) -> str:
    """On the button."""
    return {
        PromptKind.POINT: _("Click"),
        PromptKind.SCRIBBLE: _("Scribble"),
        PromptKind.LASSO: _("Lasso"),
        PromptKind.BOX: _("Box"),
    }[kind]


def waiting_text(kind: PromptKind) -> str:
    """What is to be done in a slice view."""
    return {
        PromptKind.POINT: _("Click in a view"),
        PromptKind.SCRIBBLE: _("Draw in a view"),
        PromptKind.LASSO: _("Draw around it"),
        PromptKind.BOX: _("Drag over it"),
    }[kind]


def prompts_text(count: int, structure: str) -> str:
    """How many prompts there are, and about what."""
    name = structure.replace("_", " ")
    if count == 1:
        return _("1 click: {structure}").format(structure=name)
    return _("{count} clicks: {structure}").format(count=count, structure=name)


def refiner_text(name: str) -> str:
    """Who answers."""
    return {
        AUTO: _("Best answer for this model"),
        "features": _("By the network's features"),
        "walker": _("By edges in the image"),
        "nninteractive": _("By nnInteractive"),
    }.get(name, name)


def cannot_ask_text(reason: CannotAsk) -> str:
    """Why there are no clicks in a case."""
    return {
        CannotAsk.NO_CASE: _("Not now: there is no segmentation that ActiveSeg made."),
        CannotAsk.NO_CT: _("Not now: its CT is no longer in the scene."),
        CannotAsk.PREVIEW: _("Not now: this is a quick preview."),
        CannotAsk.NO_MODEL: _("Not here: it is not known which model has made it."),
    }[reason]
