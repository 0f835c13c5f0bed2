"""uv: which wheel of it, from where, how it is verified, and how it is run and ended."""

from __future__ import annotations

import hashlib
import os
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
from activeseg.client.environment.uv import Wheel, best_wheel, index_url, platform_suits
from activeseg.client.environment.uv_process import Runner
from activeseg.core.errors import Cancelled, EngineError, InputError
from activeseg.core.progress import Progress

LINUX = "manylinux_2_17_x86_64.manylinux2014_x86_64"
GLIBC, MUSL = ("glibc", "2.36"), ("", "")


@pytest.mark.parametrize(
    ("tags", "system", "machine", "libc", "suits"),
    [
        (LINUX, "linux", "x86_64", GLIBC, True),
        (LINUX, "linux", "x86_64", ("glibc", "2.12"), False),
        (LINUX, "linux", "aarch64", GLIBC, False),
        (LINUX, "linux", "x86_64", MUSL, False),
        ("musllinux_1_1_x86_64", "linux", "x86_64", MUSL, True),
        ("manylinux_2_28_aarch64", "linux", "aarch64", GLIBC, True),
        ("win_amd64", "win32", "AMD64", MUSL, True),
        ("win_arm64", "win32", "AMD64", MUSL, False),
        ("macosx_11_0_arm64", "darwin", "arm64", MUSL, True),
        ("macosx_10_12_x86_64", "darwin", "arm64", MUSL, False),
        (LINUX, "win32", "AMD64", MUSL, False),
    ],
)
def test_a_wheel_suits_the_machine_that_its_tags_name(tags, system, machine, libc, suits):
    assert platform_suits(tags, system, machine, libc) is suits


def test_the_tested_version_is_taken_else_the_newest_within_the_bounds():
    def best(*versions):
        found = best_wheel((f"uv-{version}-py3-none-win_amd64.whl" for version in versions), suits="win_amd64".__eq__)
        return found and found.version

    assert best("0.14.0", uv.TESTED, "0.13.9") == uv.TESTED
    assert best("0.13.9", "0.13.10", "0.9.0", "1.0.0") == "0.13.10"
    assert best("0.9.0", "1.0.0") is None


@pytest.mark.parametrize(
    ("variables", "chosen", "url"),
    [
        ({}, "", "https://pypi.org/simple"),
        ({"PIP_INDEX_URL": "https://a/"}, "", "https://a/"),
        ({"PIP_INDEX_URL": "https://a/", "UV_INDEX_URL": "https://b/"}, "", "https://b/"),
        ({"UV_INDEX_URL": "https://b/", "UV_DEFAULT_INDEX": "ours=https://c/"}, "", "https://c/"),
        ({"UV_DEFAULT_INDEX": "https://c/"}, "https://d/", "https://d/"),
    ],
)
def test_the_index_is_the_chosen_one_or_that_of_uv_or_of_pip(variables, chosen, url):
    assert index_url(variables, chosen) == url


class Requests(SimpleHTTPRequestHandler):
    """Serves a folder and remembers what was asked, and as whom; as a proxy it is asked for whole addresses."""

    asked: list[tuple[str, str]]

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization", "")))
        if self.path.startswith("http://"):
            self.path = "/" + self.path.split("/", 3)[3]
        super().do_GET()

    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder: Path):
    """A web server for ``folder``: its address, and the list of what it was asked."""
    handler = type("Here", (Requests,), {"asked": []})
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

    def write(fragment: str, attributes: str = "") -> Path:
        link = f'<a href="../../files/{uv_wheel.name}{fragment}"{attributes}>{uv_wheel.name}</a>'
        (tmp_path / "simple" / "uv" / "index.html").write_text(f"<!DOCTYPE html><body>{link}</body>", "utf-8")
        return tmp_path

    return write


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def test_uv_comes_from_an_index_with_a_password_and_is_verified(index, uv_wheel, tmp_path):
    with served(index(f"#sha256={sha256(uv_wheel)}")) as (address, asked):
        wheel = uv.wheel_in_index(address.replace("//", "//anna:s%20cret@") + "/simple/")
        seen = []
        program = uv.unpack(wheel, tmp_path / "uv", progress=Progress(lambda *report: seen.append(report)))
    assert os.access(program, os.X_OK)
    assert [path.name for path in (tmp_path / "uv").iterdir()] == [program.name]
    assert seen[-1][1] == 1.0
    assert {who for _, who in asked} == {"Basic YW5uYTpzIGNyZXQ="}
    assert asked[-1][0] == f"/files/{uv_wheel.name}"


