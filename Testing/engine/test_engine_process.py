"""The engine as a process: greeting, wrong messages, start, end, log, environment. Nothing here needs a network."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import soon_gone
from running_engine import DEADLINE_S, WatchedEngine, array_message, in_memory, noise_ct

from activeseg.client import protocol
from activeseg.client.engine_client import CrashedEvent, LogEvent
from activeseg.client.launch import EngineOptions, engine_command, engine_environment
from activeseg.client.protocol import (
    LINE_LIMIT,
    ErrorCode,
    ErrorResponse,
    Lines,
    Message,
    Notification,
    Request,
    Response,
    decode,
    encode,
)
from activeseg.client.subprocess_engine import SubprocessEngine
from activeseg.core.errors import ActiveSegError, Crashed, EngineError, InputError
from activeseg.engine.supervisor.log_names import Names


class RawEngine:
    """An engine spoken to in bytes."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            engine_command(sys.executable, home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=engine_environment(),
        )
        self._lines, self._count = Lines(), 1000
        self._arrived: list[bytes | None] = []

    def send(self, *lines: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()

    def next(self) -> Message:
        """The next message; the test's own time limit is the deadline."""
        assert self.process.stdout is not None
        while not self._arrived:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "the engine ended"
            self._arrived += self._lines.feed(data)
        line = self._arrived.pop(0)
        assert line is not None
        return decode(line)

    def ask(self, id: int, method: str, params: Any = None) -> Message:
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": {} if params is None else params}
        self.send(json.dumps(body).encode())
        return self.next()

    def fresh_id(self) -> int:
        self._count += 1
        return self._count

    def answer(self, method: str, params: Any) -> Message:
        """The answer to one request; what else is said meanwhile is passed over."""
        id = self.fresh_id()
        self.send(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode())
        return self.answer_to(str(id))

    def answer_to(self, *ids: str | None) -> Message:
        while True:
            message = self.next()
            if isinstance(message, Response | ErrorResponse) and message.id in ids:
                return message

    def child(self, role: str) -> psutil.Process:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if f"--role={role}" in child.cmdline())

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        assert self.process.wait(DEADLINE_S) == 0


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[RawEngine]:
    engine = RawEngine(tmp_path / "home")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def shared_raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawEngine]:
    engine = RawEngine(tmp_path_factory.mktemp("raw") / "home")
    assert isinstance(engine.ask(1, "hello", {"protocol": 2}), Response)
    yield engine
    engine.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WatchedEngine]:
    with WatchedEngine(tmp_path / "home") as started:
        yield started


def assert_refused(message: Message, code: ErrorCode, *words: str) -> None:
    assert isinstance(message, ErrorResponse), message
    assert message.code == code, message
    assert all(word in message.message for word in words), message.message


def test_nothing_is_answered_before_hello_and_no_other_version_is_spoken(raw: RawEngine) -> None:
    assert_refused(raw.ask(1, "jobs.list"), ErrorCode.NO_HELLO, "hello")
    assert_refused(raw.ask(2, "hello", {"protocol": 1}), ErrorCode.UNSUPPORTED_PROTOCOL, "version 1", "version 2")
    assert_refused(raw.ask(3, "hello", {"protocol": True}), ErrorCode.UNSUPPORTED_PROTOCOL, "version")
    assert_refused(raw.ask(4, "hello"), ErrorCode.UNSUPPORTED_PROTOCOL, "None")
    assert isinstance(raw.ask(5, "hello", {"protocol": 2}), Response)
    assert_refused(raw.ask(6, "hello", {"protocol": 2}), ErrorCode.INVALID_PARAMS, "before")
    assert isinstance(raw.ask(7, "jobs.list"), Response)


