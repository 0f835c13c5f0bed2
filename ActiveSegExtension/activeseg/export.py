"""Corrections into a dataset: a prediction, what the user made of it, and what of that counts as truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from activeseg.corrections import Correction, RegionState, Review
from activeseg.dataset import Dataset, Provenance, Saved
from activeseg.errors import InputError
from activeseg.labels import LabelSchema
from activeseg.prediction import Prediction
from activeseg.progress import Progress
from activeseg.segmentation_file import SegmentationFile, is_segmentation_file
from activeseg.training_labels import TrainingSummary, label_for_training
from activeseg.volume import Volume, read_label_map

Mapped = Mapping[str, str | None]


@dataclass(frozen=True)
class Exported:
    """What ``export_correction`` stored, and what the user should read about it."""

    dataset: Path
    saved: Saved
    correction: Correction
    training: TrainingSummary
    sentences: tuple[str, ...]

    @property
    def case(self) -> str:
        return self.saved.name

    def to_dict(self) -> dict[str, Any]:
        return {
            "dataset": str(self.dataset),
            "case": self.saved.name,
            "revision": self.saved.revision,
            "added": self.saved.added,
            "correction": self.correction.to_dict(),
            "training": self.training.to_dict(),
            "sentences": list(self.sentences),
        }


@dataclass(frozen=True)
class Edited:
    """The user's label map (k, j, i) on the CT's grid, in the prediction's schema, and what reading it noticed."""

    labels: npt.NDArray[Any]
    sentences: tuple[str, ...]


def read_edited(path: Path, prediction: Prediction, mapping: Mapped | None = None) -> Edited:
    """A label map on any grid, or a ``.seg.nrrd`` from Slicer; ``mapping`` says what unclear segments are.

    Raises InputError when a segment or value is no structure of the prediction's model.
    """
    ct = prediction.labels.geometry
    if is_segmentation_file(path):
        found = SegmentationFile.read(path).label_map(
            ct, prediction.schema, predicted=prediction.labels.array, mapping=mapping
        )
        return Edited(found.labels, found.sentences())
    if mapping:
        raise InputError(f"'{path.name}' is a label map, which has no segments to map.", "Leave --map out.")
    volume = read_label_map(path)
    told = () if volume.geometry.same_grid(ct) else ("The label map was brought to the CT's grid (nearest neighbour).",)
    return Edited(volume.resample_labels_to(ct).array, told)


def read_images(prediction: Prediction) -> dict[str, Volume]:
    """The images that were segmented, from where they were. Raises InputError when one is gone or has changed."""
    images = {}
    for channel, image in prediction.images.items():
        path = Path(image["path"])
        if not image["path"] or not path.exists():
            raise InputError(
                f"The image of channel '{channel}' is no longer at '{image['path']}'.", "Give it with --image."
            )
        images[channel] = Volume.read(path, image.get("series"))
    return images


def check_images(prediction: Prediction, images: Mapping[str, Volume]) -> None:
    """Raise InputError unless these are the images that were segmented."""
    for channel, image in prediction.images.items():
        if channel not in images:
            raise InputError(f"The image of channel '{channel}' is missing.", f"Give it with --channel {channel}=FILE.")
        if images[channel].sha256() != image["sha256"]:
            raise InputError(
                f"The image of channel '{channel}' is not the one that was segmented (its voxels or place differ).",
                "Give the same image, or segment this one.",
            )


def export_correction(
    prediction: Prediction | Path,
    edited: Path,
    dataset: Path,
    *,
    images: Mapping[str, Volume] | None = None,
    review: Review = Review.REGIONS,
    states: Mapping[int, RegionState] | None = None,
    mapping: Mapped | None = None,
    case: str | None = None,
    annotator: str = "",
    seconds: float | None = None,
    notes: str = "",
    private_dir: Path | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Store one corrected case in a dataset; a dataset that is not there is made for the structures decided.

    Parameters
    ----------
    prediction : or the folder that ``segment`` wrote
    edited : label map or ``.seg.nrrd``
    dataset : nnU-Net raw dataset folder (``Dataset801_Name``)
    images : what was segmented, by channel; None reads it from where it was
    review : what counts as truth of that which nobody looked at (design section 7)
    states : what became of the regions, by number; an edit inside a region makes it corrected in any case
    case : neutral name; None takes the next free one. The same image again updates its case

    Raises
    ------
    InputError, DatasetError, Cancelled; then the dataset is as it was.
    """
    progress = progress or Progress()
    if isinstance(prediction, Path):
        prediction = Prediction.load(prediction)
    images = read_images(prediction) if images is None else images
    check_images(prediction, images)
    progress("compare", 0.1)
    found = read_edited(edited, prediction, mapping)
    regions = _with_states(prediction, states or {})
    predicted, geometry, schema = prediction.labels.array, prediction.labels.geometry, prediction.schema
    correction = Correction.between(
        predicted,
        found.labels,
        geometry,
        schema,
        regions=regions,
        annotator=annotator,
        seconds=seconds,
        notes=notes,
    )
    progress("compare", 0.3)
    labels, training = label_for_training(
        found.labels,
        predicted,
        schema,
        review,
        geometry,
        uncertainty=prediction.uncertainty,
        threshold=prediction.threshold,
        regions=regions,
    )
    decided = _decided_now(prediction, found.labels)
    provenance = Provenance.of_correction(
        correction,
        training,
        model=prediction.model,
        decided=decided,
        settings={**asdict(prediction.settings), "measure": prediction.measure, "threshold": prediction.threshold},
        prediction_sha256=prediction.labels.sha256(),
    )
    own = _schema_of(schema, decided)
    with Dataset.opened_or_created(dataset, own, tuple(images), private_dir=private_dir) as target:
        progress("store", 0.5)
        saved = target.add_case(
            images,
            labels,
            geometry,
            provenance,
            case,
            schema=schema,
            mapping=_left_out(schema, decided),
            source={channel: dict(image) for channel, image in prediction.images.items()},
            progress=progress.part(0.5, 1.0),
        )
    sentences = (*found.sentences, *correction.sentences(), *training.sentences(), saved.sentence())
    return Exported(target.folder, saved, correction, training, sentences)


def _with_states(prediction: Prediction, states: Mapping[int, RegionState]) -> list[Any]:
    numbers = {region.number for region in prediction.regions}
    unknown = sorted(set(states) - numbers)
    if unknown:
        raise InputError(
            f"There is no region {unknown[0]}.", f"The prediction has {len(numbers)} regions, numbered from 1."
        )
    return [replace(region, state=states.get(region.number, region.state)) for region in prediction.regions]


def _decided_now(prediction: Prediction, edited: npt.NDArray[Any]) -> tuple[str, ...]:
    """What the run decided, and what the user drew besides."""
    drawn = {prediction.schema.name_of(int(v)) for v in np.unique(edited) if 0 < v <= len(prediction.schema)}
    return tuple(name for name in prediction.schema.names if name in prediction.decided or name in drawn)


def _left_out(schema: LabelSchema, decided: tuple[str, ...]) -> dict[str, None]:
    """Structures that nobody looked for are not in the label map; the dataset need not know them."""
    return {name: None for name in schema.names if name not in decided}


def _schema_of(schema: LabelSchema, decided: tuple[str, ...]) -> LabelSchema:
    """A schema for a new dataset: the structures that were decided."""
    kept = [label for label in schema.labels if label.name in decided]
    return LabelSchema(tuple(replace(label, value=value) for value, label in enumerate(kept, start=1)))
