"""Copies of what the user is working on, which the engine keeps for what a crash would lose. Nothing here waits."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from activeseg.client.arrays import read_array, read_geometry, read_volume
from activeseg.corrections import RegionState
from activeseg.errors import ActiveSegError, InputError
from activeseg.segment_matching import segment_id_of
from activeseg.volume import Volume

from .inbox import Inbox, file_error
from .results import labels_of, patches_of, record_of
from .scene.case import Case
from .scene.layers import Snapshot, put, same_voxels, take
from .scene.placement import geometry_of
from .scene.volume_node import add_volume, volume_of

OnError = Callable[[ActiveSegError], None]
UNTOUCHED_FOR = datetime.timedelta(days=1)
"""A draft in which nothing was edited is removed after so long: the scene can write it again, and it holds a CT."""


def _ignore(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class OfferedDraft:
    """A draft that the user may want back.

    Attributes
    ----------
    id : of its case
    name, ct_name : of the segmentation and its CT as they were called
    saved : when, in UTC
    reviewed, regions : how many places had been decided on, of how many
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

    def __init__(self, engine: Any, folder: Path, notice: Callable[[str], None] = _ignore) -> None:
        """``engine`` is an EngineProcess; ``notice`` is told what of a segmentation cannot be saved as it is."""
        self._engine = engine
        self._folder = folder
        self._notice = notice

    def folder_of(self, id: str) -> Path:
        """Where the draft of the case with that id lies, if there is one."""
        return self._folder / id

    def save(self, case: Case, on_done: Callable[[], None], on_error: OnError) -> None:
        """Keep the case as it is at this moment, in place of its draft before."""

        def start() -> None:
            saving = _Saving(self._engine, self.folder_of(case.id), case)
            for sentence in saving.snapshot.told:
                self._notice(sentence)
            if self._engine.engine:
                saving.send(on_done, on_error)
            else:  # its answer says that the engine is there, and where it takes files
                self._ask("system.info", {}, lambda _: saving.send(on_done, on_error), on_error)

        _tried(start, on_error)

    def offered(self, on_result: Callable[[list[OfferedDraft]], None], on_error: OnError) -> None:
        """The drafts in which something was edited or decided on, the one saved last first."""

        def listed(result: Mapping[str, Any]) -> None:
            old = datetime.datetime.now(datetime.UTC) - UNTOUCHED_FOR
            offered = []
            for entry in result["drafts"]:
                saved = datetime.datetime.fromisoformat(entry["saved"])
                if entry["has_edits"]:
                    offered.append(_offered(entry, saved))
                elif saved < old:
                    self.discard(entry["id"], _ignore, _ignore)
            on_result(offered)

        self._ask("draft.list", {"folder": str(self._folder)}, listed, on_error)

    def open(self, id: str, scene: Any, on_result: Callable[[Case], None], on_error: OnError) -> None:
        """Bring a draft back into the scene, with its CT; it stays a draft."""

        def opened(result: Mapping[str, Any]) -> None:
            def show() -> None:
                on_result(_show(scene, result))

            try:
                _tried(show, on_error)
            finally:
                self._engine.request("job.release", {"job": job}, on_error=_ignore)

        job = ""

        def ask() -> None:
            nonlocal job
            if any(case.id == id for case in Case.all_in(scene)):
                raise InputError("This case is in the scene already.", "Remove it from the scene first.")
            params = {"draft": str(self.folder_of(id))}
            job = self._engine.request("draft.open", params, on_result=opened, on_error=on_error)

        _tried(ask, on_error)

    def discard(self, id: str, on_done: Callable[[], None], on_error: OnError) -> None:
        """Remove a draft for good; nothing happens when there is none."""
        self._ask("draft.discard", {"draft": str(self.folder_of(id))}, lambda _: on_done(), on_error)

    def _ask(self, method: str, params: Mapping[str, Any], on_result: Callable[[Any], None], on_error: OnError) -> None:
        _tried(lambda: self._engine.request(method, params, on_result=on_result, on_error=on_error), on_error)


