"""The engine as a QProcess, in a real event loop: PySide6's QProcess, genuine engines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import all_gone
from watched_process import Answer, WatchedProcess, until

from activeseg.client.engine_client import EstimateEvent, LabelEvent
from activeseg.client.protocol import LINE_LIMIT
from activeseg.core.errors import Cancelled, Crashed, EngineError, InputError
from activeseg.io.npy import read_array

MakeProcess = Callable[..., WatchedProcess]
LONG = (128, 192, 192)
"""An image whose segmentation is not over before a test has stopped it."""
needs_scripts = pytest.mark.skipif(os.name == "nt", reason="the stand-in for a Python is a script with a #! line")


def fake_python(folder: Path, *lines: str) -> Path:
    """A program in the place of the engine's Python, which runs these lines of Python instead of the engine."""
    program = folder / "python"
    program.write_text("\n".join((f"#!{sys.executable}", "import json, os, signal, sys", *lines, "")), "utf-8")
    program.chmod(0o700)
    return program


# Start and answers.


def test_the_first_request_starts_the_engine_and_is_answered(process: WatchedProcess) -> None:
    assert process.engine == {}
    answer = process.ask("system.info")
    assert answer.result()["engine"]["pid"] == process.engine["pid"]
    assert process.about == [process.engine]
    assert process.ends == process.raised == []


def test_starting_twice_starts_one_engine(process: WatchedProcess) -> None:
    process.start()
    process.start()
    process.ask("jobs.list").result()
    process.start()
    process.ask("jobs.list").result()
    assert len(process.about) == 1


def test_requests_that_were_made_before_the_engine_was_ready_are_answered_in_their_order(
    process: WatchedProcess,
) -> None:
    order: list[str] = []
    for name in ("1", "2", "3"):
        process.request("jobs.list", on_result=lambda _, name=name: order.append(name))
    assert order == []
    until(lambda: len(order) == 3)
    assert order == ["1", "2", "3"]


def test_a_refused_request_is_the_engines_typed_error(process: WatchedProcess) -> None:
    error = process.ask("cancel", {"job": "nothing"}).error()
    assert isinstance(error, InputError)
    assert "nothing" in error.message
    assert process.ends == process.raised == []


def test_an_error_that_nobody_takes_goes_to_the_listener(process: WatchedProcess) -> None:
    process.request("cancel", {"job": "nothing"})
    until(lambda: process.raised)
    assert [type(error) for error in process.raised] == [InputError]


def test_variables_of_another_python_do_not_reach_the_engine(make_process: MakeProcess) -> None:
    disturbed = {**os.environ, "PYTHONHOME": "nowhere", "LD_LIBRARY_PATH": "nowhere", "QT_PLUGIN_PATH": "nowhere"}
    process = make_process(environment=disturbed)
    process.start_and_wait()
    theirs = psutil.Process(process.engine["pid"]).environ()
    assert not {"PYTHONHOME", "LD_LIBRARY_PATH", "QT_PLUGIN_PATH"} & set(theirs)


def test_nearly_the_longest_message_is_answered_with_a_short_one(process: WatchedProcess) -> None:
    name = "x" * (LINE_LIMIT - 1000)
    error = process.ask("cancel", {"job": name}).error()
    assert error.message.startswith("There is no job 'xxx")
    assert len(error.message) < 1000
    assert "lines" in process.ask("log.tail", {"lines": 1}).result()


def test_a_message_that_is_too_long_is_refused_at_once_and_disturbs_nothing(process: WatchedProcess) -> None:
    with pytest.raises(EngineError, match="too long"):
        process.ask("cancel", {"job": "x" * LINE_LIMIT})
    assert process.ask("jobs.list").result() == {"jobs": []}


def test_thousands_of_messages_arrive_each_once_and_in_order(process: WatchedProcess) -> None:
    process.start_and_wait()
    order: list[int] = []
    for number in range(3000):
        process.request("jobs.list", on_result=lambda _, number=number: order.append(number))
    until(lambda: len(order) >= 3000)
    process.ask("jobs.list").result()
    assert order == list(range(3000))


