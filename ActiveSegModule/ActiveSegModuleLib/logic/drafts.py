"""Copies of what the user is working on, which the engine keeps for what a crash would lose. Nothing here waits.

They are written by the engine alone, and read without one: it may be missing when corrections are wanted back.
"""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from activeseg.client.kept_drafts import KeptDraft, drafts_in, remove_draft
from activeseg.client.messages.drafts import (
    DraftBase,
    DraftDiscardRequest,
    DraftLayers,
    DraftListRequest,
    DraftRegions,
    DraftSaveRequest,
)
from activeseg.core.correction import RegionState
from activeseg.core.errors import ActiveSegError, EngineError, InputError
from activeseg.core.segments.matching import segment_id_of
from activeseg.core.segments.read_back import ignore_label
from activeseg.core.volume import Volume

from ..engine.asking import ask, send, tried, when_ready
from ..engine.engine import Engine, OnError, ignore
from ..engine.inbox import Inbox
from ..scene.case import Case
from ..scene.layers import Snapshot, put, same_voxels, take
from ..scene.placement import geometry_of
from ..scene.volume_node import add_volume, volume_of
from ..slicer_types import Scene, Settings

UNTOUCHED_FOR = datetime.timedelta(days=1)
"""A draft in which nothing was edited is removed after so long: the scene can write it again, and it holds a CT."""

_SAVED_IN_SCENE = "ActiveSeg/draftsSavedInScene"


@dataclass(frozen=True)
class OfferedDraft:
    """A draft that the user may want back.

    Attributes
    ----------
    id : of its case
    name, ct_name : of the segmentation and its CT as they were called
    saved : when, in UTC
    reviewed, regions : how many regions had been decided on, of how many
    size : bytes on disk
    """

    id: str
    name: str
    ct_name: str
    saved: datetime.datetime
    reviewed: int
    regions: int
    size: int


class Drafts:
    """One draft for each case, under the case's id; only the engine writes in ``folder``."""

    def __init__(
        self, engine: Engine, folder: Path, notice: Callable[[str], None] = ignore, settings: Settings | None = None
    ) -> None:
        """
        Parameters
        ----------
        notice
            Is told what of a segmentation cannot be saved as it is
        settings
            As QSettings; remembers which drafts lie in a saved scene as well. None: nothing is remembered
        """
        self._engine = engine
        self._folder = folder
        self._notice = notice
        self._settings = settings

    def folder_of(self, id: str) -> Path:
        """Where the draft of the case with that id lies, if there is one."""
        return self._folder / id

    def save(self, case: Case, on_done: Callable[[], None], on_error: OnError) -> None:
        """Keep the case as it is at this moment, in place of its draft before."""

        def start() -> None:
            saving = _Saving(self._engine, self.folder_of(case.id), case)
            for sentence in saving.snapshot.told:
                self._notice(sentence)
            when_ready(self._engine, lambda: saving.send(on_done, on_error), on_error)

        tried(start, on_error)

    def offered(self) -> list[OfferedDraft]:
        """See ``offered_drafts``."""
        return offered_drafts(self._folder, self._settings)

    def note_saved(self, case: Case) -> None:
        """Look whether the scene was saved since the case was edited: then its draft holds nothing more."""
        record = self.folder_of(case.id) / "draft.json"
        if self._settings is None or case.is_modified or not record.is_file():
            return
        try:
            saved = KeptDraft.open(record.parent).saved
        except InputError:
            return  # told when it is opened
        known = _saved_in_scene(self._settings)
        if known.get(case.id) != saved:
            there = {id: when for id, when in known.items() if self.folder_of(id).is_dir()}
            self._settings.setValue(_SAVED_IN_SCENE, json.dumps({**there, case.id: saved}))

    def tidy_up(self) -> None:
        """Let the engine remove what crashed writers left, and old drafts that hold no edits of their own."""
        old = datetime.datetime.now(datetime.UTC) - UNTOUCHED_FOR
        kept = {draft.id for draft in self.offered()}
        idle = [draft.id for draft in drafts_in(self._folder) if draft.saved_at < old and draft.id not in kept]
        tried(lambda: ask(self._engine, DraftListRequest(folder=self._folder), on_error=ignore), ignore)
        for id in idle:
            self._discard(self.folder_of(id))

    def _discard(self, folder: Path) -> None:
        tried(lambda: ask(self._engine, DraftDiscardRequest(draft=folder), on_error=ignore), ignore)

    def open(self, id: str, scene: Scene, on_result: Callable[[Case], None], on_error: OnError) -> None:
        """Bring a draft back into the scene, with its CT; it stays a draft."""

        def start() -> None:
            if any(case.id == id for case in Case.all_in(scene)):
                raise InputError("This case is in the scene already.", "Remove it from the scene first.")
            opening = _Opening(KeptDraft.open(self.folder_of(id)))
            steps = [opening.read_image, opening.read_labels, opening.read_edits, opening.read_uncertainty]
            self._engine.later(lambda: go_on(opening, steps))

        def go_on(opening: _Opening, steps: list[Callable[[], None]]) -> None:
            """One step in each turn of the event loop, so that the window is alive in between."""

            def step() -> None:
                if steps:
                    steps.pop(0)()
                    self._engine.later(lambda: go_on(opening, steps))
                else:
                    on_result(opening.show(scene))

            tried(step, on_error)

        tried(start, on_error)

    def discard(self, id: str, on_done: Callable[[], None], on_error: OnError) -> None:
        """Remove a draft for good; nothing happens when there is none."""
        folder = self.folder_of(id)
        try:
            ask(self._engine, DraftDiscardRequest(draft=folder), lambda _: on_done(), on_error)
        except EngineError:  # none can be started

            def remove() -> None:
                remove_draft(folder)
                on_done()

            tried(remove, on_error)


