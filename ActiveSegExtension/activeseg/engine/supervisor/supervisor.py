"""The process that a client talks to: it answers at once, keeps the jobs in order, and never imports torch."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activeseg import __version__
from activeseg.client.protocol import (
    NAME_LIMIT,
    PROTOCOL_VERSION,
    SENTENCE_LIMIT,
    TOO_LONG,
    ErrorCode,
    ErrorResponse,
    Lines,
    Message,
    Notification,
    ProtocolError,
    Request,
    Response,
    decode,
    encode,
    encode_answer,
)
from activeseg.core.errors import ActiveSegError, Cancelled, Crashed, EngineError, InputError, shortened, shown
from activeseg.engine.methods import METHODS, Lane
from activeseg.engine.pipes import Pipes, Writer
from activeseg.engine.supervisor.child import Child, Gone, Heard, Unreadable
from activeseg.engine.supervisor.job_queue import Job, Place, State
from activeseg.engine.supervisor.log_file import LogFile, remove_old_logs
from activeseg.engine.supervisor.log_names import Names
from activeseg.engine.supervisor.scratch import Scratch
from activeseg.engine.supervisor.temporary_outputs import Output
from activeseg.engine.unexpected import new_number, unexpected
from activeseg.system import processes as lifetime
from activeseg.system.disk import told_full

GRACE_S = 1.0
"""How long a job may take to notice that it was cancelled before its process is killed."""
REPEAT_S = 0.9
"""A running job is heard of at least so often."""
BACKLOG = 500
"""Lines that wait for a client who does not read; beyond it progress and log are dropped."""
REMEMBERED = 500
"""Finished jobs that ``cancel`` still knows."""
LISTED = 200
"""Jobs that ``jobs.list`` names, those that have not ended first: more would not go into one message."""
QUEUE_LIMIT = 1000
"""Jobs that may wait in one lane."""
TAIL_BYTES = 1 << 19
"""Of the log's end in one message."""
LAST_RESORT_S = 4.0


@dataclass(frozen=True)
class Limits:
    """See ``activeseg.client.launch.EngineOptions``."""

    idle_s: float
    warm_gib: float
    memory_gib: float
    log_bytes: int


class _InputEnded:
    """The client has closed its end, or is gone."""


Event = bytes | None | Heard | Unreadable | Gone | _InputEnded