class _Saving:
    """A case as it was at one moment, on its way to the engine."""

    def __init__(self, engine: Any, folder: Path, case: Case) -> None:
        self.snapshot = take(case.node)
        self._engine = engine
        self._folder = folder
        self._case = case
        self._regions = _regions(case)
        self._state = {
            "name": case.name,
            "ct_name": str(case.ct_node.GetName()),
            "notes": case.notes,
            "seconds": case.seconds,
            "reviewed": sum(entry["state"] != RegionState.OPEN for entry in self._regions[0]) if self._regions else 0,
            "regions": len(self._regions[0]) if self._regions else 0,
        }
        self._has_edits = bool(self._state["reviewed"] or case.notes or not _is_as_made(case, self.snapshot))

    def send(self, on_done: Callable[[], None], on_error: OnError, with_base: bool = False) -> None:
        """The base goes along only when the engine has none yet: it holds a CT."""
        inbox = Inbox(self._engine)

        def done(_: Any) -> None:
            inbox.remove()
            on_done()

        def failed(error: ActiveSegError) -> None:
            inbox.remove()
            if error.details.get("missing") == "base" and not with_base:
                self.send(on_done, on_error, with_base=True)
            else:
                on_error(error)

        def ask(params: Mapping[str, Any]) -> None:
            _tried(lambda: self._engine.request("draft.save", params, on_result=done, on_error=failed), failed)

        def fill() -> None:
            params = self._params(inbox, with_base)
            inbox.fill(lambda: ask(params), failed)

        _tried(fill, failed)

    def _params(self, inbox: Inbox, with_base: bool) -> dict[str, Any]:
        files = [inbox.array(array) for array in self.snapshot.arrays]
        params: dict[str, Any] = {
            "draft": str(self._folder),
            "state": self._state,
            "has_edits": self._has_edits,
            "layers": {"json": self.snapshot.json, "arrays": files},
        }
        if self._regions is not None:
            entries, patches = self._regions
            params["regions"] = {"entries": entries, "alternatives": inbox.bytes(patches, ".npz")}
        if with_base:
            params["base"] = self._base(inbox, params.get("regions"))
        return params

    def _base(self, inbox: Inbox, regions: Any) -> dict[str, Any]:
        case, record = self._case, self._case.record
        labels = Volume(case.original_on_ct(), geometry_of(case.ct_node))
        base = {"record": record, "labels": inbox.volume(labels), "image": inbox.volume(volume_of(case.ct_node))}
        uncertainty = case.uncertainty.get(record.get("measure", ""))
        if uncertainty is not None:
            base["uncertainty"] = inbox.volume(Volume(uncertainty.array(), geometry_of(uncertainty.node)))
        if regions is not None:
            base["regions"] = regions
        return base


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
    """Whether all segments are there under their own names, with the voxels that they came with."""
    names = {segment_id_of(label): label.name for label in case.schema.labels if label.name in case.decided}
    found = {entry["id"]: entry["name"] for entry in snapshot.json["segments"]}
    made = names.items() <= found.items() and len(found) - len(names) in (0, 1)  # 1: what a dataset's case ignores
    try:
        return made and same_voxels(snapshot, case.original.array)
    except InputError:  # it was removed from the scene, so nobody can tell
        return False


def _offered(entry: Mapping[str, Any], saved: datetime.datetime) -> OfferedDraft:
    state = entry["state"]
    return OfferedDraft(
        str(entry["id"]),
        str(state.get("name", entry["id"])),
        str(state.get("ct_name", "")),
        saved,
        int(state.get("reviewed", 0)),
        int(state.get("regions", 0)),
        int(entry["bytes"]),
    )


def _show(scene: Any, result: Mapping[str, Any]) -> Case:
    """A case with its CT, from the answer to ``draft.open``. Raises InputError and OSError."""
    state = result["state"]
    image = read_volume(result["image"])
    labels, record = labels_of(result), record_of(result)
    layers = result["layers"]
    snapshot = layers and Snapshot(layers["json"], [read_array(path) for path in layers["arrays"]])
    maps = {}
    for measure, path in result["measures"].items():
        maps[measure] = Volume(read_array(path), read_geometry(result["measures_geometry"]))
    ct_node = add_volume(scene, image, str(state.get("ct_name", "CT")))
    name = scene.GenerateUniqueName(str(state.get("name", "Segmentation")))
    case = Case.create(scene, ct_node, labels, record, name, str(result["id"]))
    if result["regions"]:
        case.set_regions(result["regions"], patches_of(result), labels.geometry)
    for measure, volume in maps.items():
        case.add_uncertainty(measure, volume, shown=True)
    case.notes, case.seconds = str(state.get("notes", "")), float(state.get("seconds", 0))
    if snapshot:
        put(case.node, snapshot)
    return case


def _tried(work: Callable[[], object], on_error: OnError) -> None:
    """Do it, and tell what went wrong in the way of an answer."""
    try:
        work()
    except ActiveSegError as error:
        on_error(error)
    except OSError as error:
        on_error(file_error(error))
