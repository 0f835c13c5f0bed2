"""Corrections into a dataset: a prediction, what the user made of it, and which voxels are used as ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from activeseg.core.correction import Correction, RegionState, Review
from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.label_map import check_label_map, label_counts
from activeseg.core.label_values import check_values, renamed_values
from activeseg.core.labels import IGNORE, LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import NOT_WRITTEN, to_json
from activeseg.core.segments.layers import Layer
from activeseg.core.volume import Volume
from activeseg.corrections.opened import Base, OpenedLabels
from activeseg.dataset import Dataset, NewCase, Provenance, Saved
from activeseg.dataset.layout import find_dataset, folder_to_create
from activeseg.dataset.training_labels import TrainingSummary, label_for_training
from activeseg.io.images import read_label_map, read_volume
from activeseg.io.seg_nrrd import SegmentationFile, is_segmentation_file, to_grid
from activeseg.predictions.prediction import Prediction

Mapped = Mapping[str, str | None]


@dataclass(frozen=True, eq=False)
class CorrectedCase:
    """What a person made of a prediction, or of an opened case, and what they say about it.

    Attributes
    ----------
    base
        A prediction, the folder that ``segment`` wrote, or a case of a dataset that was opened to correct it further.
    edited
        File of a label map or ``.seg.nrrd``, which is checked (``read_edited``); or the label map on the CT's grid, in
        the values of the base's schema.
    images
        What was segmented, by channel; None reads it from where it was.
    review
        Which unreviewed voxels are used as ground truth. After a run for all structures ``all`` also says that a
        structure which the model does not know, and which was not drawn, is absent. In an opened case everything else
        stays as it was in the dataset, also what it ignores.
    states
        States of the regions, by number; an edit inside a region makes it corrected in any case.
    mapping
        What segments or values are that cannot be told (``read_edited``).
    case
        Neutral name; None takes the next free one. The same image again updates its case.
    annotator
        Kept in the provenance.
    seconds
        How long the correction took.
    notes
        Kept in the provenance; must not tell who the patient is.
    patient
        Whose image it is, so that a project keeps all images of a patient on one side; goes to the private file only.
    """

    base: Base | Path
    edited: Path | Volume
    images: Mapping[str, Volume] | None = None
    review: Review = Review.REGIONS
    states: Mapping[int, RegionState] = field(default_factory=dict)
    mapping: Mapped = field(default_factory=dict)
    case: str | None = None
    annotator: str = ""
    seconds: float | None = None
    notes: str = ""
    patient: str = ""


@dataclass(frozen=True)
class Exported:
    """What ``export_correction`` stored, or would have, and what the user should read about it.

    ``saved`` is None when nothing was to be stored.
    """

    ALSO_WRITTEN: ClassVar = ("case", "revision", "added")
    dataset: Path
    saved: Saved | None = field(metadata=NOT_WRITTEN)
    correction: Correction
    training: TrainingSummary
    sentences: tuple[str, ...]

    @property
    def case(self) -> str | None:
        return self.saved.name if self.saved else None

    @property
    def revision(self) -> int | None:
        return self.saved.revision if self.saved else None

    @property
    def added(self) -> bool | None:
        return self.saved.added if self.saved else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; structures that stayed as they were are left out."""
        return {**to_json(self), "correction": self.correction.to_dict()}


@dataclass(frozen=True)
class Edited:
    """The user's label map (k, j, i) on the CT's grid, in the base's schema, and what reading it noticed."""

    labels: npt.NDArray[Any]
    sentences: tuple[str, ...]


def read_edited(path: Path, base: Base, mapping: Mapped | None = None) -> Edited:
    """A label map on any grid, or a ``.seg.nrrd`` from Slicer.

    ``mapping`` says what unclear segments are (name or id -> structure, None: leave out), or values of a label map.

    Raises InputError when a segment or value is no structure of the model, DoubtfulValues (an InputError) when the
    values of a label map seem to be other structures' than the model's.
    """
    ct = base.labels.geometry
    if is_segmentation_file(path):
        found = SegmentationFile.read(path).label_map(ct, base.schema, predicted=base.labels.array, mapping=mapping)
        return Edited(found.labels, found.sentences())
    volume = read_label_map(path)
    labels, said = renamed_values(volume.array, base.schema, mapping or {}, path.name)
    check_label_map(labels, base.schema, volume.geometry.shape_kji, f"The label map '{path.name}'")
    labels, told = _on_grid(Volume(labels, volume.geometry), ct, base.schema)
    check_values(base.labels.array, labels, base.schema, path.name, said)
    return Edited(labels, told)


