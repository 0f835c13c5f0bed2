"""One click: a CT goes to the engine, and comes back into the scene as a case. No widgets; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from activeseg.client.engine_client import EstimateEvent, LabelEvent, NoticeEvent, ProgressEvent
from activeseg.client.messages.calls import result_of
from activeseg.client.messages.images import ArrayFile
from activeseg.client.messages.segmenting import RegionsRequest, RegionsResult, SegmentRequest, SegmentResult
from activeseg.core.correction import RegionState
from activeseg.core.errors import ActiveSegError, Cancelled, InputError
from activeseg.core.volume import Volume
from activeseg.io.npy import read_array

from ..engine.asking import as_told, fetch, when_ready
from ..engine.engine import Engine, OnError
from ..engine.inbox import Inbox
from ..engine.listener import Listener
from ..engine.results import labels_of, patches_in
from ..scene.case import IMAGE_ATTRIBUTE, Case
from ..scene.placement import geometry_of
from ..scene.volume_node import fingerprint, volume_of
from ..slicer_types import Node, Scene
from .run import Choice, Run, Running

OnResult = Callable[[SegmentResult], None]

_PREVIEW_PART = 0.15
"""Of a run, where a preview comes first."""


class Segmenting:
    """Runs one segmentation at a time; what it was told to leave is left at once, whatever the engine still does.

    Attributes
    ----------
    last_case : what the last run made, when it has ended; None when it failed or was cancelled before the label
    last_error : why the last run failed, a Cancelled when it was cancelled before the label
    """

    def __init__(
        self,
        scene: Scene,
        engine: Engine,
        drafts: Path,
        listener: Listener,
    ) -> None:
        """
        Parameters
        ----------
        drafts
            The folder in which the engine keeps a copy of each case, for what a crash would lose
        """
        self._scene = scene
        self._engine = engine
        self._drafts = drafts
        self._listener = listener
        self._run: Run | None = None
        self._warm: object = None  # the engine's process that has segmented
        self.last_case: Case | None = None
        self.last_error: ActiveSegError | None = None

    @property
    def running(self) -> Running | None:
        """None when nothing runs."""
        return self._run.state if self._run else None

    @property
    def _process(self) -> object:
        return self._engine.engine.get("pid")

    def start(self, ct_node: Node, choice: Choice) -> None:
        """Segment a volume node; the case is told to the listeners. Raises InputError, and EngineError when
        no engine is installed; then nothing has begun."""
        if self._run is not None:
            raise InputError(f"'{self._run.state.ct_name}' is being segmented.", "Wait for it, or cancel it.")
        if ct_node is None:
            raise InputError("No CT is chosen.", "Load a CT, then choose it at the top of this panel.")
        geometry_of(ct_node)
        if ct_node.GetImageData().GetNumberOfScalarComponents() != 1:
            raise InputError(f"'{ct_node.GetName()}' is a colour image.", "Choose a CT.")
        is_first = self._process is None or self._process != self._warm
        self._run = run = Run(ct_node, choice, Running(ct_node.GetName(), choice.model, is_first=is_first))
        self._listener.segmenting_changed()

        def hand_over() -> None:
            self._engine.later(lambda: self._go_on(run, lambda: self._hand_over(run)))

        try:
            when_ready(self._engine, hand_over, lambda error: self._failed(run, error))
        except ActiveSegError:
            self._end(run)
            raise

    def cancel(self) -> None:
        """End the run. A label that is shown stays; the rest is as if it had not begun."""
        run = self._run
        if run is None:
            return
        self._end(run, Cancelled() if run.case is None else None)
        for job in run.jobs:
            self._engine.cancel(job)

    def list_regions(
        self,
        case: Case,
        focus: tuple[str, ...],
        count: int,
        on_done: Callable[[], None],
        on_error: OnError,
    ) -> None:
        """Find the regions to review of a case again, in some structures only (empty: in all), in place of its list.

        The error says so when the engine has forgotten what the members said about the case.
        """

        def found(result: RegionsResult) -> None:
            if self._scene.IsNodePresent(case.node):
                case.set_regions(result.regions, patches_in(result.regions_folder), result.geometry)
                on_done()

        fetch(self._engine, RegionsRequest(draft=self._drafts / case.id, focus=focus, regions=count), found, on_error)

    def _hand_over(self, run: Run) -> None:
        """The CT to the engine, then the request."""
        run.inbox = inbox = Inbox(self._engine)
        ct_node = self._ct_of(run)
        if ct_node is None:
            raise InputError(f"'{run.state.ct_name}' was removed before it could be segmented.", "Load it again.")
        image = inbox.volume(volume_of(ct_node))
        inbox.fill(lambda: self._go_on(run, lambda: self._send(run, image)), lambda error: self._fail(run, error))

    def _send(self, run: Run, image: ArrayFile) -> None:
        choice, settings = run.choice, run.choice.settings()
        begin = _PREVIEW_PART if choice.preview else 0.0
        if choice.preview:
            self._ask(
                run,
                SegmentRequest(model=choice.preview, image=image, settings=replace(settings, members=1), regions=0),
                lambda result: self._preview(run, result),
                on_label=lambda result: self._preview(run, result),
                on_error=lambda error: self._listener.notice(f"There is no preview: {error}"),
                part=(0.0, begin),
            )
        self._ask(
            run,
            SegmentRequest(
                model=choice.model,
                image=image,
                settings=settings,
                focus=choice.focus,
                regions=choice.regions,
                allow_coarser=choice.allow_coarser,
                label_first=True,
                draft=self._drafts / run.id,
            ),
            lambda result: self._finish(run, result),
            on_label=lambda result: self._show(run, result),
            part=(begin, 1.0),
        )

    def _ask(
        self,
        run: Run,
        request: SegmentRequest,
        on_result: OnResult,
        on_label: OnResult,
        on_error: OnError | None = None,
        part: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """A segmentation for this run; once the run has ended nothing is told of it.

        ``on_label``: of a first label. ``part`` of the whole run that it is.
        """
        run.jobs.append(
            fetch(
                self._engine,
                request,
                lambda result: self._go_on(run, lambda: on_result(result)),
                lambda error: self._failed(run, error, on_error),
                on_progress=lambda event: self._progress(run, event, part),
                on_notice=lambda event: self._notice(run, event, on_label),
            )
        )

    def _failed(self, run: Run, error: ActiveSegError, on_error: OnError | None = None) -> None:
        """A request of the run failed; that ends it, unless ``on_error`` is told instead."""
        if run is self._run:
            (on_error or (lambda e: self._fail(run, e)))(error)

    def _ct_of(self, run: Run) -> Node:
        """The run's CT, or the same one loaded again since it was removed; None when it is not in the scene."""
        if not self._scene.IsNodePresent(run.ct_node):
            volumes = self._scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
            volumes.UnRegister(None)
            for number in range(volumes.GetNumberOfItems()):
                volume = volumes.GetItemAsObject(number)
                if fingerprint(volume) == run.image and geometry_of(volume).same_voxels(run.geometry):
                    run.ct_node = volume
                    return volume
            return None
        return run.ct_node

    def _go_on(self, run: Run, work: Callable[[], None]) -> None:
        """The next step of a run, unless it has ended; an error ends it."""
        if run is self._run:
            try:
                work()
            except (ActiveSegError, OSError) as error:
                self._fail(run, error)

    def _progress(self, run: Run, event: ProgressEvent, part: tuple[float, float]) -> None:
        if run is self._run:
            begin, end = part
            fraction = max(run.state.fraction, begin + (end - begin) * event.fraction)
            has_ct = self._scene.IsNodePresent(run.ct_node)
            run.tell(
                stage=event.stage,
                fraction=fraction,
                eta_s=event.eta_s,
                text=event.text,
                is_late=event.late,
                has_ct=bool(has_ct),
            )
            self._listener.segmenting_changed()

    def _notice(self, run: Run, event: EstimateEvent | NoticeEvent | LabelEvent, on_label: OnResult) -> None:
        if isinstance(event, NoticeEvent):
            self._go_on(run, lambda: self._listener.notice(event.text))
        elif isinstance(event, LabelEvent):
            self._go_on(run, lambda: on_label(result_of(SegmentRequest, event.result)))

    def _preview(self, run: Run, result: SegmentResult) -> None:
        """The coarser model's label, until the one that was asked for is there."""
        ct_node = self._ct_of(run)
        if run.case is None and not run.previewed and ct_node is not None:
            run.previewed = True
            labels = labels_of(result)
            self.remove_previews(ct_node)
            name = self._scene.GenerateUniqueName(f"{run.state.ct_name} preview")
            preview = Case.create(self._scene, ct_node, labels, result.record, name, preview=True)
            self._listener.case_changed(preview)

    def remove_previews(self, ct_node: Node) -> None:
        """Out of the scene with a CT's previews; what the user drew into one is hidden instead, and told."""
        for case in Case.all_in(self._scene):
            if not case.is_preview or not case.has_ct or case.ct_node is not ct_node:
                continue
            if case.touched:
                case.node.SetDisplayVisibility(False)
                self._listener.notice(f"The preview '{case.name}' was edited: it is hidden, and stays in the scene.")
            else:
                case.remove()

    def _show(self, run: Run, result: SegmentResult) -> None:
        """The label at once; the rest, read now because the engine may remove it, in turns of the event loop.

        Without its CT it cannot be shown; the engine keeps it in its draft.
        """
        self._warm = self._process
        ct_node = self._ct_of(run)
        if ct_node is None:
            return
        labels = labels_of(result)
        self.remove_previews(ct_node)
        name = self._scene.GenerateUniqueName(f"{run.state.ct_name} segmentation")
        case = run.case = Case.create(self._scene, ct_node, labels, result.record, name, run.id)
        case.node.SetAttribute(IMAGE_ATTRIBUTE, run.image)  # another frame may be shown by now
        run.shown_members = len(result.record["members"])
        run.tell(label_shown=True, has_ct=True)
        self._complete(run, result)
        self._listener.case_changed(case)
        self._listener.segmenting_changed()

    def _complete(self, run: Run, result: SegmentResult) -> None:
        """Uncertainty and regions of a result into the case that shows its label."""
        case = run.case
        assert case is not None
        table = case.regions
        if table is None or all(state is RegionState.OPEN for state in table.states().values()):
            case.set_regions(result.regions, patches_in(result.regions_folder), result.geometry)
        else:
            self._listener.notice("The list of regions stays as it is, because you have begun to review it.")
        geometry, default = result.measures_geometry or result.geometry, str(result.record["measure"])
        for measure in sorted(result.measures, key=lambda name: name != default):
            volume = Volume(read_array(result.measures[measure]), geometry)
            self._engine.later(partial(self.add_uncertainty, case, measure, volume, measure == default))

    def add_uncertainty(self, case: Case, measure: str, volume: Volume, shown: bool) -> None:
        if self._scene.IsNodePresent(case.node) and case.has_ct:
            case.add_uncertainty(measure, volume, shown)
            self._listener.case_changed(case)

    def _finish(self, run: Run, result: SegmentResult) -> None:
        if run.case is None:
            self._show(run, result)
            if run.case is None:
                self._fail(run, self._kept(run))
                return
        elif self._scene.IsNodePresent(run.case.node) and len(result.record["members"]) != run.shown_members:
            run.case.update_record(result.record)
            self._complete(run, result)
        self._engine.later(lambda: self._end(run))  # when all maps are in the scene

    def _kept(self, run: Run) -> InputError:
        """Says that a result could not be shown, and where it is: ``draft`` is the id of a draft that has it."""
        sentence = f"'{run.state.ct_name}' was removed from the scene while it was segmented."
        if not (self._drafts / run.id / "draft.json").is_file():
            return InputError(f"{sentence} Nothing was added.", "Load it again.")
        action = "The result is kept, with the image: it can be opened."
        return InputError(sentence, action, draft=run.id, ct_name=run.state.ct_name)

    def _fail(self, run: Run, error: ActiveSegError | OSError) -> None:
        told = as_told(error)
        self._end(run, told)
        for job in run.jobs:
            self._engine.cancel(job)
        if not isinstance(told, Cancelled):
            self._listener.error(told)

    def _end(self, run: Run, error: ActiveSegError | None = None) -> None:
        if run is not self._run:
            return
        self._run = None
        self.last_case, self.last_error = run.case, error
        if run.inbox is not None:
            run.inbox.remove()
        self._listener.segmenting_changed()