@pytest.mark.parametrize("set_by", ["argument", "variable"])
def test_uv_comes_through_a_proxy(index, uv_wheel, tmp_path, monkeypatch, set_by):
    with served(index(f"#sha256={sha256(uv_wheel)}")) as (address, asked):
        if set_by == "variable":
            monkeypatch.setenv("http_proxy", address)
        proxy = address if set_by == "argument" else ""
        wheel = uv.wheel_in_index("http://index.invalid/simple", proxy)
        uv.unpack(wheel, tmp_path / "uv", proxy)
    assert [path for path, _ in asked] == [
        "http://index.invalid/simple/uv/",
        f"http://index.invalid/files/{uv_wheel.name}",
    ]


def test_a_wheel_that_is_not_the_promised_one_is_refused(index, tmp_path):
    with served(index(f"#sha256={'0' * 64}")) as (address, _):
        wheel = uv.wheel_in_index(address + "/simple")
        with pytest.raises(EngineError, match="not the file that the index promises"):
            uv.unpack(wheel, tmp_path / "uv")
    assert not (tmp_path / "uv").exists()


@pytest.mark.parametrize(
    ("fragment", "attributes", "says"), [("", "", "no SHA-256"), ("#sha256=0", ' data-yanked=""', "has no uv")]
)
def test_an_index_without_a_hash_or_with_yanked_wheels_only_is_refused(index, fragment, attributes, says):
    with served(index(fragment, attributes)) as (address, _), pytest.raises(EngineError, match=says):
        uv.wheel_in_index(address + "/simple")


def test_an_index_that_does_not_answer_is_told_with_its_cause_and_without_the_password(index):
    with served(index("")) as (address, _):
        pass
    with pytest.raises(EngineError, match="could not be reached") as error:
        uv.wheel_in_index(address.replace("//", "//anna:secret@"))
    assert error.value.details["cause"] == "network"
    assert "secret" not in str(error.value.to_dict())


def changed(wheel: Path, target: Path, change) -> Wheel:
    """A copy of a wheel of uv whose files went through ``change(name, data)``."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target / wheel.name, "w") as new:
        for name in old.namelist():
            if ".data/" not in name or name.endswith(("/uv", "/uv.exe")):
                new.writestr(*change(name, old.read(name)))
    return Wheel((target / wheel.name).as_uri(), wheel.name.split("-")[1])


def test_a_program_that_is_not_the_one_in_the_wheels_record_is_refused(uv_wheel, tmp_path):
    wheel = changed(uv_wheel, tmp_path, lambda n, data: (n, data + b"!" if "/scripts/" in n else data))
    with pytest.raises(EngineError, match="not the one in its record"):
        uv.unpack(wheel, tmp_path / "uv")
    assert not (tmp_path / "uv").exists()


def test_files_of_a_wheel_that_lead_out_of_the_folder_are_not_unpacked(uv_wheel, tmp_path):
    wheel = changed(uv_wheel, tmp_path, lambda n, data: ("../../escaped", data) if n == "uv/py.typed" else (n, data))
    program = uv.unpack(wheel, tmp_path / "a" / "b")
    assert list((tmp_path / "a").rglob("*")) == [program.parent, program]


def test_half_a_wheel_is_refused(uv_wheel, tmp_path):
    half = tmp_path / uv_wheel.name
    half.write_bytes(uv_wheel.read_bytes()[:1_000_000])
    with pytest.raises(EngineError, match="no wheel of uv"):
        uv.unpack(Wheel(half.as_uri(), uv.TESTED), tmp_path / "uv")


def test_a_folder_without_uv_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match="no wheel of uv") as error:
        uv.wheel_in_folder(tmp_path)
    assert f"pip download --no-deps uv=={uv.TESTED}" in error.value.action


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
