"""The parts of the module's logic, made for one scene and one user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from activeseg.system.folders import default_home

from ..engine.engine_process import Listeners
from ..engine.installed_engine import InstalledEngine
from ..engine.listener import Listener
from ..slicer_types import Qt, Scene, Settings
from .case_session import CaseSession
from .drafts import Drafts
from .exporting import Exporting
from .installation import Installation
from .learning import Learning
from .models import Models
from .project import Project
from .refiner_weights import RefinerWeights
from .refining import Refining
from .review import CaseReview
from .segmenting import Segmenting
from .spreading import Spreading
from .training import Training
from .versions import Versions
from .warming import Warming
from .weights import Weights


class Parts:
    """Each part is named after its file, and after the section of the panel that shows it."""

    def __init__(
        self,
        qt: Qt,
        scene: Scene,
        settings: Settings,
        data_folder: Path,
        environment: Mapping[str, str],
        listener: Listener,
    ) -> None:
        """
        Parameters
        ----------
        qt
            Slicer's ``qt``, or PySide6 in its shape
        scene, settings
            The MRML scene, and a QSettings
        data_folder
            Where drafts are kept
        environment
            Variables to start the engine with
        listener
            Hears what happens
        """
        drafts = data_folder / "drafts"
        self.installation = Installation(qt, settings, listener.engine_state_changed)

        def started(_about: object) -> None:
            self.installation.note_started()
            listener.engine_state_changed()

        self.engine = InstalledEngine(
            qt,
            self.installation,
            default_home(),
            environment,
            Listeners(
                started,
                lambda _error, _tail: listener.engine_state_changed(),
                listener.log_line,
                starting=listener.engine_state_changed,
            ),
        )
        self.models = Models(self.engine, settings)
        self.weights = Weights(self.engine)
        self.refiner_weights = RefinerWeights(self.engine)
        self.warming = Warming(self.engine, listener.log_line)
        self.segmenting = Segmenting(scene, self.engine, drafts, listener)
        self.review = CaseReview(scene)
        self.drafts = Drafts(self.engine, drafts, listener.notice, settings)
        self.session = CaseSession(self.engine, self.drafts)
        self.refining = Refining(self.session)
        self.spreading = Spreading(self.session)
        self.exporting = Exporting(scene, self.engine, self.drafts)
        self.project = Project(self.engine)
        self.training = Training(self.project)
        self.versions = Versions(self.project)
        self.learning = Learning(self.project, self.training, settings)

    def shutdown(self) -> None:
        """End the engine and the installer, when Slicer quits or the module is reloaded."""
        self.segmenting.cancel()
        self.installation.shutdown()
        self.engine.close()