def test_wrong_messages_are_answered_and_the_engine_goes_on(raw: RawEngine) -> None:
    assert isinstance(raw.ask(1, "hello", {"protocol": 2}), Response)
    raw.send(b"not json")
    assert_refused(raw.next(), ErrorCode.PARSE)
    raw.send(b"\xff\x00\xfe")
    assert_refused(raw.next(), ErrorCode.PARSE)
    raw.send(b"[" * 50_000)
    assert_refused(raw.next(), ErrorCode.PARSE)
    raw.send(b'{"jsonrpc":"2.0","id":2,"method":"segment","params":"' + b"x" * LINE_LIMIT + b'"}')
    assert_refused(raw.next(), ErrorCode.TOO_LONG, str(LINE_LIMIT))
    raw.send(b'[{"jsonrpc":"2.0","id":3,"method":"jobs.list"}]')
    assert_refused(raw.next(), ErrorCode.INVALID_REQUEST)
    raw.send(b'{"jsonrpc":"2.0","method":"jobs.list"}')
    assert_refused(raw.next(), ErrorCode.INVALID_REQUEST, "id")
    raw.send(b'{"jsonrpc":"2.0","id":4,"result":{}}')
    assert_refused(raw.next(), ErrorCode.INVALID_REQUEST)
    assert_refused(raw.ask(5, "finetune"), ErrorCode.UNKNOWN_METHOD, "finetune")
    assert_refused(raw.ask(6, "__class__"), ErrorCode.UNKNOWN_METHOD)
    assert_refused(raw.ask(7, "jobs.list", [1]), ErrorCode.INVALID_PARAMS)
    assert_refused(raw.ask(8, "cancel", {"job": "8000"}), ErrorCode.INVALID_PARAMS, "8000")
    assert_refused(raw.ask(9, "cancel", {"job": {"a": 1}}), ErrorCode.INVALID_PARAMS)
    assert_refused(raw.ask(10, "log.tail", {"lines": "many"}), ErrorCode.INVALID_PARAMS, "many")
    assert isinstance(raw.ask(11, "jobs.list"), Response)


LONG = "x" * (LINE_LIMIT - 200)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("hello", {"protocol": LONG}, ErrorCode.INVALID_PARAMS),
        ("cancel", {"job": LONG}, ErrorCode.INVALID_PARAMS),
        ("job.release", {"job": LONG}, ErrorCode.INVALID_PARAMS),
        ("log.tail", {"lines": LONG}, ErrorCode.INVALID_PARAMS),
        ("draft.list", {LONG: 1}, ErrorCode.INVALID_PARAMS),
        ("draft.list", {"folder": LONG}, None),
        ("segment", {"model": LONG, "image": "/nowhere"}, None),
        ("segment", {"model": "hounsfield", "image": "/nowhere", "output": "~nobody-of-this-name/x"}, None),
        ("segment", {"model": "hounsfield", "image": "/nowhere", "output": "/tmp/\ud800"}, None),
        ("segment", {"model": "hounsfield\ud800", "image": "/nowhere"}, ErrorCode.INVALID_PARAMS),
        ("segment", {"model": "hounsfield", "image": "/nowhere", "output": LONG[:5000]}, None),
        ("dataset.show", {"dataset": "~nobody-of-this-name"}, ErrorCode.INVALID_PARAMS),
        ("draft.save", {"draft": "/x", "layers": {"json": {"a": 10**400}}}, None),
        ("export", {"prediction": "/x", "edited": "/x", "dataset": "/x", "seconds": 10**400}, ErrorCode.INVALID_PARAMS),
        ("segment", {"model": "hounsfield", "image": {"array": "/x", "geometry": {"shape_kji": [10**400] * 3}}}, None),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "-",
)
def test_a_value_that_nobody_expects_is_an_error_of_its_request_alone(
    shared_raw: RawEngine, method: str, params: dict[str, Any], code: ErrorCode | None
) -> None:
    answer = shared_raw.answer(method, params)
    assert isinstance(answer, ErrorResponse), answer
    assert len(answer.message) < 5000
    assert code is None or answer.code == code, answer
    assert answer.code != ErrorCode.INTERNAL, answer
    assert isinstance(shared_raw.answer("system.info", {}), Response)