# Jobs.


def test_a_segmentation_tells_what_it_needs_and_how_far_it_is(process: WatchedProcess) -> None:
    job = process.segment()
    result = job.result()
    assert read_array(result["labels"]).shape == (40, 48, 48)
    stages = list(dict.fromkeys(event.stage for event in job.progress))
    assert stages[0] == "start"
    assert "network" in stages
    assert stages[-1] == "save"
    estimates = [event.estimate for event in job.notices if isinstance(event, EstimateEvent)]
    assert estimates == [result["estimate"]]
    assert [event.result for event in job.notices if isinstance(event, LabelEvent)] == [result]
    process.ask("job.release", {"job": job.id}).result()
    assert not Path(result["labels"]).exists()
    assert (len(job.results), process.raised) == (1, [])


def test_a_cancelled_job_ends_with_cancelled_and_the_engine_goes_on(process: WatchedProcess) -> None:
    job = process.segment(LONG)
    until(lambda: job.has_reached("start"))
    process.cancel(job.id)
    process.cancel(job.id)
    assert isinstance(job.error(), Cancelled)
    process.cancel(job.id)  # too late: nothing happens
    assert [entry["state"] for entry in process.ask("jobs.list").result()["jobs"]] == ["cancelled"]
    assert (len(job.errors), len(process.about)) == (1, 1)
    assert process.ends == process.raised == []


def test_a_queued_job_is_cancelled_while_the_one_before_it_goes_on(process: WatchedProcess) -> None:
    process.start_and_wait()
    order: list[str] = []
    process.request("engine.warm", on_result=lambda _: order.append("first is done"))
    second = process.request("engine.warm", on_error=lambda error: order.append(f"second is {error.code}"))
    process.cancel(second)
    until(lambda: len(order) == 2)
    assert order == ["second is cancelled", "first is done"]
    assert process.raised == []


def test_a_job_can_be_cancelled_before_the_engine_is_ready(process: WatchedProcess) -> None:
    job = process.ask("engine.warm")
    process.cancel(job.id)
    assert isinstance(job.error(), Cancelled)


# Ends that nobody asked for.


def test_a_killed_engine_fails_each_open_request_once_and_is_started_again(process: WatchedProcess) -> None:
    job = process.segment(LONG)
    other = process.ask("engine.warm")
    until(lambda: job.has_reached("start") and other.has_reached("queued"))
    processes = process.processes()
    log = Path(process.engine["log"]).read_text("utf-8").splitlines()
    ends_at_errors: list[int] = []
    process.request("engine.warm", on_error=lambda _: ends_at_errors.append(len(process.ends)))
    processes[0].kill()
    until(lambda: process.ends)
    ((crash, tail),) = process.ends
    assert isinstance(crash, Crashed)
    assert os.name == "nt" or "SIGKILL" in crash.message
    assert set(tail) & set(log)
    assert job.errors == other.errors == [crash]
    assert ends_at_errors == [0]
    assert process.engine == {}
    until(lambda: all_gone(processes))
    process.cancel(job.id)
    assert not psutil.Process().children()  # there is nothing to cancel, so nothing is started for it

    assert process.ask("system.info").result()["engine"]["pid"] != processes[0].pid
    assert (len(job.errors), len(other.errors), len(process.ends), len(process.about)) == (1, 1, 1, 2)
    assert process.raised == []


def test_a_request_that_is_made_while_nobody_knows_of_the_end_yet_fails_with_it(process: WatchedProcess) -> None:
    process.start_and_wait()
    engine = process.processes()[0]
    engine.kill()
    answer = process.ask("jobs.list")  # the event loop has not run since
    assert isinstance(answer.error(), Crashed)
    assert process.ask("jobs.list").result() == {"jobs": []}
    assert len(process.ends) == 1


