"""What the step *Learn* is about at the moment. No widgets."""

from __future__ import annotations

from enum import Enum

from activeseg.client.messages.learning import ProjectResult, VersionEntry

from ..slicer_types import Settings
from .project import Project
from .training import ENDED, Training

DECISION_READ = "ActiveSeg/decisionRead"
"""The run whose decision the user has put away."""


class Stand(Enum):
    """Where a project is between two trainings."""

    NO_PROJECT = "no project"
    PLANNING = "planning"
    TRAINING = "training"
    DECIDED = "decided"


class Learning:
    """Leads from the plan to the training, to its decision, and back to the plan."""

    def __init__(self, project: Project, training: Training, settings: Settings) -> None:
        self._project = project
        self._training = training
        self._settings = settings
        self._waited: tuple[str, frozenset[str]] = ("", frozenset())  # a run, and what waited when it ended
        project.follow(self._follow)

    @property
    def stand(self) -> Stand:
        """A training that has stopped is still one; a decision stays until it is put away, or a new case waits."""
        summary, run = self._project.summary, self._training.run
        if summary is None:
            return Stand.NO_PROJECT
        if run is None:
            return Stand.PLANNING
        if self._training.runs or run.stage == "stopped":
            return Stand.TRAINING
        is_told = run.stage == "failed" or (run.stage == "done" and version_of(summary, run.version) is not None)
        return Stand.DECIDED if is_told and not self._is_over(run.run, summary) else Stand.PLANNING

    def put_away(self) -> None:
        """The user has read the decision; it is not shown again after a restart either."""
        if self._training.run is not None:
            self._settings.setValue(DECISION_READ, self._training.run.run)

    def _follow(self) -> None:
        summary, run = self._project.summary, self._training.run
        if summary is not None and run is not None and run.stage in ENDED and run.run != self._waited[0]:
            self._waited = (run.run, frozenset(summary.waiting))

    def _is_over(self, run: str, summary: ProjectResult) -> bool:
        is_new = self._waited[0] == run and bool(frozenset(summary.waiting) - self._waited[1])
        return is_new or str(self._settings.value(DECISION_READ) or "") == run


def version_of(summary: ProjectResult, version: str) -> VersionEntry | None:
    """What is known of a version; None when the project has none of that id."""
    return next((entry for entry in summary.versions if entry.id == version), None)
