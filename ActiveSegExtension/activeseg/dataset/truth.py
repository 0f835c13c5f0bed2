"""Label maps that are true and come as files: which structures their segments or values are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from activeseg.core.errors import InputError, Notice
from activeseg.core.geometry import Geometry
from activeseg.core.label_values import check_values
from activeseg.core.labels import IGNORE, Color, LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase
from activeseg.io.images import read_label_map
from activeseg.io.seg_nrrd import SegmentationFile, is_segmentation_file

Mapped = Mapping[str, str | None]


@dataclass(frozen=True)
class Truth:
    """A label map with the schema of its values.

    Attributes
    ----------
    mapping : what is still to be mapped when it goes into a dataset: structure of ``schema`` -> structure there
    sentences : what the user should read about it
    doubtful : the meaning of the values is unknown, so that they may be other structures' than the dataset's
    """

    labels: Volume
    schema: LabelSchema
    mapping: Mapped = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    doubtful: bool = False

    def case(self, images: Mapping[str, Volume], decided: Sequence[str] | None = None) -> NewCase:
        """With its images, by channel. Raises InputError without one."""
        case = NewCase.of_truth(images, self.labels, decided)
        return replace(case, schema=self.schema, mapping=self.mapping)


def read_truth(
    path: Path, grid: Geometry, known: LabelSchema | None, names: Sequence[str], mapping: Mapped, notice: Notice
) -> Truth:
    """Read a label map, or a ``.seg.nrrd`` (brought to ``grid``, that of the image).

    Parameters
    ----------
    known : the schema of the dataset; None when it is to be made
    names : what the values 1, 2, ... of a label map are; empty: what ``known`` says. Segments have their own names
    mapping : segment or structure -> structure of the dataset, or None to leave it out

    Raises InputError when it is not known what segments or values are.
    """
    if is_segmentation_file(path):
        if names:
            raise InputError(f"'{path.name}' names its segments itself.", "Do not name its structures.")
        return _from_segments(path, grid, known, mapping, notice)
    schema = LabelSchema.from_names(names) if names else known
    if schema is None:
        raise InputError(
            "A new dataset needs to know what the values of the label map are.",
            "Name the structures of the values 1, 2, and so on.",
        )
    return Truth(read_label_map(path, notice=notice), schema, mapping, doubtful=not names)


def _from_segments(path: Path, grid: Geometry, known: LabelSchema | None, mapping: Mapped, notice: Notice) -> Truth:
    """A new dataset gets the segments' names and colours as its schema."""
    file = SegmentationFile.read(path, notice=notice)
    schema = known
    if schema is None:
        mapping = {s.id: mapping.get(s.name, mapping.get(s.id, s.name)) for s in file.segments}
        colors: dict[str, Color] = {}
        for segment in file.segments:
            name = mapping[segment.id]
            if name and name != IGNORE:
                red, green, blue = (round(255 * part) for part in segment.color)
                colors.setdefault(name, (red, green, blue))
        if not colors:
            raise InputError(
                f"'{path.name}' has no segments, which a new dataset needs as its structures.",
                "Begin with a case that has some, or make the dataset for the structures first.",
            )
        schema = LabelSchema.from_names(colors, colors)
    edited = file.label_map(grid, schema, mapping=mapping)
    return Truth(Volume(edited.labels, grid), schema, sentences=edited.sentences())


def check_values_of(dataset: Dataset, images: Mapping[str, Volume], truth: Truth, file: str) -> None:
    """Where the image is a case already: raise DoubtfulValues when its structures have other values now."""
    if not truth.doubtful:
        return
    case = truth.case(images)
    name = dataset.check_case(case)
    if name is not None:
        stored = dataset.open_case(name).labels
        check_values(stored.in_order_of(case.geometry).array, case.labels, dataset.schema, file)
