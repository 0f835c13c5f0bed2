"""Messages about the computer, the engine itself, and its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.client.messages.request import Nothing, TypedRequest


@dataclass(frozen=True, kw_only=True)
class HelloResult:
    """What an engine says about itself.

    Attributes
    ----------
    log
        The log's path.
    inbox
        A folder where the client may put array files.
    """

    protocol: int
    activeseg: str
    pid: int
    python: str
    log: Path
    inbox: Path
    methods: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HelloRequest(TypedRequest[HelloResult], method="hello"):
    """The first request: the version of the protocol, and who asks, for the log."""

    protocol: int
    client: str = ""
    activeseg: str = ""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """An NVIDIA GPU as its driver describes it."""

    name: str
    total_bytes: int
    free_bytes: int
    driver: str


@dataclass(frozen=True, kw_only=True)
class SystemResult:
    """The computer, the versions of the packages, and the engine's processes, torch's devices and warm models."""

    system: str
    cores: int | None
    ram_bytes: int
    ram_free_bytes: int
    gpus: tuple[Gpu, ...]
    versions: Mapping[str, str | None]
    engine: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SystemRequest(TypedRequest[SystemResult], method="system.info"):
    """What computer this is."""


@dataclass(frozen=True, kw_only=True)
class JobEntry:
    """A job, where it stands, and its last progress."""

    job: str
    method: str
    state: str
    stage: str = ""
    fraction: float = 0.0
    eta_s: float | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class JobListResult:
    """At most 200 jobs, those that have not ended first."""

    jobs: tuple[JobEntry, ...]


@dataclass(frozen=True, kw_only=True)
class JobListRequest(TypedRequest[JobListResult], method="jobs.list"):
    """List the jobs."""


@dataclass(frozen=True, kw_only=True)
class CancelResult:
    """Where the job stands now, also in words."""

    job: str
    state: str
    text: str


@dataclass(frozen=True, kw_only=True)
class CancelRequest(TypedRequest[CancelResult], method="cancel"):
    """End a job, answered at once; also one that is queued, cancelled already, or has ended."""

    job: str


@dataclass(frozen=True, kw_only=True)
class ReleaseResult:
    """The job whose files are gone."""

    job: str


@dataclass(frozen=True, kw_only=True)
class ReleaseRequest(TypedRequest[ReleaseResult], method="job.release"):
    """Remove the files that a job's result named."""

    job: str


@dataclass(frozen=True, kw_only=True)
class LogTailResult:
    """The end of the log, at most 400 lines, and the log's path."""

    lines: tuple[str, ...]
    log: Path


@dataclass(frozen=True, kw_only=True)
class LogTailRequest(TypedRequest[LogTailResult], method="log.tail"):
    """Read the end of the log."""

    lines: int = 50


@dataclass(frozen=True, kw_only=True)
class ShutdownRequest(TypedRequest[Nothing], method="shutdown"):
    """End the engine."""
