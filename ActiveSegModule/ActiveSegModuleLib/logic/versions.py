"""The versions of a project's model: compared, made current, exported and imported. No widgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from activeseg.client.messages.learning import (
    CompareRequest,
    CompareResult,
    PromoteRequest,
    RollbackRequest,
    VersionExportRequest,
    VersionExportResult,
    VersionImportRequest,
    VersionImportResult,
)

from ..engine.engine import OnError
from .project import OnSummary, Project


class Versions:
    """Of one project, see ``Project.summary``."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def promote(self, version: str, on_result: OnSummary, on_error: OnError) -> None:
        """Make a version current by hand."""
        request = PromoteRequest(project=self._project.chosen, version=version, reason="by hand, in Slicer")
        self._project.change(request, on_result, on_error)

    def rollback(self, on_result: OnSummary, on_error: OnError) -> None:
        """Make current what was current before."""
        request = RollbackRequest(project=self._project.chosen)
        self._project.change(request, on_result, on_error)

    def compare(self, first: str, second: str, on_result: Callable[[CompareResult], None], on_error: OnError) -> None:
        """Two versions on the held-out cases."""
        self._project.ask(CompareRequest(project=self._project.chosen, first=first, second=second), on_result, on_error)

    def export(
        self, version: str, file: Path, on_result: Callable[[VersionExportResult], None], on_error: OnError
    ) -> None:
        """A version into one file."""
        request = VersionExportRequest(project=self._project.chosen, version=version, file=file)
        self._project.ask(request, on_result, on_error)

    def import_file(self, file: Path, on_result: Callable[[VersionImportResult], None], on_error: OnError) -> None:
        """A version from such a file."""
        self._project.ask(VersionImportRequest(project=self._project.chosen, file=file), on_result, on_error)
