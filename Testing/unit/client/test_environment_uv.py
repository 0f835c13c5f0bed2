"""uv: where pip takes it from, how it is verified, what is told when that fails; how programs are run and ended."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import sysconfig
import threading
import zipfile
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from installable import PYTHON
from processes import soon_gone

from activeseg.client.environment import uv
from activeseg.client.environment.failure import failure, without_secrets
from activeseg.client.environment.uv_commands import Source, uv_environment
from activeseg.client.environment.uv_process import Runner
from activeseg.core.errors import Cancelled, EngineError, InputError
from activeseg.core.progress import Progress


class Requests(SimpleHTTPRequestHandler):
    """Serves a folder and remembers what was asked, and as whom; as a proxy it is asked for whole addresses."""

    asked: list[tuple[str, str]]
    status: int

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization", "")))
        if self.status != 200:
            self.send_error(self.status)
            return
        if self.path.startswith("http://"):
            self.path = "/" + self.path.split("/", 3)[3]
        super().do_GET()

    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder: Path, status: int = 200):
    """A web server for ``folder``: its address, and the list of what it was asked. It may answer all with a status."""
    handler = type("Here", (Requests,), {"asked": [], "status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def index(tmp_path, uv_wheel):
    """A package index on disk with one page, whose links are relative; a function that writes the page."""
    (tmp_path / "simple" / "uv").mkdir(parents=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / uv_wheel.name).symlink_to(uv_wheel)

    def write(name: str = uv_wheel.name) -> Path:
        link = f'<a href="../../files/{name}">{name}</a>'
        (tmp_path / "simple" / "uv" / "index.html").write_text(f"<!DOCTYPE html><body>{link}</body>", "utf-8")
        return tmp_path

    return write


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """Runs programs in an empty folder, with nothing in the environment that says where packages come from."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    folder = tmp_path / "engine"
    folder.mkdir()
    return Runner(folder, uv_environment(folder, Source()), folder / "install.log")


def obtain(runner: Runner, progress: Progress | None = None, **source) -> Path:
    return uv.obtain(runner.folder / "uv", Source(**source), runner, progress or Progress())


def test_uv_comes_from_an_index_with_a_password_which_is_never_shown(index, uv_wheel, runner):
    with served(index()) as (address, asked):
        program = obtain(runner, index=address.replace("//", "//anna:s%20cret@") + "/simple/")
    assert program == uv.program_in(runner.folder / "uv")
    assert os.access(program, os.X_OK)
    assert ("/files/" + uv_wheel.name, "Basic YW5uYTpzIGNyZXQ=") in asked
    log = runner.log.read_text("utf-8")
    assert f"uv-{uv.VERSION}" in log
    assert "cret" not in log


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"])
def test_the_index_of_pip_or_of_uv_is_asked(index, uv_wheel, runner, monkeypatch, variable):
    with served(index()) as (address, asked):
        monkeypatch.setenv(variable, ("ours=" if variable == "UV_DEFAULT_INDEX" else "") + address + "/simple")
        obtain(runner)
    assert [path for path, _ in asked] == ["/simple/uv/", f"/files/{uv_wheel.name}"]


def test_the_chosen_index_goes_before_all_others():
    given = {"UV_DEFAULT_INDEX": "https://a/", "PIP_INDEX_URL": "https://b/"}
    assert uv.pip_environment(Source(index="https://c/"), given)["PIP_INDEX_URL"] == "https://c/"
    assert uv.pip_environment(Source(), given)["PIP_INDEX_URL"] == "https://a/"


@pytest.mark.parametrize("set_by", ["choice", "variable"])
def test_uv_comes_through_a_proxy(index, uv_wheel, runner, monkeypatch, set_by):
    with served(index()) as (address, asked):
        if set_by == "variable":
            monkeypatch.setenv("http_proxy", address)
        obtain(runner, index="http://localhost:9/simple", proxy=address if set_by == "choice" else "")
    assert [path for path, _ in asked] == [
        "http://localhost:9/simple/uv/",
        f"http://localhost:9/files/{uv_wheel.name}",
    ]


def test_a_password_of_proxy_or_index_is_on_no_command_line():
    source = Source(index="https://anna:secret@a/simple", proxy="http://anna:secret@proxy:3128")
    assert "secret" not in " ".join(uv.pip_command(Path("uv"), source))
    found = uv.pip_environment(source, {})
    assert (found["PIP_INDEX_URL"], found["PIP_PROXY"]) == (source.index, source.proxy)


