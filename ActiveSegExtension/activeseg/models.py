"""Any model by its name: those of the segmenters' families, and the versions of projects."""

from __future__ import annotations

from activeseg.core.segmenter import Segmenter
from activeseg.segmenters import open_segmenter

_PROJECT = "project"


def open_model(name: str) -> Segmenter:
    """The model of that name: what ``segmenters.open_segmenter`` opens, ``project:<folder>`` (its current version) or
    ``project:<folder>@<version>``.

    Raises ModelError when there is none, DatasetError when there is no such project.
    """
    family, _, rest = name.partition(":")
    if family != _PROJECT or not rest:
        return open_segmenter(name)
    from activeseg.learning.project.opening import open_named

    return open_named(rest)


def resolved(name: str) -> str:
    """A name that always means the same model: that of a project's current version instead of the project's."""
    family, _, rest = name.partition(":")
    if family != _PROJECT or not rest:
        return name
    from activeseg.learning.project.opening import version_named

    folder, version = version_named(rest)
    return f"project:{folder}@{version}"
