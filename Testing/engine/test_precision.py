"""Which arithmetic a CPU is quicker in: found out with little work, whatever the CPU, and remembered for this one."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nnunet_models import make_model

from activeseg.core.errors import Cancelled
from activeseg.core.progress import Progress
from activeseg.segmenters.nnunet import precision
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.nnunet.precision import FILE, LIMIT_S, SIZES, bfloat16_pays, is_quicker
from activeseg.segmenters.nnunet.sweep import sweep_fast


class Computer:
    """Seconds of a pass as a computer would take them; counts what it was asked."""

    def __init__(self, half: float, overhead: float = 0.0, rate: float = 2e10) -> None:
        self.half, self.overhead, self.rate = half, overhead, rate
        self.passes: list[tuple[bool, int]] = []
        self.spent = 0.0

    def __call__(self, half: bool, size: int) -> float:
        took = 2 * 27 * 32 * 32 * size**3 / self.rate
        took = took * self.half + self.overhead if half else took
        self.passes.append((half, size))
        self.spent += took
        return took


@pytest.mark.parametrize("half", [4.5, 30.0, 400.0, 1000.0])
@pytest.mark.parametrize("rate", [5e9, 2e10, 2e11])
def test_what_is_clearly_slower_is_given_up_while_the_layer_is_small(half: float, rate: float) -> None:
    computer = Computer(half, rate=rate)
    assert not is_quicker(computer, lambda: None)
    slowest = max(size for _, size in computer.passes)
    one = 2 * 27 * 32 * 32 * slowest**3 / rate
    assert computer.spent <= 0.5 + one * (half + 1) * 1.01, "no more than one pass beyond the limit"
    if half >= 30 and rate < 1e11:
        assert slowest == SIZES[0]


@pytest.mark.parametrize("rate", [2e8, 5e9, 2e10, 2e12])
def test_what_is_quicker_is_taken_on_slow_and_on_quick_computers(rate: float) -> None:
    computer = Computer(0.5, rate=rate)
    assert is_quicker(computer, lambda: None)
    assert max(size for _, size in computer.passes) <= SIZES[-1]
    assert computer.spent < LIMIT_S or {size for _, size in computer.passes} == {SIZES[0]}


def test_a_layer_that_costs_more_only_while_it_is_tiny_is_followed_to_where_it_wins() -> None:
    computer = Computer(0.2, overhead=0.004)
    assert computer(True, SIZES[0]) > 2 * computer(False, SIZES[0])
    assert is_quicker(computer, lambda: None)


def test_what_is_as_quick_does_not_pay() -> None:
    assert not is_quicker(Computer(1.0), lambda: None)


def test_a_trial_is_cancelled_between_two_passes_and_leaves_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer, asked = Computer(0.5), []

    def check() -> None:
        asked.append(len(computer.passes))
        if len(computer.passes) == 3:
            raise Cancelled()

    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "seconds", computer)
    with pytest.raises(Cancelled):
        bfloat16_pays(check, tmp_path / FILE)
    assert asked == [0, 1, 2, 3]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each trial, on a computer where bfloat16 pays."""
    trials: list[int] = []
    passes: list[int] = []

    def seconds(half: bool, size: int) -> float:
        if size == SIZES[0] and passes[-1:] != [size]:
            trials.append(1)
        passes.append(size)
        return 0.001 * (0.5 if half else 1.0)

    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "seconds", seconds)
    monkeypatch.setattr(precision.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    return trials


def ask(path: Path) -> bool:
    return bfloat16_pays(lambda: None, path)


def test_an_answer_is_kept(tmp_path: Path, tried: list[int]) -> None:
    path = tmp_path / "not" / "there" / FILE
    for _ in range(3):
        assert ask(path)
    assert len(tried) == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_a_limit_of_onednn_and_another_computer_ask_again(
    tmp_path: Path, tried: list[int], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    path = tmp_path / FILE
    ask(path)
    monkeypatch.setenv(variable, "AVX2")
    ask(path)
    assert len(json.loads(path.read_text())) == 2
    monkeypatch.setattr(precision, "_cpu", lambda: ["another one"])
    ask(path)
    assert len(json.loads(path.read_text())) == 3
    monkeypatch.undo()
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "seconds", lambda *_: pytest.fail("it was known"))
    assert ask(path)


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", "null", "[" * 5000, '{"%s": 1}', '{"%s": "yes"}', "\xff\xfe", "a" * 2**21]
)
def test_a_damaged_file_of_answers_only_means_asking_again(tmp_path: Path, tried: list[int], damaged: str) -> None:
    path = tmp_path / FILE
    path.write_bytes(damaged.replace("%s", precision.computer_key()).encode("latin-1"))
    assert ask(path)
    assert ask(path)
    assert len(tried) == 1


def test_a_file_that_cannot_be_written_only_means_asking_again(tmp_path: Path, tried: list[int]) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / FILE, tmp_path):  # below a file, and a folder in its place
        assert ask(path)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_was_found_out_on_a_busy_computer_is_not_kept(
    tmp_path: Path, tried: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.os, "getloadavg", lambda: (2.0 * (os.cpu_count() or 1), 0.0, 0.0))
    assert ask(tmp_path / FILE)
    assert not list(tmp_path.iterdir())


def test_a_version_of_torch_that_does_not_say_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        mkldnn = object()

    monkeypatch.setattr(torch, "ops", Without)
    assert precision.has_bfloat16()


def test_a_pass_draws_no_random_number_and_keeps_no_gradient() -> None:
    state = torch.get_rng_state()
    assert precision.seconds(False, SIZES[0]) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_the_first_sweep_says_what_it_finds_out_and_does_it_once(tmp_path: Path, tried: list[int]) -> None:
    network = Network.load(make_model(tmp_path / "model", {"background": 0, "liver": 1}))
    os.environ["XDG_CACHE_HOME"], before = str(tmp_path / "cache"), os.environ.get("XDG_CACHE_HOME")
    try:
        told: list[str] = []
        progress = Progress(lambda stage, fraction, text: told.append(text))
        for _ in range(2):
            list(sweep_fast(network, torch.zeros((1, 16, 24, 24)), False, False, progress))
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
    assert len(tried) == 1
    assert [text for text in told if text] == ["finding out what this CPU computes fastest"]


OLDER_CPU = """
import json, sys
from activeseg.segmenters.nnunet import precision
from activeseg.segmenters.nnunet.precision import bfloat16_pays
from pathlib import Path

real, passes = precision.seconds, []

def counted(half, size):
    passes.append((half, size))
    return real(half, size)

precision.seconds = counted
said = precision.has_bfloat16()
answer = bfloat16_pays(lambda: None, Path(sys.argv[1]))
asked_first = len(passes)
precision.has_bfloat16 = lambda: True
forced = bfloat16_pays(lambda: None, Path(sys.argv[1]).with_name("other.json"))
print(json.dumps({"said": said, "answer": answer, "asked_first": asked_first, "forced": forced, "passes": passes}))
"""


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="the variable is for x86")
def test_a_cpu_without_bfloat16_does_little_work_to_find_out_even_if_torch_says_yes(tmp_path: Path) -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-c", OLDER_CPU, str(tmp_path / FILE)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer"] is found["forced"] is False
    assert found["said"] or found["asked_first"] == 0, "torch said no, so nothing was tried"
    sizes = [size for half, size in found["passes"] if half]
    assert max(sizes) <= 16, "400 times what float32 takes of it is over in a part of a second"
