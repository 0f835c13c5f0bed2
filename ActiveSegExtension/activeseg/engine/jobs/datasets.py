"""The jobs about datasets: export a correction, add ground truth, show, verify, open, remove, migrate, create."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from activeseg.candidates.lists import listed_regions
from activeseg.client.messages.datasets import (
    DatasetAddRequest,
    DatasetAddResult,
    DatasetCreateRequest,
    DatasetCreateResult,
    DatasetFinding,
    DatasetFolderRequest,
    DatasetFolderResult,
    DatasetMigrateRequest,
    DatasetMigrateResult,
    DatasetOpenRequest,
    DatasetOpenResult,
    DatasetRecoverRequest,
    DatasetRecoverResult,
    DatasetRemoveRequest,
    DatasetRemoveResult,
    DatasetShowRequest,
    DatasetShowResult,
    DatasetSweepRequest,
    DatasetSweepResult,
    DatasetVerifyRequest,
    DatasetVerifyResult,
    ExportRequest,
    ExportResult,
    ListedCase,
)
from activeseg.client.messages.images import ArrayFile
from activeseg.core.errors import ActiveSegError
from activeseg.core.hounsfield_units import doubts
from activeseg.core.labels import LabelSchema
from activeseg.core.records import to_json
from activeseg.corrections.drafts import Draft
from activeseg.corrections.exporting import CorrectedCase, export_correction
from activeseg.corrections.opened import Base
from activeseg.dataset import Dataset
from activeseg.dataset.migration import migrate_dataset
from activeseg.dataset.recovery import recover_dataset
from activeseg.dataset.truth import Truth, check_values_of, read_truth
from activeseg.dataset.verification import verify_dataset
from activeseg.engine.jobs.images import read_image
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.worker import Job
from activeseg.predictions.region_files import write_regions
from activeseg.review.regions import FoundRegion


class _OfDataset(Protocol):
    """A request about a dataset."""

    @property
    def dataset(self) -> Path: ...
    @property
    def private_dir(self) -> Path | None: ...


def export(request: ExportRequest, job: Job, kept: Kept) -> ExportResult:
    """Store a correction in a dataset, of a prediction folder or of a draft; see ``export_correction``."""
    job.progress("read", 0.0)
    given = request.images
    base: Base | Path | None = request.prediction
    volumes = {name: read_image(image, job.notice) for name, image in given.items()} if given else None
    if request.draft is not None:
        opened = Draft.open(request.draft)
        base, volumes = opened.read_base(), opened.read_images() if volumes is None else volumes
    assert base is not None
    corrected = CorrectedCase(
        base,
        request.edited.read() if isinstance(request.edited, ArrayFile) else request.edited,
        volumes,
        review=request.review,
        states=request.states,
        mapping=request.mapping,
        case=request.case,
        annotator=request.annotator,
        seconds=request.seconds,
        notes=request.notes,
        patient=request.patient,
    )
    exported = export_correction(
        corrected, request.dataset, private_dir=request.private_dir, store=request.store, progress=job.progress
    )
    return ExportResult(
        dataset=exported.dataset,
        case=exported.case,
        revision=exported.revision,
        added=exported.added,
        correction=exported.correction.to_dict(),
        training=exported.training.to_dict(),
        sentences=exported.sentences,
    )


def create(request: DatasetCreateRequest, job: Job, kept: Kept) -> DatasetCreateResult:
    """Make an empty dataset."""
    schema, channels = LabelSchema.from_dict(request.schema), request.channels or ("CT",)
    return DatasetCreateResult(
        dataset=Dataset.create(request.dataset, schema, channels, private_dir=request.private_dir).folder
    )


def show(request: DatasetShowRequest, job: Job, kept: Kept) -> DatasetShowResult:
    """Schema and cases, from the listing alone, and what lies in the folder besides; nothing is changed."""
    dataset = _open(request, only_look=True)
    unlisted = dataset.unlisted()
    return DatasetShowResult(
        dataset=dataset.folder,
        schema=dataset.schema.to_dict(),
        channels=tuple(dataset.channel_names),
        cases={
            name: ListedCase(revision=entry.revision, waiting=tuple(entry.waiting))
            for name, entry in dataset.cases().items()
        },
        unlisted=unlisted.cases,
        notice=unlisted.sentence(),
    )


def add(request: DatasetAddRequest, job: Job, kept: Kept) -> DatasetAddResult:
    """Store an image with a label map that is known to be right."""
    dataset = _open(request)
    schema = None if request.schema is None else LabelSchema.from_dict(request.schema)
    job.progress("read", 0.0)
    volumes = {name: read_image(image, job.notice) for name, image in request.images.items()}
    for sentence in doubts(volumes):
        job.notice(sentence)
    labels, known = request.labels, schema or dataset.schema
    if isinstance(labels, ArrayFile):
        truth = Truth(labels.read(), known, request.mapping)
    else:
        grid = next(iter(volumes.values())).geometry
        truth = read_truth(labels, grid, known, (), request.mapping, job.notice)
        truth = truth if schema is None else replace(truth, doubtful=False)
        check_values_of(dataset, volumes, truth, labels.name)
    for sentence in truth.sentences:
        job.notice(sentence)
    case = replace(
        truth.case(volumes, request.decided or None),
        name=request.case,
        source={name: str(image) for name, image in request.images.items() if isinstance(image, Path)},
        same_image_again=request.same_image_again,
    )
    saved = dataset.add_case(case, job.progress)
    return DatasetAddResult(dataset=dataset.folder, case=saved.name, revision=saved.revision, added=saved.added)


def sweep(request: DatasetSweepRequest, job: Job, kept: Kept) -> DatasetSweepResult:
    """Remove what writers that were killed are known to have left; cases that are not listed stay."""
    dataset = _open(request)
    return DatasetSweepResult(dataset=dataset.folder, swept=tuple(map(str, dataset.swept)))


def recover(request: DatasetRecoverRequest, job: Job, kept: Kept) -> DatasetRecoverResult:
    """Take back what is not listed, and a damaged listing; see ``Dataset.recover``."""
    done = recover_dataset(
        request.dataset, channel_names=request.channels, private_dir=request.private_dir, progress=job.progress
    )
    return DatasetRecoverResult(
        dataset=done.folder,
        listed=done.listed,
        lost=done.lost,
        set_aside=tuple(map(str, done.set_aside)),
        rebuilt=done.rebuilt,
        sentences=tuple(done.sentences()),
    )


def folder(request: DatasetFolderRequest, job: Job, kept: Kept) -> DatasetFolderResult:
    """The folder that is meant by a typed one, as nnU-Net allows it, before anything is written."""
    from activeseg.dataset.layout import LISTING, real_folder

    meant = real_folder(request.dataset)
    return DatasetFolderResult(dataset=meant, exists=(meant / LISTING).is_file())


def verify(request: DatasetVerifyRequest, job: Job, kept: Kept) -> DatasetVerifyResult:
    """Read everything; ``findings`` is empty when all is well."""
    dataset = _open(request, only_look=True)
    found = verify_dataset(dataset, job.progress)
    findings = tuple(DatasetFinding(case=finding.case, problem=finding.problem) for finding in found)
    return DatasetVerifyResult(dataset=dataset.folder, findings=findings)


def open_case(request: DatasetOpenRequest, job: Job, kept: Kept) -> DatasetOpenResult:
    """Images and label map of a case as files, in the geometry in which they were given."""
    dataset = _open(request, only_look=True)
    job.progress("read", 0.0)
    opened = dataset.open_case(request.case)
    regions: tuple[FoundRegion, ...] = ()
    try:
        regions = listed_regions(dataset.folder, opened.record)
    except ActiveSegError as error:  # the case itself is whole
        job.notice(error.message)
    if regions:
        write_regions(job.folder, regions)
    images = {}
    for number, (channel, volume) in enumerate(opened.images.items()):
        job.progress("write", number / (len(opened.images) + 1))
        images[channel] = ArrayFile.write(job.folder / f"image{number}.npy", volume)
    return DatasetOpenResult(
        case=opened.name,
        images=images,
        labels=ArrayFile.write(job.folder / "labels.npy", opened.labels),
        schema=dataset.schema.to_dict(),
        waiting=tuple(opened.waiting),
        revision=opened.record.current.number,
        regions=tuple(to_json(regions)),
        regions_folder=job.folder if regions else None,
    )


def remove(request: DatasetRemoveRequest, job: Job, kept: Kept) -> DatasetRemoveResult:
    """Remove a case with its history."""
    dataset = _open(request)
    job.progress("remove", 0.0)
    dataset.remove_case(request.case)
    return DatasetRemoveResult(dataset=dataset.folder, case=request.case)


def migrate(request: DatasetMigrateRequest, job: Job, kept: Kept) -> DatasetMigrateResult:
    """A new dataset with another schema; the old one stays."""
    dataset, schema = _open(request), LabelSchema.from_dict(request.schema)
    new = migrate_dataset(
        dataset,
        request.target,
        schema,
        request.rename or None,
        private_dir=request.private_dir,
        progress=job.progress,
    )
    return DatasetMigrateResult(dataset=new.folder, cases=len(new.cases()))


def _open(request: _OfDataset, only_look: bool = False) -> Dataset:
    return Dataset.open(request.dataset, private_dir=request.private_dir, only_look=only_look)
