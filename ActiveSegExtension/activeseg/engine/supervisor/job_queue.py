"""Jobs in order: what runs, what waits, and the process that does it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from activeseg.engine.methods import Lane, Method
from activeseg.engine.supervisor.child import Child
from activeseg.engine.supervisor.eta import Eta
from activeseg.engine.supervisor.temporary_outputs import Output


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass
class QueuedJob:
    """A request that one of the processes runs; its id is the request's. No client waits for an ``internal`` one."""

    id: str
    name: str
    method: Method
    params: Mapping[str, Any]
    internal: bool = False
    state: JobState = JobState.QUEUED
    folder: Path | None = None
    output: Output | None = None
    kill_at: float | None = None
    heard: float = 0.0
    progress: dict[str, Any] = field(default_factory=dict)
    eta: Eta = field(default_factory=Eta)

    @property
    def finished(self) -> bool:
        return self.state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    def to_dict(self) -> dict[str, Any]:
        return {"job": self.id, "method": self.name, "state": str(self.state), **self.progress}


@dataclass
class Slot:
    """One lane: its process while there is one, what runs there, what waits."""

    lane: Lane
    child: Child | None = None
    running: QueuedJob | None = None
    waiting: deque[QueuedJob] = field(default_factory=deque)
    idle_since: float = 0.0
