"""Uncorrected images, with the current version's result as label: they keep what the model can do already."""

from __future__ import annotations

from collections.abc import Mapping

from activeseg.core.errors import InputError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.voxels import stored_image, voxels_sha256
from activeseg.learning.measuring.evaluation import in_dataset_values
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import REPLAY, Project
from activeseg.predictions.make_prediction import segment

FOLDER = "Dataset998_Replay"


def add_replay(project: Project, images: Volume | Mapping[str, Volume], device: str, progress: Progress) -> str:
    """Segment a case with the current version and keep both; gives its name among the replayed ones.

    ``images`` are by channel; one alone is that of the first. Raises InputError for a case of the dataset (it may be
    held out) and for a missing channel, ModelError, Cancelled.
    """
    dataset, state = project.dataset(), project.state
    given = {dataset.channel_names[0]: images} if isinstance(images, Volume) else dict(images)
    missing = [name for name in dataset.channel_names if name not in given]
    if missing:
        raise InputError(f"A case has the images {', '.join(dataset.channel_names)}; '{missing[0]}' is missing.")
    fingerprint = voxels_sha256([stored_image(given[name], name) for name in dataset.channel_names])
    if any(entry.voxels_sha256 == fingerprint for entry in dataset.cases().values()):
        raise InputError("This image is a case of the dataset already.", "Replay other images.")
    segmenter = open_version(project, state.current)
    of_model = dict(zip(segmenter.channels, (given[name] for name in dataset.channel_names), strict=True))
    prediction = segment(of_model, segmenter, Settings(device=device), regions=0, progress=progress)
    labels = in_dataset_values(prediction, dataset, state.matching)
    folder = project.folder / REPLAY / FOLDER
    with Dataset.opened_or_created(folder, dataset.schema, dataset.channel_names) as replayed:
        provenance = Provenance(Origin.PREDICTED, segmenter.name, state.current)
        geometry = given[dataset.channel_names[0]].geometry
        return replayed.add_case(NewCase(given, labels, geometry, provenance)).name
