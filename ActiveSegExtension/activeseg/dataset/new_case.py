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
from activeseg.dataset.provenance import Origin, Provenance
from activeseg.dataset.record import CaseRecord
from activeseg.dataset.relabel import Names, check_nothing_is_lost, new_names, relabelled

Images = Volume | Mapping[str, Volume]


@dataclass(frozen=True, eq=False)
class NewCase:
    """What goes into a dataset as a case of its own, or as an update of the case with the same image.

    Attributes
    ----------
    images
        One Volume for each channel (a single one may be given as it is), all on ``geometry``.
    labels
        (k, j, i), the complete label map, with ``ignore`` where it was not reviewed.
    geometry
        The grid of images and labels.
    provenance
        What is known about the label map.
    name
        None takes a neutral one (``CT_0001``). It must not tell who the patient is.
    schema
        That of ``labels`` when it is not the dataset's: values are mapped by name, ``ignore`` moves.
    mapping
        Structure of ``schema`` -> structure of the dataset, or None to leave it out.
    source
        Paths, patient id and the like; goes to the private file only. None leaves what it says.
    same_image_again
        Store a second case although the image is there already.
    """

    images: Images
    labels: npt.NDArray[Any]
    geometry: Geometry
    provenance: Provenance
    name: str | None = None
    schema: LabelSchema | None = None
    mapping: Names = field(default_factory=dict)
    source: Mapping[str, Any] | None = None
    same_image_again: bool = False

    @classmethod
    def of_truth(cls, images: Images, labels: Volume, decided: Sequence[str] | None = None) -> NewCase:
        """A label map that is known to be right; there is no prediction.

        ``decided`` names the structures that it shows where they are present; None: all. Raises InputError without an
        image.
        """
        if not images:
            raise InputError("There is no image.", "Give one for each channel.")
        grid = (images if isinstance(images, Volume) else next(iter(images.values()))).geometry
        if labels.geometry.same_voxels(grid):
            labels = labels.in_order_of(grid)
        provenance = Provenance(Origin.TRUTH, decided=None if decided is None else tuple(decided))
        return cls(images, labels.array, labels.geometry, provenance)

    def checked(self, own: LabelSchema, channel_names: Sequence[str]) -> CheckedCase:
        """As a dataset with this schema and these channels keeps it. Raises InputError, DatasetError."""
        self.check_decided(own)
        images = self.stored_images(channel_names)
        return CheckedCase(self, images, self.labels_in(own), voxels.voxels_sha256(images))

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


@dataclass(frozen=True, eq=False)
class CheckedCase:
    """A new case that fits a dataset.

    Attributes
    ----------
    case
        As it was given.
    images
        One for each channel, as the dataset keeps them.
    labels
        (k, j, i) in the dataset's values, on the grid of ``case``.
    voxels_sha256
        The fingerprint of the images, by which the same image is known again.
    """

    case: NewCase
    images: Sequence[Volume]
    labels: npt.NDArray[Any]
    voxels_sha256: str


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
