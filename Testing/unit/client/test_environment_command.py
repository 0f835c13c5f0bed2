"""The environment as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from installable import PYTHON

from activeseg.client.environment.folder import size_of
from activeseg.client.environment_command import command
from activeseg.core.errors import Cancelled

SMALL = """
import sys
sys.path[:0] = [{here!r}, {package!r}]
from installable import small_lock
from activeseg.client.environment_command import main
sys.exit(main(lock=small_lock()))
"""


@pytest.fixture
def process(tmp_path):
    """Start the command with small packages in place of the engine's; its stdin stays open."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        here = Path(__file__).parents[1]
        code = SMALL.format(here=str(here), package=str(here.parents[1] / "ActiveSegExtension"))
        line = [sys.executable, "-c", code, *map(str, arguments), f"--folder={tmp_path / 'engine'}"]
        return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict]]:
    with process:
        assert process.stdout is not None
        lines = [json.loads(line) for line in process.stdout]
    return process.returncode, lines


def test_it_tells_progress_and_then_the_result_as_lines_of_json(process, wheels):
    code, lines = ended(process("install", f"--wheels={wheels}", "--offline", f"--python={PYTHON}"))
    assert code == 0
    assert {stage for line in lines[:-1] for stage in [line["progress"]["stage"]]} == {
        "uv",
        "python",
        "packages",
        "check",
    }
    assert lines[-1]["result"]["state"] == "ready"
    (checked,) = ended(process("check"))[1]
    assert checked["result"]["versions"] == {"alveole": "1.0"}
    told = [line["progress"] for line in lines[:-1]]
    assert {(line["stage"], line["step"], line["steps"]) for line in told} == {
        ("uv", 1, 4),
        ("python", 2, 4),
        ("packages", 3, 4),
        ("check", 4, 4),
    }
    assert any(line["total_bytes"] for line in told if line["stage"] == "packages")
    assert all(line["done_bytes"] <= line["total_bytes"] for line in told)
    fractions = [line["fraction"] for line in told]
    assert fractions == sorted(fractions)


def test_a_removal_tells_how_far_it_is(process, wheels, tmp_path):
    ended(process("install", f"--wheels={wheels}", "--offline", f"--python={PYTHON}"))
    code, lines = ended(process("remove"))
    assert code == 0
    assert lines[-1] == {"result": {"kept": []}}
    told = [line["progress"] for line in lines[:-1]]
    assert {line["stage"] for line in told} == {"remove"}
    assert told[-1]["fraction"] == 1
    assert not (tmp_path / "engine").exists()


def test_closing_its_stdin_cancels_it(process, wheels, tmp_path):
    running = process("install", f"--wheels={wheels}", "--offline", f"--python={PYTHON}")
    assert running.stdin is not None
    running.stdin.close()
    code, lines = ended(running)
    assert code == Cancelled.exit_code
    assert lines[-1]["error"]["code"] == "cancelled"
    assert lines[-1]["error"]["details"]["kept_bytes"] == size_of(tmp_path / "engine")


def test_cancelled_in_the_middle_it_tells_what_is_kept(process, wheels, tmp_path):
    running = process("install", f"--wheels={wheels}", "--offline", f"--python={PYTHON}")
    assert running.stdin is not None
    assert running.stdout is not None
    while '"packages"' not in running.stdout.readline():
        pass
    running.stdin.close()
    code, lines = ended(running)
    assert code == Cancelled.exit_code
    kept = lines[-1]["error"]["details"]["kept_bytes"]
    assert kept == size_of(tmp_path / "engine")
    assert kept > 1_000_000
    assert ended(process("plan", f"--wheels={wheels}", "--offline"))[1][-1]["result"]["plan"]["present_bytes"] == kept


def test_an_error_is_a_line_and_an_exit_code(process, tmp_path):
    code, lines = ended(process("install", "--offline", f"--wheels={tmp_path}", f"--python={PYTHON}"))
    assert code == 2
    assert "no wheel of uv" in lines[-1]["error"]["message"]
    assert lines[-1]["error"]["action"]


@pytest.mark.parametrize(
    "argument", ["--proxy=http://anna:secret@proxy:3128", "--index=https://anna:secret@host/simple"]
)
def test_a_password_among_the_arguments_is_refused(process, tmp_path, argument):
    code, lines = ended(process("plan", argument, f"--python={PYTHON}"))
    assert code == 2
    assert "ACTIVESEG_" in lines[-1]["error"]["action"]
    assert "secret" not in json.dumps(lines)


def test_the_password_of_a_proxy_comes_by_a_variable_and_is_not_in_the_record(process, wheels, tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVESEG_PROXY", "http://anna:secret@proxy:3128")
    code, _ = ended(process("install", f"--wheels={wheels}", "--offline", f"--python={PYTHON}"))
    assert code == 0
    record = (tmp_path / "engine" / "activeseg-environment.json").read_text("utf-8")
    assert "proxy:3128" in record
    assert "secret" not in record
    for path in (tmp_path / "engine").glob("*.*"):
        assert "secret" not in path.read_text("utf-8", "replace")
    monkeypatch.delenv("ACTIVESEG_PROXY")
    sentences = ended(process("plan-again"))[1][-1]["result"]["sentences"]
    assert any("ACTIVESEG_PROXY" in sentence for sentence in sentences)


def test_the_file_itself_can_be_started_by_any_python(tmp_path):
    line = command("check", tmp_path / "engine", python=PYTHON)
    done = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert json.loads(done.stdout)["result"]["state"] == "missing"
    assert not (tmp_path / "engine").exists()


def test_a_python_that_has_no_packages_at_all_can_start_the_file_that_the_readme_names(tmp_path):
    name = "ActiveSegExtension/activeseg/client/environment_command.py"
    root = Path(__file__).resolve().parents[3]
    assert f"python3 {name}" in (root / "README.md").read_text("utf-8")
    line = [str(PYTHON), "-I", "-S", str(root / name), "check", f"--folder={tmp_path / 'engine'}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.stdout, done.stderr
    assert json.loads(done.stdout)["result"]["state"] == "missing"