def offered_drafts(folder: Path, settings: Settings) -> list[OfferedDraft]:
    """The drafts whose edits lie nowhere else, the one saved last first. Takes milliseconds; starts nothing."""
    in_scene = _saved_in_scene(settings)
    return [_offered(draft) for draft in drafts_in(folder) if draft.has_edits and draft.saved != in_scene.get(draft.id)]


def _saved_in_scene(settings: Settings) -> dict[str, str]:
    """Ids of cases, and when the draft was saved whose edits are in a saved scene, too."""
    try:
        known = json.loads(str(settings.value(_SAVED_IN_SCENE) or "{}")) if settings else {}
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


class _Saving:
    """A case as it was at one moment, on its way to the engine."""

    def __init__(self, engine: Engine, folder: Path, case: Case) -> None:
        self.snapshot = take(case.node)
        self._engine = engine
        self._folder = folder
        self._case = case
        self._regions = _regions(case)
        self._state = {
            "name": case.name,
            "ct_name": str(case.ct_node.GetName()),
            "notes": case.notes,
            "patient": case.patient,
            "seconds": case.seconds,
            "reviewed": sum(entry["state"] != RegionState.OPEN for entry in self._regions[0]) if self._regions else 0,
            "regions": len(self._regions[0]) if self._regions else 0,
        }
        self._has_edits = bool(self._state["reviewed"] or case.notes or not _is_as_made(case, self.snapshot))

    def send(self, on_done: Callable[[], None], on_error: OnError, with_base: bool = False) -> None:
        """The base goes along only when the engine has none yet: it holds a CT."""

        def failed(error: ActiveSegError) -> None:
            if error.details.get("missing") == "base" and not with_base:
                self.send(on_done, on_error, with_base=True)
            else:
                on_error(error)

        send(
            self._engine,
            lambda inbox: self._request(inbox, with_base),
            on_result=lambda _: on_done(),
            on_error=failed,
        )

    def _request(self, inbox: Inbox, with_base: bool) -> DraftSaveRequest:
        files = tuple(inbox.array(array) for array in self.snapshot.arrays)
        regions = None
        if self._regions is not None:
            entries, patches = self._regions
            regions = DraftRegions(entries=tuple(entries), alternatives=inbox.bytes(patches, ".npz"))
        return DraftSaveRequest(
            draft=self._folder,
            state=self._state,
            has_edits=self._has_edits,
            layers=DraftLayers(json=self.snapshot.json, arrays=files),
            regions=regions,
            base=self._base(inbox, regions) if with_base else None,
        )

    def _base(self, inbox: Inbox, regions: DraftRegions | None) -> DraftBase:
        case, record = self._case, self._case.record
        if case.image_has_changed:
            raise InputError(
                f"The voxels of '{case.ct_node.GetName()}' are not those that were segmented.",
                "Show the frame of the sequence that was segmented, or segment this image.",
            )
        labels = Volume(case.original_on_ct(), geometry_of(case.ct_node))
        uncertainty = case.uncertainty.get(record.get("measure", ""))
        return DraftBase(
            record=record,
            labels=inbox.volume(labels),
            image=inbox.volume(volume_of(case.ct_node)),
            uncertainty=inbox.volume(Volume(uncertainty.array(), geometry_of(uncertainty.node)))
            if uncertainty is not None
            else None,
            regions=regions,
        )