def _on_grid(volume: Volume, ct: Geometry, schema: LabelSchema) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """A label map on the CT's grid, and what the user should read about that."""
    if volume.geometry.same_voxels(ct):
        return volume.in_order_of(ct).array, ()
    brought = volume.resample_labels_to(ct).array
    values = np.flatnonzero(label_counts(volume.array, schema))[1:].tolist()
    layer = Layer.resampled(
        brought,
        (0, 0, 0),
        dict(zip(values, values, strict=True)),
        volume.array,
        to_grid(volume.geometry, ct),
        brought.shape,
    )
    told = ["The label map was brought to the CT's grid (nearest neighbour)."]
    told += [
        f"'{schema.name_of(value)}' has {voxels} voxels outside of the CT; they are cut off."
        for value, voxels in layer.lost.items()
    ]
    told += [
        f"'{schema.name_of(value)}' is too small for the CT's voxels: nothing of it is left."
        for value in sorted(layer.unseen)
    ]
    return brought, tuple(told)


def read_images(prediction: Prediction) -> dict[str, Volume]:
    """The images that were segmented, from where they were. Raises InputError when one is gone or has changed."""
    images = {}
    for channel, image in prediction.images.items():
        path = Path(image["path"])
        if not image["path"] or not path.exists():
            raise InputError(
                f"The image of channel '{channel}' is no longer at '{image['path']}'.",
                "Say where it is now.",
                setting="image",
            )
        images[channel] = read_volume(path, image.get("series"))
    return images


def check_images(prediction: Prediction, images: Mapping[str, Volume]) -> None:
    """Raise InputError unless these are the images that were segmented."""
    for channel, image in prediction.images.items():
        if channel not in images:
            raise InputError(
                f"The image of channel '{channel}' is missing.",
                f"Give the image of channel '{channel}', too.",
                setting="channel",
            )
        if images[channel].sha256() != image["sha256"]:
            raise InputError(
                f"The image of channel '{channel}' is not the one that was segmented (its voxels or place differ).",
                "Give the same image, or segment this one.",
            )


def export_correction(
    corrected: CorrectedCase,
    dataset: Path,
    *,
    private_dir: Path | None = None,
    store: bool = True,
    progress: Progress | None = None,
) -> Exported:
    """Store one corrected case in a dataset; a dataset that is not there is made for the structures decided.

    Parameters
    ----------
    corrected
        The case.
    dataset
        nnU-Net raw dataset folder (``Dataset801_Name``).
    private_dir
        Where the private file lies; None: in the user's own folder.
    store
        False only says what would be stored; nothing on disk changes.
    progress
        Told of the stages ``compare`` and ``store``.

    Raises
    ------
    InputError, DatasetError, Cancelled
        Then the dataset is as it was.
    """
    progress = progress or Progress()
    base, images, review = corrected.base, corrected.images, corrected.review
    if isinstance(base, Path):
        base = Prediction.load(base)
    if isinstance(base, Prediction):
        images = read_images(base) if images is None else images
        check_images(base, images)
    elif images is None:
        raise InputError("The image of the opened case is missing.", "Give it.")
    progress("compare", 0.1)
    edited = corrected.edited
    found = read_edited(edited, base, corrected.mapping) if isinstance(edited, Path) else _as_given(edited, base)
    regions = _with_states(base, corrected.states)
    before, geometry, schema = base.labels.array, base.labels.geometry, base.schema
    correction = Correction.between(
        before,
        found.labels,
        geometry,
        schema,
        regions=regions,
        annotator=corrected.annotator,
        seconds=corrected.seconds,
        notes=corrected.notes,
    )
    progress("compare", 0.3)
    predicted = base if isinstance(base, Prediction) else None
    labels, training = label_for_training(
        found.labels,
        before,
        schema,
        review if predicted else Review.ALL,
        geometry,
        uncertainty=predicted.uncertainty if predicted else None,
        threshold=predicted.threshold if predicted else 0.0,
        regions=regions,
    )
    decided = _decided_now(base, found.labels)
    if predicted and review is Review.ALL and not predicted.settings.structures:
        decided = base.schema.names
    new = NewCase(
        images,
        labels,
        geometry,
        _provenance(base, correction, training, decided),
        corrected.case,
        schema,
        _left_out(schema, decided),
        _source(predicted, corrected.patient),
    )
    about_rest = training.sentences() if predicted else _about_opened(labels, schema, review)
    told = (*found.sentences, *correction.sentences(), *about_rest)
    progress("store", 0.5)
    if not store:
        where, sentence = _looked(new, dataset, private_dir)
        return Exported(where, None, correction, training, (*told, sentence))
    own = _schema_of(schema, decided)
    with Dataset.opened_or_created(dataset, own, tuple(images), private_dir=private_dir) as target:
        saved = target.add_case(new, progress.part(0.5, 1.0))
    return Exported(target.folder, saved, correction, training, (*told, saved.sentence()))