def test_an_error_callback_may_ask_again(process: WatchedProcess) -> None:
    process.start_and_wait()
    again: list[Answer] = []
    process.request("engine.warm", on_error=lambda _: again.append(process.ask("jobs.list")))
    process.processes()[0].kill()
    until(lambda: again)
    assert again[0].result() == {"jobs": []}
    assert (len(process.ends), len(process.about)) == (1, 2)


def test_a_python_that_is_not_there_is_one_clear_error(make_process: MakeProcess, tmp_path: Path) -> None:
    process = make_process(tmp_path / "no-python")
    answers = [process.ask("system.info"), process.ask("models.list")]
    assert not any(answer.arrived for answer in answers)  # never from within a call
    errors = [answer.error() for answer in answers]
    until(lambda: process.ends)
    assert type(errors[0]) is EngineError
    assert "no-python" in errors[0].message
    assert errors[0].action

    process.ask("system.info").error()
    until(lambda: len(process.ends) > 1)
    assert [len(answer.errors) for answer in answers] == [1, 1]
    assert len(process.ends) == 2


@needs_scripts
def test_a_python_that_ends_at_once_is_a_crash_with_what_it_printed(make_process: MakeProcess, tmp_path: Path) -> None:
    process = make_process(fake_python(tmp_path, "print('no module named life', file=sys.stderr)", "sys.exit(3)"))
    crash = process.ask("system.info").error()
    until(lambda: process.ends)
    assert isinstance(crash, Crashed)
    assert "exit code 3" in crash.message
    assert process.ends == [(crash, ("no module named life",))]


@needs_scripts
def test_an_engine_of_another_version_is_refused_in_words_and_ended(make_process: MakeProcess, tmp_path: Path) -> None:
    answer = "{'jsonrpc': '2.0', 'id': json.loads(sys.stdin.readline())['id'], 'result': {'protocol': 99}}"
    process = make_process(fake_python(tmp_path, f"print(json.dumps({answer}), flush=True)", "signal.pause()"))
    refusal = process.ask("system.info").error()
    until(lambda: process.ends)
    assert type(refusal) is EngineError
    assert "version 99" in refusal.message
    assert process.ends == [(refusal, ())]
    assert process.about == []
    assert "version 99" in process.ask("system.info").error().message  # the next engine is asked anew


@needs_scripts
def test_what_failed_with_one_engine_does_not_reach_the_next(
    make_process: MakeProcess, tmp_path: Path, engine_python: Path
) -> None:
    updated = tmp_path / "updated"
    genuine = f"os.execv({str(engine_python)!r}, [{str(engine_python)!r}, *sys.argv[1:]])"
    process = make_process(fake_python(tmp_path, f"{genuine} if os.path.exists({str(updated)!r}) else sys.exit(3)"))
    process.ask("engine.warm").error()
    until(lambda: process.ends)
    updated.touch()
    assert process.ask("jobs.list").result() == {"jobs": []}


@needs_scripts
def test_an_engine_that_was_refused_is_taken_after_its_update(
    make_process: MakeProcess, tmp_path: Path, engine_python: Path
) -> None:
    updated = tmp_path / "updated"
    answer = "{'jsonrpc': '2.0', 'id': json.loads(sys.stdin.readline())['id'], 'result': {'protocol': 99}}"
    genuine = f"os.execv({str(engine_python)!r}, [{str(engine_python)!r}, *sys.argv[1:]])"
    process = make_process(
        fake_python(
            tmp_path,
            f"if os.path.exists({str(updated)!r}): {genuine}",
            f"print(json.dumps({answer}), flush=True)",
            "signal.pause()",
        )
    )
    assert "version 99" in process.ask("system.info").error().message
    until(lambda: process.ends)
    updated.touch()
    process.ask("system.info").result()
    process.processes()[0].kill()
    assert isinstance(process.ask("jobs.list").error(), Crashed)  # its own end, not the refusal of the one before


# Callbacks.