def test_without_internet_pip_looks_nowhere_but_into_the_folder(uv_wheel, runner, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "https://elsewhere.invalid/")
    monkeypatch.setenv("PIP_INDEX_URL", "https://elsewhere.invalid/simple")
    assert obtain(runner, wheels=uv_wheel.parent, offline=True).is_file()
    assert "elsewhere" not in runner.log.read_text("utf-8")
    assert uv.pip_environment(Source(wheels=uv_wheel.parent, offline=True), {})["PIP_CONFIG_FILE"] == os.devnull


def test_a_wheel_that_is_not_the_tested_one_is_refused_wherever_it_comes_from(index, uv_wheel, tmp_path, runner):
    other = tmp_path / "other" / uv_wheel.name
    other.parent.mkdir()
    shutil.copy(uv_wheel, other)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("uv/more.py", "import os")
    (tmp_path / "files" / uv_wheel.name).unlink(missing_ok=True)
    (tmp_path / "files" / uv_wheel.name).symlink_to(other)
    with served(index()) as (address, _), pytest.raises(EngineError, match="not the file that was tested") as error:
        obtain(runner, index=address + "/simple")
    assert error.value.details["cause"] == "damaged"
    with pytest.raises(EngineError, match="not the file that was tested"):
        obtain(runner, wheels=other.parent, offline=True)
    assert not uv.program_in(runner.folder / "uv").exists()


def test_half_a_wheel_is_refused(uv_wheel, tmp_path, runner):
    (tmp_path / uv_wheel.name).write_bytes(uv_wheel.read_bytes()[:1_000_000])
    with pytest.raises(EngineError, match="not the file that was tested"):
        obtain(runner, wheels=tmp_path, offline=True)


def test_an_index_without_the_tested_version_is_told(index, uv_wheel, runner):
    with served(index(uv_wheel.name.replace(uv.VERSION, "0.9.0"))) as (address, _), pytest.raises(EngineError) as error:
        obtain(runner, index=address + "/simple")
    assert error.value.details["cause"] == "missing"
    assert f"uv=={uv.VERSION}" in str(error.value)


@pytest.mark.parametrize(
    ("status", "cause"), [(401, "credentials"), (403, "credentials"), (404, "missing"), (407, "proxy")]
)
def test_an_index_that_refuses_is_told_with_its_cause_and_without_the_password(tmp_path, runner, status, cause):
    with served(tmp_path, status) as (address, _), pytest.raises(EngineError) as error:
        obtain(runner, index=address.replace("//", "//anna:secret@") + "/simple")
    assert error.value.details["cause"] == cause
    assert "secret" not in str(error.value.to_dict()) + runner.log.read_text("utf-8")


def test_an_index_that_does_not_answer_is_told_as_such(tmp_path, runner):
    with served(tmp_path) as (address, _):
        pass
    with pytest.raises(EngineError, match="the server could not be reached") as error:
        obtain(runner, index=address.replace("//", "//anna:secret@"))
    assert error.value.details["cause"] == "network"
    assert "secret" not in str(error.value.to_dict())


def test_a_proxy_that_does_not_answer_is_told_as_such(tmp_path, runner):
    with served(tmp_path) as (address, _):
        pass
    with pytest.raises(EngineError, match="the proxy server") as error:
        obtain(runner, index="http://localhost:9/simple", proxy=address.replace("//", "//anna:secret@"))
    assert error.value.details["cause"] == "proxy"
    assert "secret" not in str(error.value.to_dict())