@pytest.mark.parametrize("depth", [90, 120, 983, 5000])
@pytest.mark.parametrize("method", ["draft.save", "segment", "cancel", "log.tail"])
def test_a_message_nested_deeply_is_answered(shared_raw: RawEngine, method: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    id = shared_raw.fresh_id()
    shared_raw.send(f'{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"state":{deep}}}}}'.encode())
    answer = shared_raw.answer_to(None, str(id))
    assert isinstance(answer, ErrorResponse) or (method, depth) == ("log.tail", 90)
    assert isinstance(shared_raw.answer("system.info", {}), Response)


@pytest.mark.parametrize("length", [194, 195, 200])
def test_a_job_with_a_long_name_that_is_killed_leaves_the_clerk_working(raw: RawEngine, length: int) -> None:
    """After a killed job a dataset is opened to sweep it, under a name that is not made of the job's."""
    greeting = raw.ask(1, "hello", {"protocol": 2})
    assert isinstance(greeting, Response)
    job = "j" * length
    image = array_message(Path(greeting.result["inbox"]) / "ct.npy", noise_ct((60, 80, 80)))
    raw.send(encode(Request(job, "segment", {"model": "hounsfield", "image": image, "dataset": "/nowhere"})).rstrip())
    stages = ("start", "check", "read", "segment")
    while not (isinstance(said := raw.next(), Notification) and said.params.get("stage") in stages):
        assert not isinstance(said, Response | ErrorResponse), f"the job ended before {stages}: {said}"
    raw.child("worker").kill()
    answer = raw.answer_to(job)
    assert isinstance(answer, ErrorResponse)
    assert isinstance(answer.error(), Crashed | InputError)
    models = raw.answer("models.list", {})
    assert isinstance(models, Response)
    assert "models" in models.result


@pytest.mark.skipif(os.name != "posix", reason="zombies")
def test_a_process_that_was_idle_is_gone_for_good(tmp_path: Path) -> None:
    with WatchedEngine(tmp_path / "home", EngineOptions(idle_s=0.1)) as engine:
        clerk = engine.do("system.info")["engine"]["processes"]["clerk"]
        with contextlib.suppress(psutil.NoSuchProcess):
            assert soon_gone([psutil.Process(clerk)])
        assert all_collected(engine)


def all_collected(engine: WatchedEngine) -> bool:
    """Whether none of the supervisor's children waits to be collected; the thread that does it may need a moment."""
    root = engine.processes()[0]
    for _ in range(1000):
        if not root.children():
            return True
        engine.do("jobs.list")
    return False


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("segment", {}, ["needs", "model"]),
        ("segment", {"model": 7}, ["model", "7"]),
        ("segment", {"model": "hounsfield"}, ["image"]),
        ("segment", {"model": "hounsfield", "image": 7}, ["path"]),
        ("segment", {"model": "hounsfield", "image": "/x", "regions": -1}, ["regions"]),
        ("segment", {"model": "hounsfield", "image": "/x", "focus": "liver"}, ["focus"]),
        ("segment", {"model": "hounsfield", "image": "/x", "colour": "red"}, ["colour"]),
        ("segment", {"model": "hounsfield", "image": "/x", "settings": {"mode": "slow"}}, ["mode", "slow"]),
        ("segment", {"model": "hounsfield", "image": "/x", "settings": {"members": 0}}, ["members"]),
        ("segment", {"model": "hounsfield", "image": "/x", "settings": {"speed": 1}}, ["speed"]),
        ("dataset.show", {}, ["dataset"]),
        ("dataset.show", {"dataset": ["/x"]}, ["dataset"]),
        ("export", {"prediction": "/p", "edited": 3, "dataset": "/d"}, ["edited"]),
        ("export", {"prediction": "/p", "edited": "/e", "dataset": "/d", "states": {"one": "open"}}, ["states"]),
    ],
)
def test_wrong_parameters_are_refused_by_name(
    shared_engine: WatchedEngine, method: str, params: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        shared_engine.do(method, params)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedEngine]:
    with WatchedEngine(tmp_path_factory.mktemp("shared") / "home") as started:
        yield started


def test_a_missing_image_is_an_error_of_the_job_with_an_action(shared_engine: WatchedEngine) -> None:
    with pytest.raises(InputError, match=r"/nowhere/ct\.nii\.gz") as caught:
        shared_engine.do("segment", {"model": "hounsfield", "image": "/nowhere/ct.nii.gz"})
    assert caught.value.action


def test_an_array_file_with_pickles_is_refused(shared_engine: WatchedEngine, tmp_path: Path) -> None:
    import numpy as np

    image = in_memory(shared_engine, noise_ct())
    np.save(image["array"], np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="no array file"):
        shared_engine.do("segment", {"model": "hounsfield", "image": image})


