"""Images that nobody corrected, with the current version's result as label: they keep what the model can do already."""

from __future__ import annotations

from activeseg.dataset import Dataset, Origin, Provenance
from activeseg.dataset.voxels import stored_image, voxels_sha256
from activeseg.errors import InputError
from activeseg.learning.evaluation import in_dataset_values
from activeseg.learning.parent import open_version
from activeseg.learning.project import REPLAY, Project
from activeseg.progress import Progress
from activeseg.segment import segment
from activeseg.segmenters.base import Settings
from activeseg.volume import Volume

FOLDER = "Dataset998_Replay"


def add_replay(project: Project, image: Volume, device: str, progress: Progress) -> str:
    """Segment an image with the current version and keep both; gives its name among the replayed ones.

    Raises InputError for an image that is a case of the dataset (it may be held out), ModelError, Cancelled.
    """
    dataset, state = project.dataset(), project.state
    fingerprint = voxels_sha256([stored_image(image, dataset.channel_names[0])])
    if any(entry.voxels_sha256 == fingerprint for entry in dataset.cases().values()):
        raise InputError("This image is a case of the dataset already.", "Replay other images.")
    segmenter = open_version(project, state.current)
    (channel,) = segmenter.channels
    prediction = segment({channel: image}, segmenter, Settings(device=device), regions=0, progress=progress)
    labels = in_dataset_values(prediction, dataset, state.matching)
    folder = project.folder / REPLAY / FOLDER
    with Dataset.opened_or_created(folder, dataset.schema, dataset.channel_names) as replayed:
        provenance = Provenance(Origin.PREDICTED, segmenter.name, state.current)
        own = dataset.channel_names[0]
        return replayed.add_case({own: image}, labels, image.geometry, provenance).name