class Supervisor:
    """Reads requests, answers or queues them, and watches over the processes that do the work.

    All decisions are taken in one thread, the main one; others only carry bytes to and from it.
    """

    def __init__(
        self, pipes: Pipes, home: Path, log: LogFile, limits: Limits, python: str, environment: Mapping[str, str]
    ) -> None:
        self._pipes, self._log, self._limits = pipes, log, limits
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._writer = Writer(pipes.target, lambda: self._events.put(_InputEnded()))
        self._scratch = Scratch(home)
        self._home, self._python, self._environment = home, python, environment
        self._places = {lane: Place(lane) for lane in Lane}
        self._jobs: dict[str, Job] = {}
        self._worker_says: dict[str, Any] = {}
        self._names = Names()
        self._swept = 0
        self._greeted = False
        self._ended = False
        self._own: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "hello": self._hello,
            "cancel": self._cancel,
            "jobs.list": lambda params: {"jobs": self._listed()},
            "job.release": self._release,
            "log.tail": self._log_tail,
            "shutdown": lambda params: {},
        }

    def run(self) -> None:
        """Serve until the client is gone or has asked to end; then nothing of the engine is left."""
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            while not self._ended:
                with contextlib.suppress(queue.Empty):
                    self._take(self._events.get(timeout=self._next_turn()))
                self._look_after_jobs()
        finally:
            self._end()

    def stop(self) -> None:
        """End soon; may be called from a signal handler."""
        self._events.put(_InputEnded())

    # What arrives.

    def _listen(self) -> None:
        lines = Lines()

        def received(data: bytes) -> None:
            for line in lines.feed(data):
                self._events.put(line)

        self._pipes.read_all(received)
        self._events.put(_InputEnded())
        # Should the main thread hang, the engine still ends in time.
        resort = threading.Timer(LAST_RESORT_S, self._last_resort)
        resort.daemon = True
        resort.start()

    def _take(self, event: Event) -> None:
        """Handle what has arrived; whatever goes wrong with it, the next one is handled as well."""
        try:
            self._handle(event)
        except Exception as error:
            self._log_failure("What arrived could not be handled", error)

    def _handle(self, event: Event) -> None:
        match event:
            case None:
                self._send(TOO_LONG.reply)
            case bytes():
                self._handle_line(event)
            case Heard():
                self._handle_child(event.child, event.message)
            case Unreadable():
                self._handle_unreadable(event)
            case Gone():
                self._handle_end(event.child)
            case _InputEnded():
                self._ended = True

    def _handle_line(self, line: bytes) -> None:
        try:
            message = decode(line)
            if not isinstance(message, Request):
                raise ProtocolError(ErrorCode.INVALID_REQUEST, "Only requests are answered here, with an id.")
            self._handle_request(message)
        except ProtocolError as error:
            self._send(error.reply)

    def _log_failure(self, what: str, error: BaseException) -> None:
        """Where in our code it happened; the error's own words may hold names of files."""
        frames = traceback.extract_tb(error.__traceback__)
        places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
        self._log.write(f"{what}: {type(error).__name__} at {places}")

    def _handle_request(self, request: Request) -> None:
        if not self._greeted and request.method != "hello":
            raise ProtocolError(ErrorCode.NO_HELLO, "The first request must be 'hello'.", request.id)
        if request.id in self._jobs:
            raise ProtocolError(ErrorCode.INVALID_REQUEST, f"The id '{request.id}' was used before.", request.id)
        try:
            if request.method in self._own:
                answer = Response(request.id, self._own[request.method](request.params))
            elif request.method in METHODS:
                self._queue(request)
                return
            else:
                raise ProtocolError(
                    ErrorCode.UNKNOWN_METHOD, f"There is no method {shown(request.method)}.", request.id
                )
        except ProtocolError:
            raise
        except _Unsupported as error:
            self._send(ErrorResponse.of(request.id, error, ErrorCode.UNSUPPORTED_PROTOCOL))
        except InputError as error:
            self._send(ErrorResponse.of(request.id, error, ErrorCode.INVALID_PARAMS))
        except ActiveSegError as error:
            self._send(ErrorResponse.of(request.id, error))
        except Exception as error:
            number = new_number()
            self._log_failure(f"{shown(request.method)} could not be handled ({number})", error)
            if request.id not in self._jobs:  # else it is answered when it ends
                self._send(ErrorResponse.of(request.id, unexpected(number, "request"), ErrorCode.INTERNAL))
        else:
            self._send(answer)
            if request.method == "hello":
                with contextlib.suppress(OSError):  # told when a question needs it
                    self._start(self._places[Lane.CLERK])  # the first question usually follows at once
            self._ended = request.method == "shutdown"

    def _send(self, message: Response | ErrorResponse) -> None:
        self._writer.send(encode_answer(message))

    def _tell(self, method: str, **params: Any) -> None:
        if self._greeted and self._writer.backlog < BACKLOG:
            with contextlib.suppress(EngineError):  # no client waits for what cannot be sent
                self._writer.send(encode(Notification(method, params)))

    def _printed(self, line: str) -> None:
        """From the threads that collect what the processes print."""
        line = self._names.hidden(line)
        self._log.write(line)
        self._tell("log", line=line[:2000])

    # What is answered here.

    def _hello(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if self._greeted:
            raise InputError("'hello' was said before.", "Start another engine for another client.")
        spoken = params.get("protocol")
        if spoken != PROTOCOL_VERSION or isinstance(spoken, bool):
            raise _Unsupported(
                f"The client speaks version {shown(spoken)} of the protocol, the engine version {PROTOCOL_VERSION}.",
                "Update the engine's environment, or the program that uses it.",
            )
        self._greeted = True
        self._log.write(f"Client: {str(params.get('client', ''))[:100]}")
        return {
            "protocol": PROTOCOL_VERSION,
            "activeseg": __version__,
            "pid": os.getpid(),
            "python": ".".join(str(n) for n in sys.version_info[:3]),
            "log": str(self._log.path),
            "inbox": str(self._scratch.inbox),
            "methods": sorted([*self._own, *METHODS]),
        }

    def _cancel(self, params: Mapping[str, Any]) -> dict[str, Any]:
        job = self._named(params)
        if job.finished:
            return {"job": job.id, "state": str(job.state), "text": f"The job had ended already ({job.state})."}
        place = self._places[job.method.lane]
        if job.state is State.QUEUED:
            place.waiting.remove(job)
            self._finish(job, State.CANCELLED, ErrorResponse.of(job.id, Cancelled()))
            return {
                "job": job.id,
                "state": str(job.state),
                "text": "The job had not begun; it was taken off the queue.",
            }
        if job.state is State.RUNNING:
            job.state, job.kill_at = State.CANCELLING, time.monotonic() + GRACE_S
            assert place.child is not None
            place.child.send(Notification("cancel", {"job": job.id}))
        return {"job": job.id, "state": str(job.state), "text": "The job is being ended."}

    def _release(self, params: Mapping[str, Any]) -> dict[str, Any]:
        job = self._named(params)
        if not job.finished:
            raise InputError(f"The job '{job.id}' has not ended.", "Wait for its answer, or cancel it.")
        if job.folder is not None:
            self._scratch.remove(job.folder)
            job.folder = None
        return {"job": job.id}

    def _log_tail(self, params: Mapping[str, Any]) -> dict[str, Any]:
        lines = params.get("lines", 50)
        if not isinstance(lines, int) or isinstance(lines, bool) or lines < 0:
            raise InputError(f"'lines' is {shown(lines)}; it must be a number from 0.")
        room, fitting = TAIL_BYTES, []
        for line in reversed(self._log.tail(min(lines, LISTED * 2))):
            room -= len(json.dumps(line))
            if room < 0:
                break
            fitting.append(line)
        return {"lines": fitting[::-1], "log": str(self._log.path)}

    def _listed(self) -> list[dict[str, Any]]:
        jobs = [job for job in self._jobs.values() if job.method.is_job]
        going = [job for job in jobs if not job.finished][:LISTED]
        ended = [job for job in jobs if job.finished]
        kept = {job.id for job in (*going, *ended[len(ended) - (LISTED - len(going)) :])}
        return [job.to_dict() for job in jobs if job.id in kept]

    def _named(self, params: Mapping[str, Any]) -> Job:
        name = params.get("job")
        job = self._jobs.get(str(name)) if isinstance(name, str | int) else None
        if job is None:
            raise InputError(f"There is no job {shown(name)}.", "'jobs.list' names them.")
        return job

    # Jobs and the processes that run them.

    def _queue(self, request: Request) -> None:
        method = METHODS[request.method]
        place = self._places[method.lane]
        if len(place.waiting) >= QUEUE_LIMIT:
            raise InputError(f"{QUEUE_LIMIT} jobs wait already.", "Wait until some have ended, or cancel them.")
        self._names.learn(request.params)
        job = Job(request.id, request.method, method, request.params)
        self._jobs[job.id] = job
        place.waiting.append(job)
        self._run_next(place)
        if job.state is State.QUEUED and method.is_job:
            self._report(job, "queued", 0.0, "")

    def _run_next(self, place: Place) -> None:
        if place.running is not None or not place.waiting:
            return
        job = place.running = place.waiting.popleft()
        job.state = State.RUNNING
        try:
            self._begin(place, job)
        except Exception as error:
            self._log_failure("A job could not be begun", error)
            place.running, place.idle_since = None, time.monotonic()
            self._finish(job, State.FAILED, ErrorResponse.of(job.id, self._not_begun(error)))
            self._run_next(place)
            return
        if job.method.is_job:
            self._report(job, "start", 0.0, "")

    def _begin(self, place: Place, job: Job) -> None:
        if place.child is None:
            self._start(place)
        assert place.child is not None
        if job.method.is_job:
            job.output, job.folder = Output.of(job.params), self._scratch.job()
        params = {"params": dict(job.params), "folder": str(job.folder or self._scratch.folder)}
        place.child.send(Request(job.id, job.name, params))

    def _not_begun(self, error: Exception) -> ActiveSegError:
        if isinstance(error, ActiveSegError):
            return error
        full = told_full(error, self._scratch.folder)
        what = error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
        return full or EngineError(
            f"The job could not be begun: {what}.", "Check the engine's environment and the disk's free space."
        )

    def _start(self, place: Place) -> None:
        limits = self._limits
        start = Path(__file__).resolve().parents[1] / "start.py"
        command = [self._python, "-I", "-X", "utf8", "-u", str(start), f"--role={place.lane}", f"--home={self._home}"]
        command += [f"--parent={os.getpid()}", f"--warm-gib={limits.warm_gib!r}", f"--memory-gib={limits.memory_gib!r}"]
        place.child = Child(command, self._environment, self._events.put, self._printed)
        place.idle_since = time.monotonic()

    def _handle_child(self, child: Child, message: Message) -> None:
        place = self._place_of(child)
        if place is None:
            return  # the last words of a process that was replaced
        if isinstance(message, Notification):
            self._handle_notification(place, message)
            return
        job = place.running
        if job is None or isinstance(message, Request) or message.id != job.id:
            self._log.write(f"The {place.lane} answered an unknown request.")
            return
        place.running, place.idle_since = None, time.monotonic()
        if isinstance(message, Response):
            if job.name == "system.info" and isinstance(message.result, dict):
                message = Response(message.id, {**message.result, "engine": self._about()})
            self._finish(job, State.DONE, message)
        else:
            cancelled = message.data.get("code") == Cancelled.code
            self._finish(job, State.CANCELLED if cancelled else State.FAILED, message)
        self._run_next(place)

    def _handle_unreadable(self, event: Unreadable) -> None:
        """What a process said is no message, and may have been its answer: it is replaced."""
        place = self._place_of(event.child)
        self._log.write(event.why)
        if place is None:
            return
        event.child.kill()
        self._forget(place)
        if place.running is None:
            self._run_next(place)
            return
        error = Crashed(
            f"The process that ran the job was ended: {event.why}", "Try again; if it happens again, send us the log."
        )
        self._broken_off(place, ErrorResponse.of(place.running.id, error))

    def _handle_notification(self, place: Place, message: Notification) -> None:
        job, params = place.running, message.params
        if message.method == "worker":
            self._worker_says = dict(params)
        elif job is None or params.get("job") != job.id:
            return
        elif message.method == "progress":
            stage, text = str(params["stage"])[:NAME_LIMIT], str(params["text"])
            self._report(job, stage, float(params["fraction"]), text)
        elif message.method == "estimate":
            job.eta.expected = dict(params["estimate"].get("stages_s") or {})
            self._tell("estimate", job=job.id, estimate=params["estimate"])
        elif message.method == "notice":
            self._tell("notice", job=job.id, text=shortened(str(params["text"]), SENTENCE_LIMIT))
        elif message.method == "label":
            self._writer.send(encode(message))  # a part of the answer: never dropped

    def _about(self) -> dict[str, Any]:
        processes = {place.lane: place.child.pid for place in self._places.values() if place.child is not None}
        return {"pid": os.getpid(), "processes": processes, "worker": self._worker_says}

    def _report(self, job: Job, stage: str, fraction: float, text: str) -> None:
        now = time.monotonic()
        job.eta.report(stage, fraction, now)
        job.heard = now
        eta = job.eta.seconds_left(now)
        job.progress = {"stage": stage, "fraction": round(fraction, 4), "eta_s": eta, "text": text[:500]}
        self._tell("progress", job=job.id, **job.progress)

    def _handle_end(self, child: Child) -> None:
        place = self._place_of(child)
        if place is None:
            return
        reason = child.reason()
        child.ask_to_end()
        self._forget(place)
        if place.running is None:
            if reason != "exit code 0":
                self._log.write(f"The {place.lane} ended while it was idle ({reason}).")
            self._run_next(place)
            return
        tail = self._log.tail(40)
        error = Crashed(
            f"The process that ran the job ended unexpectedly ({reason}).",
            "Try again; if it happens again, choose fewer members or a coarser model, and send us the log.",
            log=tail,
        )
        self._log.write(error.message)
        self._broken_off(place, ErrorResponse.of(place.running.id, error))

    def _place_of(self, child: Child) -> Place | None:
        return next((place for place in self._places.values() if place.child is child), None)

    def _forget(self, place: Place) -> None:
        place.child = None
        if place.lane is Lane.WORKER:
            self._worker_says = {}

    def _broken_off(self, place: Place, answer: ErrorResponse) -> None:
        """The process of a running job is gone: clean up behind it, answer, and go on with the next job."""
        job, place.running = place.running, None
        assert job is not None
        if job.output is not None:
            job.output.tidy()
        if job.state is State.CANCELLING:
            self._finish(job, State.CANCELLED, ErrorResponse.of(job.id, Cancelled()))
        else:
            self._finish(job, State.FAILED, answer)
        dataset = job.params.get("dataset")
        if place.lane is Lane.WORKER and isinstance(dataset, str):
            self._sweep(dataset)
        self._run_next(place)

    def _sweep(self, dataset: str) -> None:
        """Let the clerk remove what the dead writer is known to have left in the dataset."""
        place = self._places[Lane.CLERK]
        question = {"dataset": dataset}
        self._swept += 1
        name = f"sweep {self._swept}"  # short, whatever the client calls its jobs
        place.waiting.append(Job(name, "dataset.sweep", METHODS["dataset.sweep"], question, internal=True))
        self._run_next(place)

    def _finish(self, job: Job, state: State, answer: Response | ErrorResponse) -> None:
        kept = state is State.DONE and job.method.keeps_scratch
        if job.folder is not None and not kept:
            self._scratch.remove(job.folder)
            job.folder = None
        job.state, job.kill_at = state, None
        if job.internal:
            return
        self._send(answer)
        if not job.method.is_job:
            del self._jobs[job.id]
        over = [other for other in self._jobs.values() if other.finished and other.folder is None]
        for other in over[: max(len(over) - REMEMBERED, 0)]:
            del self._jobs[other.id]

    # What happens by the clock.

    def _next_turn(self) -> float:
        """Seconds until something is to be done though nothing arrives."""
        now = time.monotonic()
        times = [3600.0]
        for place in self._places.values():
            if place.running is not None:
                times += [place.running.heard + REPEAT_S - now] if place.running.method.is_job else []
                times += [] if place.running.kill_at is None else [place.running.kill_at - now]
            elif place.child is not None:
                times.append(place.idle_since + self._limits.idle_s - now)
        return max(min(times), 0.0)

    def _look_after_jobs(self) -> None:
        now = time.monotonic()
        for place in self._places.values():
            job = place.running
            if job is None:
                if place.child is not None and now >= place.idle_since + self._limits.idle_s:
                    self._log.write(f"The {place.lane} was idle for {self._limits.idle_s:.0f} s and is ended.")
                    place.child.ask_to_end()
                    self._forget(place)
                continue
            if job.kill_at is not None and now >= job.kill_at:
                assert place.child is not None
                place.child.kill()
                self._forget(place)
                self._broken_off(place, ErrorResponse.of(job.id, Cancelled()))
            elif job.method.is_job and now >= job.heard + REPEAT_S:
                job.heard = now
                job.progress["eta_s"] = job.eta.seconds_left(now)
                self._tell("progress", job=job.id, **job.progress)

    # The end.

    def _end(self) -> None:
        for place in self._places.values():
            if place.child is not None:
                place.child.kill()
            if place.running is not None and place.running.output is not None:
                place.running.output.tidy()
        self._writer.close(1.0)
        self._scratch.close()
        self._log.write("The engine has ended.")

    def _last_resort(self) -> None:
        for place in self._places.values():
            if place.child is not None:
                lifetime.kill_tree(place.child.pid)
        os._exit(1)


class _Unsupported(EngineError):
    """The client speaks another version of the protocol."""


def supervise(home: Path, limits: Limits, python: str, environment: Mapping[str, str]) -> int:
    """Be the engine on this process's stdin and stdout; the exit code."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        logs = home / "logs"
        log = LogFile(logs / f"engine-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log", limits.log_bytes)
        remove_old_logs(logs)
        pipes = Pipes.take_over(log.descriptor)
        lifetime.lead_session()
        supervisor = Supervisor(pipes, home, log, limits, python, environment)
    except OSError as error:
        full = told_full(error, home)
        print(full or f"The engine cannot use its folder '{home}': {error.strerror or error}.", file=sys.stderr)
        return ActiveSegError.exit_code
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    supervisor.run()
    return 0