def test_an_id_is_not_taken_twice(raw: RawEngine) -> None:
    raw.ask(1, "hello", {"protocol": 2})
    body = {"jsonrpc": "2.0", "id": 2, "method": "segment", "params": {"model": "hounsfield", "image": "/nowhere"}}
    raw.send(json.dumps(body).encode(), json.dumps({**body, "id": "2"}).encode())
    answers = []
    while len(answers) < 2:
        message = raw.next()
        if isinstance(message, ErrorResponse):
            answers.append(message)
    assert_refused(answers[0], ErrorCode.INVALID_REQUEST, "used before")
    assert_refused(answers[1], ErrorCode.ACTIVESEG, "/nowhere")


def test_hello_tells_versions_log_inbox_and_methods(shared_engine: WatchedEngine) -> None:
    told = shared_engine.start()
    assert told["protocol"] == 2
    assert {"segment", "export", "dataset.show", "models.list", "cancel", "shutdown"} <= set(told["methods"])
    assert "finetune" not in told["methods"]
    assert Path(told["log"]).is_file()
    inbox = Path(told["inbox"])
    assert stat.S_IMODE(inbox.stat().st_mode) == 0o700
    assert stat.S_IMODE(inbox.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(told["log"]).stat().st_mode) == 0o600


def test_cheap_questions_are_answered_without_torch(shared_engine: WatchedEngine) -> None:
    info = shared_engine.do("system.info")
    assert info["cores"] >= 1
    assert 0 < info["ram_free_bytes"] <= info["ram_bytes"]
    assert {model["name"] for model in shared_engine.do("models.list")["models"]} >= {"demo", "hounsfield"}
    clerk = shared_engine.child("clerk")
    supervisor = shared_engine.processes()[0]
    for process in (clerk, supervisor):
        assert not any("libtorch" in Path(area.path).name for area in process.memory_maps())


def test_the_engine_sees_nothing_of_slicers_environment(tmp_path: Path) -> None:
    slicer = {
        **os.environ,
        "SLICER_HOME": "/opt/Slicer",
        "PYTHONHOME": "/opt/Slicer/lib/Python",
        "PYTHONPATH": "/opt/Slicer/bin/Python",
        "LD_LIBRARY_PATH": "/opt/Slicer/lib",
        "SSL_CERT_FILE": "/opt/Slicer/share/Slicer.crt",
        "ITK_AUTOLOAD_PATH": "/opt/Slicer/lib/ITK",
        "QT_PLUGIN_PATH": "/opt/Slicer/lib/QtPlugins",
        "PATH": os.pathsep.join(["/opt/Slicer/bin", os.environ["PATH"]]),
        "HTTPS_PROXY": "http://proxy:3128",
    }
    environment = engine_environment(slicer)
    with WatchedEngine(tmp_path / "home", environment=environment) as engine:
        engine.do("system.info")
        for process in engine.processes():
            seen = process.environ()
            assert "Slicer" not in "\n".join(seen.values())
            assert not any(name.startswith(("PYTHONH", "PYTHONP")) for name in seen)
            assert seen["OMP_WAIT_POLICY"] == "PASSIVE"
            assert seen["nnUNet_n_proc_DA"] == "0"
            assert seen["HTTPS_PROXY"] == "http://proxy:3128"


def test_an_older_activeseg_in_the_environment_is_never_imported(tmp_path: Path) -> None:
    """The engine is started by a path, from a working directory and a PYTHONPATH that hold another ``activeseg``."""
    other = tmp_path / "activeseg"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    environment = {**engine_environment(), "PYTHONPATH": str(tmp_path)}
    with WatchedEngine(tmp_path / "home", environment=environment) as engine:
        assert engine.do("system.info")["cores"] >= 1


def test_two_clients_one_after_the_other_use_one_home(tmp_path: Path) -> None:
    inboxes = []
    for _ in range(2):
        with WatchedEngine(tmp_path / "home") as engine:
            inboxes.append(Path(engine.start()["inbox"]))
    assert inboxes[0] != inboxes[1]
    assert list((tmp_path / "home" / "scratch").iterdir()) == []


def test_two_engines_at_once_do_not_sweep_each_other(tmp_path: Path) -> None:
    with WatchedEngine(tmp_path / "home") as one:
        first = Path(one.start()["inbox"])
        with WatchedEngine(tmp_path / "home") as two:
            assert Path(two.start()["inbox"]).is_dir()
            assert first.is_dir()
        assert first.is_dir()


