"""What can segment: one file for a family, one protocol for all, chosen by a name."""

from __future__ import annotations

import importlib
from typing import cast

from activeseg.core.errors import ModelError, Remedy
from activeseg.core.segmenter import ModelGroup, ModelInfo, Segmenter

FAMILIES = {
    "demo": "demo",
    "hounsfield": "hounsfield",
    "nnunet": "nnunet.segmenter",
    "totalsegmentator": "totalsegmentator.segmenter",
}
"""Name of a family -> the module below this package whose ``open_named`` opens the models of that family."""


def open_segmenter(name: str) -> Segmenter:
    """The segmenter of that name: ``demo``, ``hounsfield``, ``totalsegmentator:<task>`` or ``nnunet:<model folder>``.

    ``models.open_model`` knows the versions of projects, too. Raises ModelError when there is none.
    """
    family, _, rest = name.partition(":")
    module = FAMILIES.get(family)
    segmenter = module and importlib.import_module(f"{__name__}.{module}").open_named(rest)
    if not segmenter:
        raise ModelError(
            f"There is no model '{name}'.",
            "Choose demo, hounsfield, totalsegmentator:<task>, nnunet:<model folder> or project:<folder>.",
            remedy=Remedy.LIST_MODELS,
        )
    return cast(Segmenter, segmenter)


def list_models() -> list[ModelInfo]:
    """Every model that can be named without a folder: what ships, then TotalSegmentator's tasks and their weights.

    Only files of this computer are looked at.
    """
    from activeseg.segmenters.totalsegmentator.segmenter import task_infos

    shipped = []
    for name, group, description in (
        ("demo", ModelGroup.DEMONSTRATION, "Small four-member network for the phantoms that ship; not for patients"),
        (
            "hounsfield",
            ModelGroup.WHOLE_BODY,
            "Body, lungs, bone, fat, soft tissue and air by HU rules; nothing to download",
        ),
    ):
        segmenter = open_segmenter(name)
        shipped.append(ModelInfo(name, name, description, "CT", segmenter.schema.names, "ready", group=group))
    return shipped + task_infos()
