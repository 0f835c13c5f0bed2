"""What can segment: one file for a family, one protocol for all, chosen by a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from activeseg.core.errors import ModelError
from activeseg.core.segmenter import Segmenter


@dataclass(frozen=True)
class ModelInfo:
    """One line of ``activeseg models``.

    ``state`` is ``ready``, ``missing`` (weights are downloaded at the first use), ``damaged``, ``other version``
    (of the weights) or ``licence`` (one has to be entered first).
    """

    name: str
    family: str
    description: str
    modality: str
    structures: tuple[str, ...]
    state: str
    folder: str = ""


def open_segmenter(name: str) -> Segmenter:
    """The segmenter of that name: ``demo``, ``hounsfield``, ``totalsegmentator:<task>``, ``nnunet:<model folder>``,
    ``project:<folder>`` (its current version) or ``project:<folder>@<version>``.

    Raises ModelError when there is none, DatasetError when there is no such project.
    """
    family, _, rest = name.partition(":")
    if family == "nnunet" and rest:
        from pathlib import Path

        from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter

        return NnUNetSegmenter(Path(rest))
    if family == "totalsegmentator":
        from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter

        return TotalSegmentatorSegmenter(rest or "total")
    if family == "project" and rest:
        from activeseg.learning.training.parent_network import open_named

        return open_named(rest)
    simple: dict[str, Callable[[], Segmenter]] = {"demo": _demo, "hounsfield": _hounsfield}
    if name in simple:
        return simple[name]()
    raise ModelError(
        f"There is no model '{name}'.",
        "Choose demo, hounsfield, totalsegmentator:<task>, nnunet:<model folder> or project:<folder>; "
        "'activeseg models' lists those with a name.",
    )


def resolved(name: str) -> str:
    """A name that always means the same model: that of a project's current version instead of the project's."""
    family, _, rest = name.partition(":")
    if family != "project" or not rest:
        return name
    from activeseg.learning.training.parent_network import version_named

    folder, version = version_named(rest)
    return f"project:{folder}@{version}"


def _demo() -> Segmenter:
    from activeseg.segmenters.demo import demo_segmenter

    return demo_segmenter()


def _hounsfield() -> Segmenter:
    from activeseg.segmenters.hounsfield import HounsfieldSegmenter

    return HounsfieldSegmenter()


def list_models() -> list[ModelInfo]:
    """Every model that can be named without a folder: what ships, then TotalSegmentator's tasks and their weights."""
    from activeseg.segmenters.totalsegmentator.segmenter import task_infos

    shipped = []
    for name, description in (
        ("demo", "Small four-member network for the phantoms that ship; not for patients"),
        ("hounsfield", "Body, lungs, bone, fat, soft tissue and air by HU rules; nothing to download"),
    ):
        segmenter = open_segmenter(name)
        shipped.append(ModelInfo(name, name, description, "CT", segmenter.schema.names, "ready"))
    return shipped + task_infos()
