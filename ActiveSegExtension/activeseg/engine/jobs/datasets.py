"""The jobs about datasets: export a correction, add truth, show, verify, open, remove, migrate, create."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from activeseg.core.correction import RegionState, Review
from activeseg.core.errors import InputError, Notice
from activeseg.core.geometry import Geometry
from activeseg.core.hounsfield_units import doubts
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.corrections.drafts import Base, Draft
from activeseg.corrections.exporting import export_correction
from activeseg.dataset import Dataset
from activeseg.dataset.migration import migrate_dataset
from activeseg.dataset.recovery import recover_dataset
from activeseg.dataset.truth import Mapped, Truth, check_values_of, read_truth
from activeseg.dataset.verification import verify_dataset
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.params import Params, WrongParams
from activeseg.engine.worker.worker import Job
from activeseg.io import npy


def export(job: Job, kept: Kept) -> dict[str, Any]:
    """Store a correction in a dataset, of a prediction folder or of a draft; see ``export_correction``."""
    from activeseg.engine.jobs.images import read_image

    with job.params as params:
        folder, draft = params.optional_path("prediction"), params.optional_path("draft")
        if (folder is None) == (draft is None):
            raise WrongParams("Give either 'prediction' or 'draft'.")
        dataset, store = params.path("dataset"), params.flag("store", True)
        edited = params.any("edited")
        images = params.mapping("images") or None
        review = params.choice("review", Review, Review.REGIONS)
        states = _states(params.mapping("states"))
        mapping = params.names("mapping") or None
        case = params.text("case") if params.has("case") else None
        annotator, notes = params.text("annotator", ""), params.text("notes", "")
        patient = params.text("patient", "")
        seconds, private = params.number("seconds"), params.optional_path("private_dir")
    job.progress("read", 0.0)
    volumes = None if images is None else {name: read_image(image, job.notice) for name, image in images.items()}
    base: Base | Path
    if draft is not None:
        opened = Draft.open(draft)
        base, volumes = opened.read_base(), opened.read_images() if volumes is None else volumes
    else:
        assert folder is not None
        base = folder
    exported = export_correction(
        base,
        _edited(edited),
        dataset,
        images=volumes,
        review=review,
        states=states,
        mapping=mapping,
        case=case,
        annotator=annotator,
        seconds=seconds,
        notes=notes,
        patient=patient,
        private_dir=private,
        store=store,
        progress=job.progress,
    )
    return exported.to_dict()


def create(job: Job, kept: Kept) -> dict[str, Any]:
    """Make an empty dataset."""
    with job.params as params:
        folder, schema = params.path("dataset"), LabelSchema.from_dict(params.mapping("schema"))
        channels, private = params.texts("channels") or ("CT",), params.optional_path("private_dir")
    dataset = Dataset.create(folder, schema, channels, private_dir=private)
    return {"dataset": str(dataset.folder)}


def show(job: Job, kept: Kept) -> dict[str, Any]:
    """Schema and cases, from the listing alone, and what lies in the folder besides; nothing is changed."""
    with job.params as params:
        dataset = _open(params, only_look=True)
    unlisted = dataset.unlisted()
    return {
        "dataset": str(dataset.folder),
        "schema": dataset.schema.to_dict(),
        "channels": list(dataset.channel_names),
        "cases": {
            name: {"revision": entry.revision, "waiting": list(entry.waiting)}
            for name, entry in dataset.cases().items()
        },
        "unlisted": unlisted.cases,
        "notice": unlisted.sentence(),
    }


def add(job: Job, kept: Kept) -> dict[str, Any]:
    """Store an image with a label map that is known to be true."""
    from activeseg.engine.jobs.images import read_image

    with job.params as params:
        dataset = _open(params)
        images, labels = params.images(), params.any("labels")
        schema = LabelSchema.from_dict(params.mapping("schema")) if params.has("schema") else None
        mapping = params.names("mapping") or None
        decided = params.texts("decided") or None
        case = params.text("case") if params.has("case") else None
        twice = params.flag("same_image_again")
    job.progress("read", 0.0)
    volumes = {name: read_image(image, job.notice) for name, image in images.items()}
    for sentence in doubts(volumes):
        job.notice(sentence)
    if isinstance(labels, Mapping):
        truth = Truth(npy.read_volume(labels), schema or dataset.schema, mapping or {})
    else:
        truth = _truth(labels, next(iter(volumes.values())).geometry, schema, dataset, mapping or {}, job.notice)
        check_values_of(dataset, volumes, truth, Path(labels).name)
    for sentence in truth.sentences:
        job.notice(sentence)
    saved = dataset.add_truth(
        volumes,
        truth.labels,
        case,
        schema=truth.schema,
        mapping=truth.mapping,
        decided=decided,
        source={name: image for name, image in images.items() if isinstance(image, str)},
        same_image_again=twice,
        progress=job.progress,
    )
    return {"dataset": str(dataset.folder), "case": saved.name, "revision": saved.revision, "added": saved.added}


def sweep(job: Job, kept: Kept) -> dict[str, Any]:
    """Remove what writers that were killed are known to have left; cases that are not listed stay."""
    with job.params as params:
        dataset = _open(params)
    return {"dataset": str(dataset.folder), "swept": list(dataset.swept)}


def recover(job: Job, kept: Kept) -> dict[str, Any]:
    """Take back what is not listed, and a damaged listing; see ``Dataset.recover``."""
    with job.params as params:
        folder, private = params.path("dataset"), params.optional_path("private_dir")
        channels = params.texts("channels")
    done = recover_dataset(folder, channel_names=channels, private_dir=private, progress=job.progress)
    return {
        "dataset": str(done.folder),
        "listed": dict(done.listed),
        "lost": dict(done.lost),
        "set_aside": list(done.set_aside),
        "rebuilt": done.rebuilt,
        "sentences": list(done.sentences()),
    }


def folder(job: Job, kept: Kept) -> dict[str, Any]:
    """The folder that is meant by a typed one, as nnU-Net allows it, before anything is written."""
    from activeseg.dataset.layout import LISTING, real_folder

    with job.params as params:
        typed = params.path("dataset")
    meant = real_folder(typed)
    return {"dataset": str(meant), "exists": (meant / LISTING).is_file()}


def verify(job: Job, kept: Kept) -> dict[str, Any]:
    """Read everything; ``findings`` is empty when all is well."""
    with job.params as params:
        dataset = _open(params, only_look=True)
    return {
        "dataset": str(dataset.folder),
        "findings": [finding.to_dict() for finding in verify_dataset(dataset, job.progress)],
    }


def open_case(job: Job, kept: Kept) -> dict[str, Any]:
    """Images and label map of a case as files, in the geometry in which they were given."""
    with job.params as params:
        dataset, case = _open(params, only_look=True), params.text("case")
    job.progress("read", 0.0)
    opened = dataset.open_case(case)
    images = {}
    for number, (channel, volume) in enumerate(opened.images.items()):
        job.progress("write", number / (len(opened.images) + 1))
        images[channel] = npy.volume_message(job.folder / f"image{number}.npy", volume)
    return {
        "case": opened.name,
        "images": images,
        "labels": npy.volume_message(job.folder / "labels.npy", opened.labels),
        "schema": dataset.schema.to_dict(),
        "waiting": list(opened.waiting),
        "revision": opened.record.current.number,
    }


def remove(job: Job, kept: Kept) -> dict[str, Any]:
    """Remove a case with its history."""
    with job.params as params:
        dataset, case = _open(params), params.text("case")
    job.progress("remove", 0.0)
    dataset.remove_case(case)
    return {"dataset": str(dataset.folder), "case": case}


def migrate(job: Job, kept: Kept) -> dict[str, Any]:
    """A new dataset with another schema; the old one stays."""
    with job.params as params:
        dataset, target = _open(params), params.path("target")
        schema, rename = LabelSchema.from_dict(params.mapping("schema")), params.names("rename") or None
        private = params.optional_path("private_dir")
    new = migrate_dataset(dataset, target, schema, rename, private_dir=private, progress=job.progress)
    return {"dataset": str(new.folder), "cases": len(new.cases())}


def _open(params: Params, only_look: bool = False) -> Dataset:
    private = params.optional_path("private_dir")
    return Dataset.open(params.path("dataset"), private_dir=private, only_look=only_look)


def _states(message: Mapping[str, Any]) -> dict[int, RegionState]:
    """JSON's keys are texts: region number -> state."""
    try:
        return {int(number): RegionState(state) for number, state in message.items()}
    except ValueError as error:
        raise WrongParams(f"'states' is not region number -> state: {error}.") from error


def _edited(edited: Any) -> Path | Volume:
    """The path of a label map or ``.seg.nrrd``, or the label map of a scene: an array with its geometry."""
    if isinstance(edited, Mapping):
        return npy.read_volume(edited)
    if not isinstance(edited, str) or not edited:
        raise WrongParams("'edited' must be a path, or an array file with its geometry.")
    return Path(edited).expanduser().absolute()


def _truth(
    labels: Any, grid: Geometry, schema: LabelSchema | None, dataset: Dataset, mapping: Mapped, notice: Notice
) -> Truth:
    """A label map in the values of ``schema`` (the dataset's where the client names none), or a ``.seg.nrrd``."""
    if not isinstance(labels, str):
        raise InputError("'labels' must be a path, or an array file with its geometry.")
    path = Path(labels).expanduser()
    truth = read_truth(path, grid, schema or dataset.schema, (), mapping, notice)
    return truth if schema is None else replace(truth, doubtful=False)
