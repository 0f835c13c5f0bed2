"""The segmenter of a project: its current version or any other, with structures that are still to be learnt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from activeseg.core.geometry import Box
from activeseg.core.labels import LabelSchema
from activeseg.core.network_size import NetworkSize, Overhead
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Segmenter, Settings, Trainable
from activeseg.core.shapes import ShapeReference
from activeseg.core.volume import Volume
from activeseg.core.votes import GridVotes, Segmented
from activeseg.learning.project.project import Project
from activeseg.learning.project.version import BASE, MODEL, VERSION_ID, ModelKind
from activeseg.segmenters import open_segmenter
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter
from activeseg.system.regular_files import is_link


def open_version(project: Project, id: str) -> Segmenter:
    """The segmenter of a version of a project, or of its base model. Raises ModelError."""
    if id == BASE:
        return open_segmenter(project.state.base_model)
    version = project.version(id)
    name, model = f"project:{project.folder}@{id}", project.version_folder(id) / MODEL
    return open_model_folder(
        model, version.kind, version.task, LabelSchema.from_dict(version.schema), name, version.shapes
    )


def open_model_folder(
    model: Path,
    kind: ModelKind,
    task: str,
    schema: LabelSchema,
    name: str,
    shapes: ShapeReference | None = None,
) -> Segmenter:
    """The segmenter of a version's ``model`` folder, or of one that may become it. Raises ModelError."""
    if kind is ModelKind.NNUNET:
        return NnUNetSegmenter(model, name, schema, shapes or None)
    user = UserHome.of_environment()
    link_rest(model, user.weights)
    return TotalSegmentatorSegmenter(task, UserHome(user.home, model), name, shapes or None)


def open_named(text: str) -> Segmenter:
    """``<project's folder>`` for its current version, or ``<folder>@<version>``. Raises DatasetError, ModelError."""
    folder, id = version_named(text)
    project = Project.open(folder)
    segmenter = open_version(project, id)
    new = [name for name, known in project.state.matching.items() if known is None]
    if set(new) <= set(segmenter.schema.names):
        return segmenter
    return WithNewStructures(segmenter, f"project:{project.folder}@{id}", new)


class WithNewStructures(Segmenter):
    """A model that is to learn further structures: they are in its schema, so that they can be drawn, and are never
    found."""

    def __init__(self, segmenter: Segmenter, name: str, new: Sequence[str]) -> None:
        self._segmenter = segmenter
        self._name = name
        missing = [structure for structure in new if structure not in segmenter.schema.names]
        more = LabelSchema.from_names([*segmenter.schema.names, *missing]).labels[len(segmenter.schema) :]
        self._schema = LabelSchema((*segmenter.schema.labels, *more))

    @property
    def name(self) -> str:
        return self._name

    @property
    def schema(self) -> LabelSchema:
        return self._schema

    @property
    def channels(self) -> tuple[str, ...]:
        return self._segmenter.channels

    @property
    def splits(self) -> bool:
        return self._segmenter.splits

    @property
    def coarser(self) -> str | None:
        return self._segmenter.coarser

    @property
    def trainable(self) -> Trainable | None:
        return self._segmenter.trainable

    @property
    def shapes(self) -> ShapeReference | None:
        return self._segmenter.shapes

    @property
    def warm_bytes(self) -> int:
        return self._segmenter.warm_bytes

    @property
    def files(self) -> tuple[Path, ...]:
        return self._segmenter.files

    def networks(self, settings: Settings) -> tuple[NetworkSize, ...]:
        return self._segmenter.networks(settings)

    def overhead(self, settings: Settings) -> Overhead:
        return self._segmenter.overhead(settings)

    def check(self, settings: Settings) -> None:
        self._segmenter.check(settings)

    def segment(self, images: Mapping[str, Volume], settings: Settings, progress: Progress) -> Segmented:
        return replace(self._segmenter.segment(images, settings, progress), schema=self._schema)

    def evidence(
        self,
        images: Mapping[str, Volume],
        box_kji: Box | None,
        settings: Settings,
        progress: Progress,
        structures: Sequence[str] = (),
    ) -> GridVotes:
        return self._segmenter.evidence(images, box_kji, settings, progress, structures)


def version_named(text: str) -> tuple[Path, str]:
    """Folder and version of what ``open_named`` opens. Raises DatasetError."""
    folder, at, id = text.rpartition("@")
    if at and (id == BASE or VERSION_ID.fullmatch(id)):
        return Path(folder), id
    return Path(text), Project.open(Path(text)).state.current


def link_rest(model: Path, weights: Path) -> None:
    """Let a version's TotalSegmentator root lead to the user's own weights for all that the version did not train."""
    for theirs in sorted(weights.glob("Dataset*")):
        ours = model / theirs.name
        if is_link(ours) and not ours.exists():
            ours.unlink()
        if not ours.exists():
            try:
                os.symlink(theirs, ours, target_is_directory=True)
            except OSError:  # Windows without the right to
                shutil.copytree(theirs, ours)
