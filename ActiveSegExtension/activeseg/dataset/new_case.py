"""A case on its way into a dataset, checked before anything is written; and what comes out of it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from activeseg.core.errors import DatasetError, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.label_map import check_label_map
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import voxels
from activeseg.dataset.provenance import Provenance
from activeseg.dataset.record import CaseRecord
from activeseg.dataset.relabel import Names, check_nothing_is_lost, new_names, relabelled

Images = Volume | Mapping[str, Volume]


@dataclass(frozen=True, eq=False)
class NewCase:
    """What ``Dataset.add_case`` is given, and describes."""

    images: Images
    labels: npt.NDArray[Any]
    geometry: Geometry
    provenance: Provenance
    schema: LabelSchema | None = None
    mapping: Names = field(default_factory=dict)

    def stored_images(self, channel_names: Sequence[str]) -> list[Volume]:
        """One for each channel, as the dataset keeps it. Raises InputError for images that do not fit."""
        given = {channel_names[0]: self.images} if isinstance(self.images, Volume) else dict(self.images)
        if set(given) != set(channel_names):
            raise InputError(
                f"The images {', '.join(given)} were given; the dataset needs {', '.join(channel_names)}.",
                "Give one image for each channel.",
            )
        for channel, image in given.items():
            if not image.geometry.same_voxels(self.geometry):
                raise InputError(
                    f"The image '{channel}' and the label map lie on different grids.",
                    "Resample one of them to the other's grid.",
                )
        given = {channel: image.in_order_of(self.geometry) for channel, image in given.items()}
        return [voxels.stored_image(given[channel], channel) for channel in channel_names]

    def labels_in(self, own: LabelSchema) -> npt.NDArray[Any]:
        """The label map in the dataset's values. Raises InputError, DatasetError when something would be lost."""
        schema = self.schema or own
        check_label_map(self.labels, schema, self.geometry.shape_kji, "The label map")
        if self.labels.size and self.labels.min() == schema.ignore_value:
            raise InputError(
                "Every voxel of the label map is ignored: nothing could be learned from this case.",
                "Review a region, draw something, or let more of the case count as truth.",
            )
        if self.schema is None:
            return self.labels
        check_nothing_is_lost(self.labels, schema, own, self.mapping)
        return relabelled(self.labels, schema, own, self.mapping)

    def check_decided(self, own: LabelSchema) -> None:
        """Refuse a label map that says nothing about some structures: it would teach that they are absent."""
        source = self.schema or own
        decided = source.names if self.provenance.decided is None else self.provenance.decided
        names = new_names(source, own, self.mapping)
        missing = set(own.names) - {names[name] for name in decided if name in names}
        if missing:
            shown = [name for name in own.names if name in missing]
            raise DatasetError(
                f"{len(shown)} of the dataset's {len(own)} structures were not looked for in this label map: "
                f"{', '.join(shown[:5])}{' ...' if len(shown) > 5 else ''}.",
                "Segment again with all structures of the dataset, or use a dataset of only those that were decided.",
                missing=shown,
            )


@dataclass(frozen=True)
class Saved:
    """What storing a case did; ``added`` is False when it became a new revision of a case that was there."""

    name: str
    revision: int
    added: bool

    def sentence(self) -> str:
        if self.added:
            return f"Stored as {self.name}."
        return f"This image is {self.name} already: its label map is updated (revision {self.revision})."


@dataclass(frozen=True)
class OpenedCase:
    """A case as it was given: images by channel and label map in the image's own geometry (``ignore`` included)."""

    name: str
    images: Mapping[str, Volume]
    labels: Volume
    record: CaseRecord
    waiting: tuple[str, ...]