def test_what_a_killed_engine_left_is_swept_by_the_next(tmp_path: Path) -> None:
    engine = WatchedEngine(tmp_path / "home")
    left = Path(engine.start()["inbox"]).parent
    engine.processes()[0].kill()
    with pytest.raises(Crashed):
        engine.until(lambda event: False)
    assert left.is_dir()
    with WatchedEngine(tmp_path / "home") as following:
        following.start()
        assert not left.exists()


def test_when_stdin_closes_the_engine_and_all_its_children_are_gone(engine: WatchedEngine) -> None:
    engine.do("system.info")
    image = in_memory(engine, noise_ct((60, 80, 80)))
    job = engine.submit("segment", {"model": "hounsfield", "image": image})
    engine.until_stage(job, "start", "check", "read", "segment")
    processes = engine.processes()
    assert len(processes) == 3
    assert engine.process is not None
    assert engine.process.stdin is not None
    engine.process.stdin.close()
    assert soon_gone(processes)
    assert list((engine.home / "scratch").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_when_the_supervisor_is_killed_its_children_are_gone(engine: WatchedEngine, number: str) -> None:
    job = engine.submit("segment", {"model": "hounsfield", "image": in_memory(engine, noise_ct((60, 80, 80)))})
    engine.until_stage(job, "start", "check", "read", "segment")
    processes = engine.processes()
    assert len(processes) == 3
    processes[0].send_signal(getattr(signal, number))
    assert soon_gone(processes)


PARENT = """
import sys
from activeseg.client.subprocess_engine import SubprocessEngine
engine = SubprocessEngine(sys.executable, sys.argv[1])
engine.call("system.info")
print(engine.process.pid, flush=True)
sys.stdin.read()
"""


def test_when_the_client_is_killed_the_engine_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        root = psutil.Process(int(client.stdout.readline()))
        processes = [root, *root.children(recursive=True)]
        assert len(processes) == 2
        client.kill()
        assert soon_gone(processes)


def test_a_crashed_engine_is_one_event_with_its_log_and_the_next_call_starts_it_again(engine: WatchedEngine) -> None:
    engine.do("system.info")
    first = engine.processes()[0]
    first.suspend()  # so that it does not answer
    job = engine.submit("models.list")
    first.kill()
    failure = engine.failure(job)
    assert isinstance(failure.error, Crashed)
    assert "SIGKILL" in failure.error.message
    crashes = [event for event in engine.events if isinstance(event, CrashedEvent)]
    assert len(crashes) == 1
    assert any("Client: test" in line for line in crashes[0].log_tail)
    assert engine.do("system.info")["cores"] >= 1
    assert engine.processes()[0].pid != first.pid


def test_an_engine_that_dies_while_it_is_closed_is_closed(
    engine: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.do("system.info")
    supervisor = engine.processes()[0]
    supervisor.kill()
    assert soon_gone([supervisor])
    # as of a process whose first thread has ended before its others
    monkeypatch.setattr(engine.process, "poll", lambda: None)
    engine.close()
    assert engine.process is None


def test_a_python_that_is_not_there_is_an_error_with_an_action(tmp_path: Path) -> None:
    engine = SubprocessEngine(tmp_path / "no" / "python", tmp_path / "home")
    with pytest.raises(EngineError, match="cannot be started") as caught:
        engine.start()
    assert "environment" in caught.value.action


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_an_engine_that_ends_at_once_is_a_crash_with_what_it_printed(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'libpython is missing' >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(Crashed, match="exit code 3") as caught:
        SubprocessEngine(broken, tmp_path / "home").start()
    assert caught.value.details["log"] == ["libpython is missing"]


def test_the_log_begins_a_new_file_when_it_is_full(tmp_path: Path) -> None:
    options = EngineOptions(log_kib=4)
    with WatchedEngine(tmp_path / "home", options) as engine:
        log = Path(engine.start()["log"])
        for _ in range(12):  # each failure prints a traceback
            with pytest.raises(InputError):
                engine.do("dataset.show", {"dataset": 1})
            with pytest.raises(InputError):
                engine.do("segment", {"model": "hounsfield", "image": "/nowhere"})
        assert log.stat().st_size <= 4096
        assert log.with_name(f"{log.name}.1").stat().st_size <= 4096
        tail = engine.do("log.tail", {"lines": 3})
        assert len(tail["lines"]) == 3
        assert any(isinstance(event, LogEvent) for event in engine.events)


def test_the_log_names_no_patient(tmp_path: Path) -> None:
    """Users are asked to send it. What is told to the user may name files."""
    patient = tmp_path / "Meier Hans 1950"
    patient.mkdir()
    (patient / "CT Thorax Meier.nii.gz").write_bytes(b"no image")
    (patient / "MEIER_4711.dcm").write_bytes(b"no image")
    (patient / "drafts" / "Hans_Meier").mkdir(parents=True)
    (patient / "drafts" / "Hans_Meier" / "draft.json").write_text("{")
    requests = [
        ("segment", {"model": "hounsfield", "image": str(patient / "CT Thorax Meier.nii.gz")}),
        ("segment", {"model": "hounsfield", "image": str(patient)}),
        ("segment", {"model": "hounsfield", "image": {"path": str(patient), "series": "Meier^Hans"}}),
        ("segment", {"model": f"nnunet:{patient}", "image": str(patient)}),
        ("export", {"prediction": str(patient), "edited": str(patient / "x.nrrd"), "dataset": str(tmp_path / "d")}),
        ("dataset.show", {"dataset": str(patient)}),
        ("draft.list", {"folder": str(patient / "drafts")}),
        ("draft.open", {"draft": str(patient / "drafts" / "Hans_Meier")}),
        ("project.show", {"project": str(patient)}),
    ]
    with WatchedEngine(tmp_path / "home") as engine:
        for method, params in requests:
            with contextlib.suppress(ActiveSegError):
                engine.do(method, params)
        engine.until_printed("project.show failed:")
        log = Path(engine.client.engine["log"])
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        printed = engine.printed()
    text = log.read_text()
    assert "segment failed: InputError input" in text
    assert "activeseg/engine/worker/worker.py" in text
    for said in (text, *printed):
        assert not re.search(r"meier|hans|4711|1950|thorax", said, re.IGNORECASE), said
        assert str(tmp_path) not in said


def test_names_and_paths_are_replaced_in_what_libraries_print() -> None:
    names = Names()
    names.learn({"image": {"path": "/data/Meier Hans/CT Thorax.nii.gz", "series": "Abdomen Meier"}, "model": "demo"})
    own = Path(protocol.__file__).resolve()
    for line, hidden in {
        "reading /data/Meier Hans/CT Thorax.nii.gz now": "reading <name> now",
        "case CT Thorax: 3 slices": "case <name>: 3 slices",
        "series ABDOMEN MEIER is odd": "series <name> is odd",
        "cannot open '/other/Huber Eva/a.dcm'": "cannot open <path>",
        "cannot open /other/Huber/a.dcm, sorry": "cannot open <path> sorry",
        "cannot open C:\\Users\\Eva\\a.dcm": "cannot open <path>",
        "wrote Huber_Eva.nii.gz": "wrote <file>",
        f'  File "{own}", line 7, in f': '  File "activeseg/client/protocol.py", line 7, in f',
        "1/2 of the tiles, 3 it/s": "1/2 of the tiles, 3 it/s",
        "demo runs on cuda:0": "demo runs on cuda:0",
    }.items():
        assert names.hidden(line) == hidden


def test_the_first_answer_comes_within_a_second(tmp_path: Path) -> None:
    """In CPU time of the supervisor, which does not depend on what else the computer does."""
    with WatchedEngine(tmp_path / "home") as engine:
        engine.start()
        used = engine.processes()[0].cpu_times()
        assert used.user + used.system < 1.0


def test_an_idle_process_is_ended_and_comes_back(tmp_path: Path) -> None:
    with WatchedEngine(tmp_path / "home", EngineOptions(idle_s=0.2)) as engine:
        clerk = engine.do("system.info")["engine"]["processes"]["clerk"]
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
            assert soon_gone([psutil.Process(clerk)])
        assert engine.do("system.info")["engine"]["processes"]["clerk"] != clerk


def test_a_client_that_does_not_read_does_not_stop_the_engine(raw: RawEngine) -> None:
    raw.ask(1, "hello", {"protocol": 2})
    for number in range(3000):
        raw.send(json.dumps({"jsonrpc": "2.0", "id": number + 2, "method": "log.tail"}).encode())
    seen = 0
    while seen < 3000:
        seen += isinstance(raw.next(), Response)