def _regions(case: Case) -> tuple[list[dict[str, Any]], bytes] | None:
    """Entries of ``regions.json`` with the states of now, and the bytes of ``alternatives.npz``."""
    table = case.regions
    if table is None:
        return None
    entries = [{**table.entry(number), "state": str(state)} for number, state in table.states().items()]
    patches = case.patches
    if not patches:  # the node that held them was removed
        empty = io.BytesIO()
        np.savez(empty)
        entries, patches = [{**entry, "alternatives": []} for entry in entries], empty.getvalue()
    return entries, patches


def _is_as_made(case: Case, snapshot: Snapshot) -> bool:
    """Whether all segments have their own names, and the voxels that they came with."""
    labels = [label for label in case.schema.labels if label.name in case.decided]
    names = {segment_id_of(label): label.name for label in (*labels, ignore_label(case.schema))}
    found = {entry["id"]: entry["name"] for entry in snapshot.json["segments"]}
    made = found.items() <= names.items()  # a structure that was not found may have an empty segment
    try:
        return made and same_voxels(snapshot, case.original.array)
    except InputError:  # it was removed from the scene, so it cannot be told
        return False


def _offered(draft: KeptDraft) -> OfferedDraft:
    state = draft.state
    return OfferedDraft(
        draft.id,
        str(state.get("name", draft.id)),
        str(state.get("ct_name", "")),
        draft.saved_at,
        int(state.get("reviewed", 0)),
        int(state.get("regions", 0)),
        draft.size(),
    )


class _Opening:
    """A draft on its way into the scene; each step takes a part of a second for a large CT."""

    def __init__(self, draft: KeptDraft) -> None:
        self._draft = draft
        self._snapshot: Snapshot | None = None
        self._uncertainty: Volume | None = None

    def read_image(self) -> None:
        self._image = self._draft.read_image()

    def read_labels(self) -> None:
        self._labels, self._record = self._draft.read_labels(), self._draft.read_record()

    def read_edits(self) -> None:
        layers = self._draft.read_layers()
        self._snapshot = Snapshot(*layers) if layers is not None else None
        self._regions = self._draft.read_regions()

    def read_uncertainty(self) -> None:
        self._uncertainty = self._draft.read_uncertainty()

    def show(self, scene: Scene) -> Case:
        """A case with its CT. Raises InputError."""
        state, labels = self._draft.state, self._labels
        if not self._image.geometry.same_grid(labels.geometry):
            raise InputError("The draft is damaged: its label map is not of its image.", "Discard it.")
        ct_node = add_volume(scene, self._image, str(state.get("ct_name", "CT")))
        name = scene.GenerateUniqueName(str(state.get("name", "Segmentation")))
        labels = Volume(labels.array, self._image.geometry, labels.name)  # whose digits a file has rounded
        case = Case.create(scene, ct_node, labels, self._record, name, self._draft.id)
        if self._regions:
            case.set_regions(*self._regions, labels.geometry)
        if self._uncertainty is not None:
            case.add_uncertainty(str(self._record["measure"]), self._uncertainty, shown=True)
        case.notes, case.seconds = str(state.get("notes", "")), float(state.get("seconds", 0))
        case.patient = str(state.get("patient", ""))
        if self._snapshot is not None:
            put(case.node, self._snapshot)
        return case
