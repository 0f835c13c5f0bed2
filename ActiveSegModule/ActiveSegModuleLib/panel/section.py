"""What a part of the panel may ask of the panel: nothing else of the panel is known to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from activeseg.client.messages.learning import ProjectResult
from activeseg.core.errors import ActiveSegError

from ..logic.parts import Parts
from ..scene.case import Case
from ..slicer_types import ParameterNode, Scene, Settings, VtkObject, Widgets
from .message import Message
from .steps import Steps

Write = Callable[[VtkObject, Callable[[], None]], None]
"""Gets a vtkSlicerSegmentEditorLogic, and what stores the state for undo: see ``apply_alternative``."""


class Panel(Protocol):
    """Names in the past tense are told to the panel, which passes them on; all others are asked of it.

    Attributes
    ----------
    ui
        The widgets by their names in the ``.ui`` files
    scene, settings
        The MRML scene, and a QSettings
    logic
        One part for each section
    message
        The bar under the steps
    steps
        Which page is shown, and how each step stands
    """

    ui: Widgets
    scene: Scene
    settings: Settings
    logic: Parts
    message: Message
    steps: Steps

    @property
    def parameter_node(self) -> ParameterNode:
        """What the panel keeps in the scene; None while another module is shown."""

    @property
    def stored(self) -> ParameterNode:
        """The same, whatever module is shown."""

    @property
    def engine_text(self) -> str:
        """How the engine is doing, in a sentence: starting, being installed, damaged."""

    def update(self) -> None:
        """Show everything as it is now."""

    def update_soon(self) -> None:
        """``update`` in the next turn of the event loop, once however often it is asked for."""

    def next_case(self) -> None:
        """Turn to the next CT that is loaded and not stored; where there is none, ask for files."""

    def confirm(self, question: str, yes: str = "", no: str = "") -> bool:
        """Whether the user presses the button ``yes``, not ``no``, which is *Cancel* where nothing else is said."""

    def show_error(self, error: ActiveSegError) -> None:
        """Show an error with the one button that helps, where there is one."""

    def choose(self, case: Case) -> None:
        """Turn to a case, and to its CT."""

    def update_project(self) -> None:
        """Show what can be asked about the project now."""

    def refresh_project(self) -> None:
        """Ask the engine again how the project stands."""

    def remember_dataset(self, dataset: Path) -> None:
        """Work with this dataset from now on."""

    def refresh_models(self) -> None:
        """Ask the engine again which models there are."""

    def remember_model(self, name: str) -> None:
        """Offer this model first from now on."""

    def add_weights(self) -> None:
        """Let the user choose a file of weights, and install them."""

    def enter_licence(self) -> None:
        """Show the field of TotalSegmentator's licence number."""

    def edit_region(self) -> None:
        """Open the editor on the current region's first structure."""

    def edits_of(self, case: Case) -> int:
        """How often a case was edited, for ``case_exported``."""

    def editor_step(self, step: str) -> None:
        """``undo`` or ``redo`` in the editor."""

    def editor_can(self, step: str) -> bool:
        """Whether the editor has something to ``undo`` or to ``redo``."""

    def follow_editor(self, changed: Callable[[], None]) -> None:
        """Call a function whenever ``editor_can`` may have changed."""

    def write(self, write: Write) -> None:
        """Let a function write into the segmentation, as one step of the editor's undo. Raises ActiveSegError."""

    def engine_changed(self) -> None:
        """There is an engine now, or none any more, or another one."""

    def case_left(self) -> None:
        """Another case is going to be reviewed."""

    def case_opened(self, case: Case) -> None:
        """Another case is reviewed now."""

    def case_restored(self, case: Case) -> None:
        """A case was made from its draft."""

    def case_changed_by_user(self) -> None:
        """Segments, region states, notes or the patient ID of the reviewed case changed."""

    def case_exported(self, case: Case, edits: int) -> None:
        """A case was stored; ``edits`` as ``edits_of`` said when its export began."""

    def region_changed(self) -> None:
        """Another region is looked at, or none."""

    def region_reviewed(self) -> None:
        """A region was accepted or skipped."""

    def segmentation_edited(self) -> None:
        """Voxels of the reviewed case were edited."""

    def project_changed(self, summary: ProjectResult) -> None:
        """A project was read, or has a new version."""


class Section:
    """One section of the panel; ``update`` shows what the scene and the logic say now."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui: Widgets = panel.ui

    def update(self) -> None:
        """Show everything as it is now."""
        raise NotImplementedError

    def pressed(self, act: Callable[[], None]) -> Callable[[], None]:
        """For a button: what was told about an earlier step goes when the user takes the next one."""

        def pressed() -> None:
            self._panel.message.clear()
            act()

        return pressed