def test_callbacks_that_raise_do_not_stop_the_others(process: WatchedProcess) -> None:
    def fail(_: Any) -> None:
        raise ValueError("from a callback")

    process.request("jobs.list", on_result=fail)
    process.request("cancel", {"job": "nothing"}, on_error=fail)
    process.request("engine.warm", on_progress=fail)
    assert process.ask("jobs.list").result()
    until(lambda: len(process.raised) >= 3)
    assert {str(error) for error in process.raised} == {"from a callback"}


def test_a_callback_may_run_an_event_loop_of_its_own(process: WatchedProcess) -> None:
    inner: list[Answer] = []

    def open_dialog(_: Any) -> None:
        inner.append(process.ask("jobs.list"))
        inner[0].result()

    later = Answer()
    process.request("jobs.list", on_result=open_dialog)
    process.request("models.list", on_result=later.results.append)
    later.result()
    assert inner[0].result()
    assert process.raised == []


def test_answers_that_came_together_do_not_wait_for_a_dialog(process: WatchedProcess) -> None:
    process.start_and_wait()
    seen_inside: list[bool] = []
    second = Answer()

    def open_dialog(_: Any) -> None:
        until(lambda: second.arrived)
        seen_inside.append(True)

    process.request("engine.warm", on_error=open_dialog)
    process.request("engine.warm", on_error=second.errors.append)
    process.processes()[0].kill()  # both fail in one event
    until(lambda: seen_inside and process.ends)
    assert process.raised == []


def test_the_engine_may_end_while_a_callback_runs_an_event_loop(process: WatchedProcess) -> None:
    ends: list[int] = []

    def open_dialog(_: Any) -> None:
        process.processes()[0].kill()
        until(lambda: process.ends)
        ends.append(len(process.ends))

    process.request("jobs.list", on_result=open_dialog)
    until(lambda: ends)
    assert ends == [1]
    assert process.ask("jobs.list").result() == {"jobs": []}


# Shutdown.


def test_shutdown_in_the_middle_of_a_job_leaves_no_process_and_calls_nobody(process: WatchedProcess) -> None:
    job = process.segment(LONG)
    until(lambda: job.has_reached("start"))
    processes = process.processes()
    told, inbox = len(job.progress), Path(process.engine["inbox"])
    assert inbox.is_dir()
    process.shutdown()
    assert not inbox.exists()  # it has ended by itself and cleared up
    until(lambda: all_gone(processes))
    process.shutdown()  # twice is once
    assert (job.arrived, len(job.progress), process.ends) == (False, told, [])
    with pytest.raises(EngineError, match="shut down"):
        process.request("system.info")
    with pytest.raises(EngineError, match="shut down"):
        process.start()


def test_shutdown_while_the_engine_starts_leaves_no_process(process: WatchedProcess) -> None:
    answer = process.ask("system.info")
    children = psutil.Process().children(recursive=True)
    assert children
    process.shutdown()
    until(lambda: all_gone(children))
    assert not answer.arrived
    assert process.about == process.ends == []


def test_a_callback_may_shut_the_engine_down_and_is_the_last_one(process: WatchedProcess) -> None:
    process.start_and_wait()
    shut_down: list[bool] = []

    def shutdown(_: Any) -> None:
        process.shutdown()
        shut_down.append(True)

    later = Answer()
    process.request("engine.warm", on_error=shutdown)
    process.request("engine.warm", on_result=later.results.append, on_error=later.errors.append)
    process.processes()[0].kill()  # both fail in one event
    until(lambda: shut_down)
    assert not later.arrived
    assert process.ends == process.raised == []


@needs_scripts
def test_an_engine_that_does_not_end_by_itself_is_killed(make_process: MakeProcess, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    process = make_process(fake_python(tmp_path, stubborn, f"open({str(ready)!r}, 'w').close()", "signal.pause()"))
    process.start()
    until(ready.exists)
    children = psutil.Process().children()
    assert children
    process.shutdown(timeout_s=0.1)
    until(lambda: all_gone(children))