def test_cancelling_ends_pip(tmp_path, runner):
    """The index takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        seen: list[psutil.Process] = []

        def cancelled() -> bool:
            seen.extend(psutil.Process().children(recursive=True))
            silent.settimeout(0.0)
            try:
                silent.accept()
            except BlockingIOError:
                return False
            return True

        with pytest.raises(Cancelled):
            obtain(runner, Progress(cancelled=cancelled), index=f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
    assert seen
    assert soon_gone(seen, within_s=30)


def test_a_pip_that_lies_in_the_folder_is_not_started(uv_wheel, runner):
    (runner.folder / "pip.py").write_text("raise SystemExit('planted')\n", "utf-8")
    assert obtain(runner, wheels=uv_wheel.parent, offline=True).is_file()


def test_no_package_of_the_python_that_runs_pip_is_touched(uv_wheel, runner):
    before = {path: path.stat().st_mtime_ns for path in Path(sysconfig.get_path("purelib")).iterdir()}
    obtain(runner, wheels=uv_wheel.parent, offline=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "--target" in uv.pip_command(runner.folder, Source())


def test_a_python_without_pip_uses_the_one_that_it_keeps_for_new_environments(uv_wheel, runner, monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else known(name))
    assert uv.pip_command(Path("uv"), Source())[2].endswith("pip")
    assert obtain(runner, wheels=uv_wheel.parent, offline=True).is_file()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="has no pip"):
        uv.pip_command(Path("uv"), Source())


def test_in_slicer_pip_keeps_slicers_variables_and_loses_its_certificates():
    given = {
        "SLICER_HOME": "/opt/Slicer",
        "PYTHONHOME": "/opt/Slicer/lib/Python",
        "LD_LIBRARY_PATH": "/opt/Slicer/lib",
        "SSL_CERT_FILE": "/opt/Slicer/share/Slicer.crt",
        "PATH": "/opt/Slicer/bin",
    }
    inside = uv.pip_environment(Source(), given, "/opt/Slicer/bin/python-real")
    assert given.items() - inside.items() == {("SSL_CERT_FILE", given["SSL_CERT_FILE"])}
    outside = uv.pip_environment(Source(), given, "/usr/bin/python3")
    assert not {"PYTHONHOME", "LD_LIBRARY_PATH", "SSL_CERT_FILE"} & set(outside)
    company = uv.pip_environment(Source(), {"SSL_CERT_FILE": "/etc/company.pem"})
    assert company["PIP_CERT"] == "/etc/company.pem"


def test_a_folder_without_uv_is_refused_with_what_to_do(tmp_path):
    for name in (f"uv-{uv.VERSION}-py3-none-win32.whl", f"uv-{uv.VERSION}-x.whl", "uv-0.9.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="no wheel of uv") as error:
        uv.refuse_folder_without_uv(tmp_path)
    assert f"pip download --no-deps uv=={uv.VERSION}" in error.value.action


def test_every_computer_that_torch_has_builds_for_has_a_verified_uv():
    text = uv.REQUIREMENT.read_text("utf-8")
    hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", text)
    assert len(hashes) == len(set(hashes)) == 8
    assert len(re.findall("^uv==", text, re.MULTILINE)) == 1


# Running it.

TREE = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(os.name != "posix", reason="process groups are of POSIX")
def test_cancelling_ends_the_program_and_what_it_started(tmp_path):
    runner = Runner(tmp_path, dict(os.environ), tmp_path / "log.txt")
    started: list[psutil.Process] = []

    def tick():
        if started:
            raise Cancelled

    def heard(line):
        child = psutil.Process(int(line))
        started.extend([child, *child.parents()[:1]])

    with pytest.raises(Cancelled):
        runner.run([str(PYTHON), "-c", TREE], "It failed", tick, heard)
    ended = soon_gone(started, within_s=30)
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert len(started) == 2
    assert ended


def test_a_failure_is_told_in_words_with_the_cause_and_is_in_the_log(tmp_path):
    runner = Runner(tmp_path, dict(os.environ), tmp_path / "log.txt")
    code = "import sys; print('error: No space left on device (os error 28)', file=sys.stderr); sys.exit(2)"
    with pytest.raises(EngineError, match="It failed: the disk is full") as error:
        runner.run([str(PYTHON), "-c", code], "It failed", lambda: None)
    assert error.value.details["cause"] == "disk"
    assert error.value.details["log"] == str(tmp_path / "log.txt")
    assert "os error 28" in (tmp_path / "log.txt").read_text("utf-8")


# What uv 0.13 and the systems really say.
@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("  cause: failed to lookup address information: Name or service not known", "network"),
        ("error: Request failed after 3 retries in 9.8s\n  cause: operation timed out", "network"),
        ("  cause: unsuccessful tunnel\n  cause: error sending request for url", "proxy"),
        ("  cause: invalid peer certificate: UnknownIssuer\n  cause: error sending request", "certificate"),
        ("error: HTTP status client error (401 Unauthorized) for url (https://a)", "credentials"),
        ("error: failed to write\n  cause: There is not enough space on the disk. (os error 112)", "disk"),
        ("error: failed to create directory\n  cause: Permission denied (os error 13)", "permission"),
        ("error: The filename or extension is too long. (os error 206)", "path"),
        ("error: The process cannot access the file (os error 32)", "busy"),
        ("error: No solution found when resolving dependencies", "missing"),
        ("error: No interpreter found for Python 3.12 in managed installations", "python"),
        ("error: something new", "unknown"),
    ],
)
def test_the_cause_of_a_failure_is_recognised(said, cause):
    error = failure("It failed", ["Resolved 3 packages in 2s", *said.splitlines()])
    assert error.details["cause"] == cause
    assert error.message.startswith("It failed: ")
    assert error.action


def test_passwords_are_in_no_message():
    assert (
        without_secrets("from https://anna:pw@host/simple and http://h/")
        == "from https://***@host/simple and http://h/"
    )
    assert "pw" not in str(failure("It failed", ["error: https://anna:pw@host/ refused (401 Unauthorized)"]).to_dict())
