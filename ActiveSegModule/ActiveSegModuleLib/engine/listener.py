"""Who hears what the module's logic does; a panel overrides what it shows, a script needs none of it."""

from __future__ import annotations

from activeseg.core.errors import ActiveSegError

from ..scene.case import Case


class Listener:
    """Does nothing with anything."""

    def segmenting_changed(self) -> None:
        """A segmentation began, went on or ended."""

    def case_changed(self, case: Case) -> None:
        """A case came into the scene, or has more in it."""

    def notice(self, text: str) -> None:
        """A sentence that the user should read."""

    def error(self, error: ActiveSegError) -> None:
        """Something failed."""

    def engine_state_changed(self) -> None:
        """The engine was started or lost, or its environment is being changed, or was."""

    def log_line(self, line: str) -> None:
        """The engine's log has one more line."""
