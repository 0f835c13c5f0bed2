"""Jobs in their slots, and the processes that run them: started, fed, watched over and replaced."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg.client.protocol import (
    NAME_LIMIT,
    SENTENCE_LIMIT,
    ErrorResponse,
    Message,
    Notification,
    Request,
    Response,
)
from activeseg.core.errors import ActiveSegError, Cancelled, Crashed, EngineError, InputError, shortened, shown
from activeseg.engine.methods import METHODS, Lane
from activeseg.engine.supervisor.child import Child, Gone, Heard, Unreadable
from activeseg.engine.supervisor.client_side import Client
from activeseg.engine.supervisor.job_queue import JobState, QueuedJob, Slot
from activeseg.engine.supervisor.scratch import Scratch
from activeseg.engine.supervisor.temporary_outputs import Output
from activeseg.system import processes
from activeseg.system.disk import told_full

GRACE_S = 1.0
"""How long a job may take to notice that it was cancelled before its process is killed."""
REPEAT_S = 0.9
"""A running job is heard of at least so often."""
REMEMBERED = 500
"""Finished jobs that ``cancel`` still knows."""
LISTED = 200
"""Jobs that ``jobs.list`` names, those that have not ended first: more would not go into one message."""
QUEUE_LIMIT = 1000
"""Jobs that may wait in one lane."""


@dataclass(frozen=True)
class Limits:
    """See ``activeseg.client.launch.EngineOptions``."""

    idle_s: float
    warm_gib: float
    memory_gib: float
    log_bytes: int


class Dispatcher:
    """All jobs of the engine. Its methods are for one thread, but for ``last_resort``."""

    def __init__(
        self,
        client: Client,
        home: Path,
        limits: Limits,
        python: str,
        environment: Mapping[str, str],
        heard: Callable[[Heard | Unreadable | Gone], object],
    ) -> None:
        """``heard`` takes what the processes say, in their threads; it comes back by ``handle_child`` and its like."""
        self._client, self._limits, self._heard = client, limits, heard
        self._home, self._python, self._environment = home, python, environment
        self.scratch = Scratch(home)
        self._slots = {lane: Slot(lane) for lane in Lane}
        self._jobs: dict[str, QueuedJob] = {}
        self._worker_says: dict[str, Any] = {}
        self._swept = 0

    def knows(self, id: str) -> bool:
        """Whether a job of that name is there, or was not long ago."""
        return id in self._jobs

    def start_clerk(self) -> None:
        """The first question usually follows ``hello`` at once. Raises OSError."""
        self._start(self._slots[Lane.CLERK])

    def queue(self, request: Request) -> None:
        """Begin the job now or when those before it have ended. Raises InputError when too many wait."""
        method = METHODS[request.method]
        slot = self._slots[method.lane]
        if len(slot.waiting) >= QUEUE_LIMIT:
            raise InputError(f"{QUEUE_LIMIT} jobs wait already.", "Wait until some have ended, or cancel them.")
        self._client.names.learn(request.params)
        job = QueuedJob(request.id, request.method, method, request.params)
        self._jobs[job.id] = job
        slot.waiting.append(job)
        self._run_next(slot)
        if job.state is JobState.QUEUED and method.is_job:
            self._report(job, "queued", 0.0, "")

    def cancel(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """End a job, or tell that it has ended. Raises InputError for one that is not known."""
        job = self._named(params)
        if job.finished:
            return {"job": job.id, "state": str(job.state), "text": f"The job had ended already ({job.state})."}
        slot = self._slots[job.method.lane]
        if job.state is JobState.QUEUED:
            slot.waiting.remove(job)
            self._finish(job, JobState.CANCELLED, ErrorResponse.of(job.id, Cancelled()))
            return {
                "job": job.id,
                "state": str(job.state),
                "text": "The job had not begun; it was taken off the queue.",
            }
        if job.state is JobState.RUNNING:
            job.state, job.kill_at = JobState.CANCELLING, time.monotonic() + GRACE_S
            assert slot.child is not None
            slot.child.send(Notification("cancel", {"job": job.id}))
        return {"job": job.id, "state": str(job.state), "text": "The job is being ended."}

    def release(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Remove the files of an ended job. Raises InputError for another one."""
        job = self._named(params)
        if not job.finished:
            raise InputError(f"The job '{job.id}' has not ended.", "Wait for its answer, or cancel it.")
        if job.folder is not None:
            self.scratch.remove(job.folder)
            job.folder = None
        return {"job": job.id}

    def listed(self) -> list[dict[str, Any]]:
        """The jobs that ``jobs.list`` names, in the order in which they came."""
        jobs = [job for job in self._jobs.values() if job.method.is_job]
        going = [job for job in jobs if not job.finished][:LISTED]
        ended = [job for job in jobs if job.finished]
        kept = {job.id for job in (*going, *ended[len(ended) - (LISTED - len(going)) :])}
        return [job.to_dict() for job in jobs if job.id in kept]

    def _named(self, params: Mapping[str, Any]) -> QueuedJob:
        name = params.get("job")
        job = self._jobs.get(str(name)) if isinstance(name, str | int) else None
        if job is None:
            raise InputError(f"There is no job {shown(name)}.", "'jobs.list' names them.")
        return job

    def _run_next(self, slot: Slot) -> None:
        if slot.running is not None or not slot.waiting:
            return
        job = slot.running = slot.waiting.popleft()
        job.state = JobState.RUNNING
        try:
            self._begin(slot, job)
        except Exception as error:
            self._client.log_failure("A job could not be begun", error)
            slot.running, slot.idle_since = None, time.monotonic()
            self._finish(job, JobState.FAILED, ErrorResponse.of(job.id, self._not_begun(error)))
            self._run_next(slot)
            return
        if job.method.is_job:
            self._report(job, "start", 0.0, "")

    def _begin(self, slot: Slot, job: QueuedJob) -> None:
        if slot.child is None:
            self._start(slot)
        assert slot.child is not None
        if job.method.is_job:
            job.output, job.folder = Output.of(job.params), self.scratch.job()
        params = {"params": dict(job.params), "folder": str(job.folder or self.scratch.folder)}
        slot.child.send(Request(job.id, job.name, params))

    def _not_begun(self, error: Exception) -> ActiveSegError:
        if isinstance(error, ActiveSegError):
            return error
        full = told_full(error, self.scratch.folder)
        what = error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
        return full or EngineError(
            f"The job could not be begun: {what}.", "Check the engine's environment and the disk's free space."
        )

    def _start(self, slot: Slot) -> None:
        limits = self._limits
        start = Path(__file__).resolve().parents[1] / "start.py"
        command = [self._python, "-I", "-X", "utf8", "-u", str(start), f"--role={slot.lane}", f"--home={self._home}"]
        command += [f"--parent={os.getpid()}", f"--warm-gib={limits.warm_gib!r}", f"--memory-gib={limits.memory_gib!r}"]
        slot.child = Child(command, self._environment, self._heard, self._client.printed)
        slot.idle_since = time.monotonic()

    def handle_child(self, child: Child, message: Message) -> None:
        """Take what a process said."""
        slot = self._slot_of(child)
        if slot is None:
            return  # the last words of a process that was replaced
        if isinstance(message, Notification):
            self._handle_notification(slot, message)
            return
        job = slot.running
        if job is None or isinstance(message, Request) or message.id != job.id:
            self._client.log.write(f"The {slot.lane} answered an unknown request.")
            return
        slot.running, slot.idle_since = None, time.monotonic()
        if isinstance(message, Response):
            if job.name == "system.info" and isinstance(message.result, dict):
                message = Response(message.id, {**message.result, "engine": self._about()})
            self._finish(job, JobState.DONE, message)
        else:
            cancelled = message.data.get("code") == Cancelled.code
            self._finish(job, JobState.CANCELLED if cancelled else JobState.FAILED, message)
        self._run_next(slot)

    def handle_unreadable(self, event: Unreadable) -> None:
        """What a process said is no message, and may have been its answer: it is replaced."""
        slot = self._slot_of(event.child)
        self._client.log.write(event.why)
        if slot is None:
            return
        event.child.kill()
        self._forget(slot)
        if slot.running is None:
            self._run_next(slot)
            return
        error = Crashed(
            f"The process that ran the job was ended: {event.why}", "Try again; if it happens again, send us the log."
        )
        self._broken_off(slot, ErrorResponse.of(slot.running.id, error))

    def _handle_notification(self, slot: Slot, message: Notification) -> None:
        job, params = slot.running, message.params
        if message.method == "worker":
            self._worker_says = dict(params)
        elif job is None or params.get("job") != job.id:
            return
        elif message.method == "progress":
            stage, text = str(params["stage"])[:NAME_LIMIT], str(params["text"])
            self._report(job, stage, float(params["fraction"]), text)
        elif message.method == "estimate":
            job.eta.expected = dict(params["estimate"].get("stages_s") or {})
            job.eta.label_first = dict(params["estimate"].get("label_stages_s") or {})
            self._client.notify("estimate", job=job.id, estimate=params["estimate"])
        elif message.method == "notice":
            self._client.notify("notice", job=job.id, text=shortened(str(params["text"]), SENTENCE_LIMIT))
        elif message.method == "label":
            job.eta.label_told()
            self._client.pass_on(message)  # a part of the answer: never dropped

    def _about(self) -> dict[str, Any]:
        processes = {slot.lane: slot.child.pid for slot in self._slots.values() if slot.child is not None}
        return {"pid": os.getpid(), "processes": processes, "worker": self._worker_says}

    def _report(self, job: QueuedJob, stage: str, fraction: float, text: str) -> None:
        now = time.monotonic()
        job.eta.report(stage, fraction, now)
        job.progress = {"stage": stage, "text": text[:500]}
        self._tell_progress(job, now)

    def _tell_progress(self, job: QueuedJob, now: float) -> None:
        job.heard = now
        job.progress |= {
            "fraction": round(job.eta.part_done(now), 4),
            "eta_s": job.eta.seconds_left(now),
            "late": job.eta.is_late(now),
        }
        self._client.notify("progress", job=job.id, **job.progress)

    def handle_end(self, child: Child) -> None:
        """A process is gone; the job that it ran has failed."""
        slot = self._slot_of(child)
        if slot is None:
            return
        reason = child.reason()
        child.ask_to_end()
        self._forget(slot)
        if slot.running is None:
            if reason != "exit code 0":
                self._client.log.write(f"The {slot.lane} ended while it was idle ({reason}).")
            self._run_next(slot)
            return
        tail = self._client.log.tail(40)
        error = Crashed(
            f"The process that ran the job ended unexpectedly ({reason}).",
            "Try again; if it happens again, choose fewer members or a coarser model, and send us the log.",
            log=tail,
        )
        self._client.log.write(error.message)
        self._broken_off(slot, ErrorResponse.of(slot.running.id, error))

    def _slot_of(self, child: Child) -> Slot | None:
        return next((slot for slot in self._slots.values() if slot.child is child), None)

    def _forget(self, slot: Slot) -> None:
        slot.child = None
        if slot.lane is Lane.WORKER:
            self._worker_says = {}

    def _broken_off(self, slot: Slot, answer: ErrorResponse) -> None:
        """The process of a running job is gone: clean up behind it, answer, and go on with the next job."""
        job, slot.running = slot.running, None
        assert job is not None
        if job.output is not None:
            job.output.tidy()
        if job.state is JobState.CANCELLING:
            self._finish(job, JobState.CANCELLED, ErrorResponse.of(job.id, Cancelled()))
        else:
            self._finish(job, JobState.FAILED, answer)
        dataset = job.params.get("dataset")
        if slot.lane is Lane.WORKER and isinstance(dataset, str):
            self._sweep(dataset)
        self._run_next(slot)

    def _sweep(self, dataset: str) -> None:
        """Let the clerk remove what the dead writer is known to have left in the dataset."""
        slot = self._slots[Lane.CLERK]
        question = {"dataset": dataset}
        self._swept += 1
        name = f"sweep {self._swept}"  # short, whatever the client calls its jobs
        slot.waiting.append(QueuedJob(name, "dataset.sweep", METHODS["dataset.sweep"], question, internal=True))
        self._run_next(slot)

    def _finish(self, job: QueuedJob, state: JobState, answer: Response | ErrorResponse) -> None:
        kept = state is JobState.DONE and job.method.keeps_scratch
        if job.folder is not None and not kept:
            self.scratch.remove(job.folder)
            job.folder = None
        job.state, job.kill_at = state, None
        if job.internal:
            return
        self._client.answer(answer)
        if not job.method.is_job:
            del self._jobs[job.id]
        over = [other for other in self._jobs.values() if other.finished and other.folder is None]
        for other in over[: max(len(over) - REMEMBERED, 0)]:
            del self._jobs[other.id]

    def next_turn(self) -> float:
        """Seconds until something is to be done though nothing arrives."""
        now = time.monotonic()
        times = [3600.0]
        for slot in self._slots.values():
            if slot.running is not None:
                times += [slot.running.heard + REPEAT_S - now] if slot.running.method.is_job else []
                times += [] if slot.running.kill_at is None else [slot.running.kill_at - now]
            elif slot.child is not None:
                times.append(slot.idle_since + self._limits.idle_s - now)
        return max(min(times), 0.0)

    def look_after_jobs(self) -> None:
        """Report running jobs, kill those that do not end, end processes that are idle."""
        now = time.monotonic()
        for slot in self._slots.values():
            job = slot.running
            if job is None:
                if slot.child is not None and now >= slot.idle_since + self._limits.idle_s:
                    self._client.log.write(f"The {slot.lane} was idle for {self._limits.idle_s:.0f} s and is ended.")
                    slot.child.ask_to_end()
                    self._forget(slot)
                continue
            if job.kill_at is not None and now >= job.kill_at:
                assert slot.child is not None
                slot.child.kill()
                self._forget(slot)
                self._broken_off(slot, ErrorResponse.of(job.id, Cancelled()))
            elif job.method.is_job and now >= job.heard + REPEAT_S:
                self._tell_progress(job, now)

    def end(self) -> None:
        """Kill all processes and leave nothing behind."""
        for slot in self._slots.values():
            if slot.child is not None:
                slot.child.kill()
            if slot.running is not None and slot.running.output is not None:
                slot.running.output.tidy()
        self._client.close()
        self.scratch.close()
        self._client.log.write("The engine has ended.")

    def last_resort(self) -> None:
        """End everything at once, from another thread."""
        for slot in self._slots.values():
            if slot.child is not None:
                processes.kill_tree(slot.child.pid)
        os._exit(1)
