"""One run of ``environment_command``: what it has said so far, and who waits for its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from activeseg.core.errors import ActiveSegError

CHANGES = ("install", "update", "repair", "remove", "use")
"""Actions during which no engine can run in the environment."""


@dataclass(frozen=True)
class Working:
    """What is being done to the environment, and how far it is.

    Attributes
    ----------
    step, steps : such as 2 of 4
    done_bytes, total_bytes : on disk; 0 of 0 in a stage that does not count them
    """

    action: str
    stage: str = ""
    fraction: float = 0.0
    text: str = ""
    step: int = 0
    steps: int = 0
    done_bytes: int = 0
    total_bytes: int = 0


class EnvironmentAction:
    """Understands what the program prints, line by line.

    ``quiet``: nobody asked for it, and it makes way for what the user asks for.
    """

    def __init__(
        self,
        action: str,
        on_result: Callable[[Mapping[str, Any]], None],
        on_error: Callable[[ActiveSegError], None],
        quiet: bool = False,
    ) -> None:
        self.working = Working(action)
        self.on_result = on_result
        self.on_error = on_error
        self.quiet = quiet
        self.buffer = b""
        self.printed = b""
        self.result: Mapping[str, Any] | None = None
        self.error: ActiveSegError | None = None

    def take(self, line: bytes) -> None:
        """One line of what the program prints; what is none of its messages is left out."""
        try:
            message = json.loads(line)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        if "progress" in message:
            told = message["progress"]
            counts = {name: int(told.get(name, 0)) for name in ("step", "steps", "done_bytes", "total_bytes")}
            self.working = Working(self.working.action, told["stage"], float(told["fraction"]), told["text"], **counts)
        elif "result" in message:
            self.result = message["result"]
        elif "error" in message:
            self.error = ActiveSegError.from_dict(message["error"])
