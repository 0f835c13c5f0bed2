"""Corrections into a dataset, and cases of a dataset back into the scene. No widgets; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from activeseg.client.messages.datasets import (
    DatasetOpenRequest,
    DatasetOpenResult,
    DatasetRemoveRequest,
    DatasetShowRequest,
    DatasetShowResult,
    ExportRequest,
    ExportResult,
)
from activeseg.core.correction import Review
from activeseg.core.errors import InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.segments.read_back import EditedSegment, EditedSegmentation
from activeseg.core.volume import Volume

from ..engine.asking import ask, fetch, send
from ..engine.engine import Engine, OnError, ignore
from ..engine.inbox import Inbox
from ..engine.results import patches_in
from ..scene.case import Case
from ..scene.volume_node import add_volume
from ..slicer_types import Scene
from .drafts import Drafts

OnProgress = Callable[[str, float], None]
"""Gets a stage, and how much of the whole is done, 0 to 1."""


@dataclass(frozen=True)
class ExportChoice:
    """Where a correction goes, and what of it is used as ground truth.

    Attributes
    ----------
    dataset : folder of an nnU-Net dataset (``Dataset801_Name``); it is made if it is not there. See ``dataset_folder``
    review : how voxels that were not reviewed are treated
    annotator : kept with the case; may be empty
    patient : whose CT it is, for the private file; empty leaves what is known
    mapping : for segments that were not recognised, segment id -> name of a structure, or None to leave it out
    """

    dataset: Path
    review: Review = Review.REGIONS
    annotator: str = ""
    mapping: Mapping[str, str | None] = field(default_factory=dict)
    patient: str = ""


@dataclass(frozen=True)
class Export:
    """What was stored, or would be.

    Attributes
    ----------
    case : neutral name in the dataset; empty when nothing was stored yet
    sentences : for the user to read, most important first
    """

    dataset: Path
    case: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class DatasetCase:
    """A case of a dataset; ``waiting``: structures that are not annotated in it yet."""

    name: str
    revision: int
    waiting: tuple[str, ...]


class Exporting:
    """What the page *Export* does."""

    def __init__(self, scene: Scene, engine: Engine, drafts: Drafts) -> None:
        self._scene = scene
        self._engine = engine
        self._drafts = drafts

    def unclear(self, case: Case) -> tuple[EditedSegment, ...]:
        """Segments that are no structure of the model as far as can be seen: the user says what they are."""
        return case.read_back().unmatched

    def summarise(
        self,
        case: Case,
        choice: ExportChoice,
        on_result: Callable[[Export], None],
        on_error: OnError,
        on_progress: OnProgress = ignore,
    ) -> None:
        """What ``export`` would write; nothing is stored. Raises InputError as ``export`` does."""
        self._export(case, choice, False, on_result, on_error, on_progress)

    def export(
        self,
        case: Case,
        choice: ExportChoice,
        on_result: Callable[[Export], None],
        on_error: OnError,
        on_progress: OnProgress = ignore,
    ) -> None:
        """Store a case; its draft is discarded when that is done.

        Raises InputError, before anything is asked of the engine, for a segment that is neither recognised nor mapped.
        """
        self._export(case, choice, True, on_result, on_error, on_progress)

    def cases(self, dataset: Path, on_result: Callable[[list[DatasetCase]], None], on_error: OnError) -> None:
        """The cases of a dataset, by name."""

        def listed(shown: DatasetShowResult) -> None:
            on_result([DatasetCase(name, case.revision, case.waiting) for name, case in sorted(shown.cases.items())])

        ask(self._engine, DatasetShowRequest(dataset=dataset), listed, on_error)

    def open_case(self, dataset: Path, name: str, on_result: Callable[[Case], None], on_error: OnError) -> None:
        """Bring a case back into the scene to correct it further; its export goes to the same case.

        One that is in the scene already is given as it is, with what the user has done since.
        """
        there = self._opened(dataset, name)
        if there is not None:
            on_result(there)
            return

        def opened(result: DatasetOpenResult) -> None:
            # It may have been asked for twice before the first one came.
            on_result(self._opened(dataset, name) or self._put(dataset, result))

        fetch(self._engine, DatasetOpenRequest(dataset=dataset, case=name), opened, on_error)

    def remove_case(self, dataset: Path, name: str, on_result: Callable[[], None], on_error: OnError) -> None:
        """Remove a case with its history from a dataset. The caller has asked the user."""
        ask(self._engine, DatasetRemoveRequest(dataset=dataset, case=name), lambda _: on_result(), on_error)

    def _export(
        self,
        case: Case,
        choice: ExportChoice,
        store: bool,
        on_result: Callable[[Export], None],
        on_error: OnError,
        on_progress: OnProgress,
    ) -> None:
        if case.is_preview:
            raise InputError(
                f"'{case.name}' is a quick preview, which is not exported.",
                "Wait for the final result, or segment again.",
            )
        found = case.read_back(_values(case, choice.mapping))
        if found.is_beside_the_ct:
            raise InputError(
                f"No segment of '{case.name}' lies inside '{case.ct_node.GetName()}'.",
                "Check the transforms of both.",
            )
        changed = _about_image(case)
        if found.unmatched:
            names = ", ".join(f"'{segment.name}'" for segment in found.unmatched)
            raise InputError(
                f"It is not clear which structures these segments are: {names}.",
                "Say what they are, or leave them out.",
                cause="unclear",
            )
        if not str(choice.dataset) or choice.dataset == Path():
            raise InputError("No dataset is chosen.", "Name a folder such as Dataset801_Liver.")

        def done(result: ExportResult) -> None:
            if store:
                self._drafts.discard(case.id, ignore, ignore)
            on_result(Export(result.dataset, result.case or "", (*changed, *found.sentences(), *result.sentences)))

        def hand_over() -> None:
            on_progress("hand over", 0.0)
            send(
                self._engine,
                lambda inbox: self._request(case, choice, found, store, inbox),
                done,
                on_error,
                lambda event: on_progress(event.stage, event.fraction),
            )

        on_progress("draft", 0.0)
        self._drafts.save(case, hand_over, on_error)

    def _request(
        self, case: Case, choice: ExportChoice, found: EditedSegmentation, store: bool, inbox: Inbox
    ) -> ExportRequest:
        table = case.regions
        return ExportRequest(
            draft=self._drafts.folder_of(case.id),
            edited=inbox.volume(Volume(found.labels, found.geometry)),
            dataset=choice.dataset,
            review=choice.review,
            states=table.states() if table is not None else {},
            annotator=choice.annotator,
            patient=choice.patient,
            notes=case.notes,
            seconds=case.seconds,
            store=store,
        )

    def _opened(self, dataset: Path, name: str) -> Case | None:
        """The case of that dataset if it is in the scene, whatever way to the folder was written."""
        for case in Case.all_in(self._scene):
            origin = case.origin
            if origin and origin["case"] == name and Path(origin["dataset"]).resolve() == dataset.resolve():
                return case
        return None

    def _put(self, dataset: Path, result: DatasetOpenResult) -> Case:
        """The opened case as a CT and a segmentation."""
        image = next(iter(result.images.values()))
        name = result.case
        ct_node = add_volume(self._scene, image.read(), name)
        labels = result.labels.read("labels")
        schema = LabelSchema.from_dict(result.schema)
        record = {
            "schema": schema.to_dict(),
            "decided": [n for n in schema.names if n not in result.waiting],
            "origin": {"dataset": str(dataset), "case": name},
        }
        title = self._scene.GenerateUniqueName(f"{name} segmentation")
        case = Case.create(self._scene, ct_node, labels, record, title)
        if result.regions:  # a candidate, and where the model that made it still differs
            case.set_regions(result.regions, patches_in(result.regions_folder), labels.geometry)
        return case


def _values(case: Case, mapping: Mapping[str, str | None]) -> dict[str, int | None]:
    """Label values for the segments that are still there: one may have been deleted after the user said what it is."""
    there = set(case.node.GetSegmentation().GetSegmentIDs())
    return {
        segment_id: None if name is None else case.schema.named(name).value
        for segment_id, name in mapping.items()
        if segment_id in there
    }


def _about_image(case: Case) -> tuple[str, ...]:
    """What to say when the CT in the scene is no longer what was segmented; the copy that is exported still is."""
    if not case.image_has_changed:
        return ()
    name = case.ct_node.GetName()
    return (
        f"The voxels of '{name}' are not those that were segmented (another frame of a sequence?). "
        "The image that was segmented is stored with this label map: check that the edits belong to it.",
    )