def _looked(new: NewCase, folder: Path, private_dir: Path | None) -> tuple[Path, str]:
    """The dataset's folder, and a sentence on what storing the case would do; raises as that does."""
    if find_dataset(folder) is None:
        made = folder_to_create(folder)
        return made, f"The dataset '{made.name}' will be made, with this as its first case."
    target = Dataset.open(folder, private_dir=private_dir, only_look=True)
    known = target.check_case(new)
    if known:
        return target.folder, f"This image is {known} already: its label map will be updated."
    return target.folder, "It will be a new case."


def _as_given(labels: Volume, base: Base) -> Edited:
    """A label map that our own code made on the CT's grid."""
    if not labels.geometry.same_voxels(base.labels.geometry):
        raise InputError("The edited label map lies on another grid than the CT.", "Read it from the scene again.")
    return Edited(labels.in_order_of(base.labels.geometry).array, ())


def _provenance(base: Base, correction: Correction, training: TrainingSummary, decided: tuple[str, ...]) -> Provenance:
    sha256 = base.labels.sha256()
    if isinstance(base, OpenedLabels):
        return Provenance.of_correction(correction, training, decided=decided, prediction_sha256=sha256)
    settings = {**to_json(base.settings), "measure": base.measure, "threshold": base.threshold}
    return Provenance.of_correction(
        correction, training, decided=decided, model=base.model, settings=settings, prediction_sha256=sha256
    )


def _source(predicted: Prediction | None, patient: str) -> dict[str, Any] | None:
    """For the private file; None leaves what it says."""
    if predicted is None:
        return None
    source: dict[str, Any] = {channel: dict(image) for channel, image in predicted.images.items()}
    return {**source, "patient": patient} if patient else source


def _about_opened(labels: npt.NDArray[Any], schema: LabelSchema, review: Review) -> tuple[str, ...]:
    """What the user should read about voxels of an opened case that he left as they were."""
    told = ("What you did not change stays as it was in the dataset.",)
    ignored = int(label_counts(labels, schema)[schema.ignore_value])
    if review is not Review.ALL or not ignored:
        return told
    return (
        f"{ignored} voxels stay ignored although all was reviewed: the dataset does not keep what they were. "
        f"Give the voxels of '{IGNORE}' to a structure or erase them, and they count.",
        *told,
    )


def _with_states(base: Base, states: Mapping[int, RegionState]) -> list[Any]:
    listed = base.regions
    numbers = {region.number for region in listed}
    unknown = sorted(set(states) - numbers)
    if unknown:
        raise InputError(f"There is no region {unknown[0]}.", f"There are {len(numbers)} regions, numbered from 1.")
    return [replace(region, state=states.get(region.number, region.state)) for region in listed]


def _decided_now(base: Base, edited: npt.NDArray[Any]) -> tuple[str, ...]:
    """What the run decided, and what the user drew besides."""
    drawn = {base.schema.name_of(int(v)) for v in np.unique(edited) if 0 < v <= len(base.schema)}
    return tuple(name for name in base.schema.names if name in base.decided or name in drawn)


def _left_out(schema: LabelSchema, decided: tuple[str, ...]) -> dict[str, None]:
    """Structures that were not looked for are not in the label map; the dataset need not know them."""
    return {name: None for name in schema.names if name not in decided}


def _schema_of(schema: LabelSchema, decided: tuple[str, ...]) -> LabelSchema:
    """A schema for a new dataset: the structures that were decided."""
    kept = [label for label in schema.labels if label.name in decided]
    return LabelSchema(tuple(replace(label, value=value) for value, label in enumerate(kept, start=1)))
