"""Typed requests to an engine; those whose arrays lie in files are sent and fetched here, and the files removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from activeseg.client.messages.calls import call_of, result_of
from activeseg.client.messages.request import TypedRequest
from activeseg.client.messages.system import ReleaseRequest, SystemRequest
from activeseg.core.errors import ActiveSegError, Cancelled, EngineError

from .engine import Engine, OnError, OnNotice, OnProgress, ignore
from .inbox import Inbox, file_error

R = TypeVar("R")


def ask(
    engine: Engine,
    request: TypedRequest[R],
    on_result: Callable[[R], None] = ignore,
    on_error: OnError | None = None,
    on_progress: OnProgress = ignore,
    on_notice: OnNotice = ignore,
) -> str:
    """As ``Engine.request``, for a request that is a dataclass; its result is one, too."""
    method, params = call_of(request)

    def answered(value: object) -> None:
        try:
            result = result_of(request, value)
        except EngineError as error:
            if on_error is None:
                raise
            on_error(error)
        else:
            on_result(result)

    return engine.request(
        method, params, on_result=answered, on_error=on_error, on_progress=on_progress, on_notice=on_notice
    )


def fetch(
    engine: Engine,
    request: TypedRequest[R],
    on_result: Callable[[R], None],
    on_error: OnError,
    on_progress: OnProgress = ignore,
    on_notice: OnNotice = ignore,
) -> str:
    """Ask for a result that names files of the engine; they are removed as soon as ``on_result`` has returned.

    So it reads what it wants to keep; what it raises (ActiveSegError, OSError) goes to ``on_error``. The id is for
    ``cancel``. Raises as ``Engine.request``.
    """

    def answered(result: R) -> None:
        try:
            tried(lambda: on_result(result), on_error)
        finally:
            tried(lambda: ask(engine, ReleaseRequest(job=job), on_error=ignore), ignore)

    job = ask(engine, request, answered, on_error, on_progress, on_notice)
    return job


def send(
    engine: Engine,
    request_with: Callable[[Inbox], TypedRequest[R]],
    on_result: Callable[[R], None],
    on_error: OnError,
    on_progress: OnProgress = ignore,
) -> None:
    """Put arrays into files and ask about them; the files are removed when the answer is there.

    ``request_with`` puts into an inbox what the request names; what it raises goes to ``on_error``. The engine is
    ready, see ``when_ready``.
    """
    _with_files(
        engine,
        request_with,
        on_result,
        on_error,
        lambda request, done, failed: ask(engine, request, done, failed, on_progress),
    )


def exchange(
    engine: Engine,
    request_with: Callable[[Inbox], TypedRequest[R]],
    on_result: Callable[[R], None],
    on_error: OnError,
    on_progress: OnProgress = ignore,
) -> Callable[[], None]:
    """``send`` and ``fetch`` in one: arrays go in files and come in files, and all of these are removed.

    What it returns ends it: ``on_error`` then gets a Cancelled.
    """
    jobs: list[str] = []
    failed = _with_files(
        engine,
        request_with,
        on_result,
        on_error,
        lambda request, done, failed: jobs.append(fetch(engine, request, done, failed, on_progress)),
    )

    def end() -> None:
        if jobs:
            engine.cancel(jobs[0])
        else:
            failed(Cancelled())

    return end


def _with_files(
    engine: Engine,
    request_with: Callable[[Inbox], TypedRequest[R]],
    on_result: Callable[[R], None],
    on_error: OnError,
    start: Callable[[TypedRequest[R], Callable[[R], None], OnError], object],
) -> OnError:
    """Write the files of a request, ``start`` it, and remove them at its end; gives what ends it with an error."""
    inbox = Inbox(engine)

    def done(result: R) -> None:
        inbox.remove()
        on_result(result)

    def failed(error: ActiveSegError) -> None:
        inbox.remove()
        on_error(error)

    def fill() -> None:
        request = request_with(inbox)
        inbox.fill(lambda: tried(lambda: start(request, done, failed), failed), failed)

    tried(fill, failed)
    return failed


def when_ready(engine: Engine, go_on: Callable[[], None], on_error: OnError) -> None:
    """Call ``go_on`` when the engine has answered, and so has an inbox; at once if it has before.

    Raises as ``Engine.request``.
    """
    if engine.engine:
        go_on()
    else:
        ask(engine, SystemRequest(), lambda _: go_on(), on_error)


def tried(work: Callable[[], object], on_error: OnError) -> None:
    """Do it, and tell what went wrong in the way of an answer."""
    try:
        work()
    except (ActiveSegError, OSError) as error:
        on_error(as_told(error))


def as_told(error: ActiveSegError | OSError) -> ActiveSegError:
    """What the user is told about an error of a file or of anything else."""
    return error if isinstance(error, ActiveSegError) else file_error(error)
