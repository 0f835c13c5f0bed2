"""What users of nnU-Net set in their environment does not reach what runs here."""

from __future__ import annotations

import os

import pytest

from activeseg.system.switches import switches_off, without_switches

SWITCHES = {
    "nnUNet_compile": "true",
    "nnUNet_wandb_enabled": "perhaps",
    "nnUNet_wandb_project": "theirs",
    "nnUNet_n_proc_DA": "many",
    "nnUNet_keep_files_open": "1",
    "nnUNet_results": "/dev/null",
    "NNUNET_COMPILE": "1",
}
OTHERS = {
    "PATH": "/bin",
    "CUDA_VISIBLE_DEVICES": "0",
    "nnUNet_extTrainer": "/home/x/trainers",
    "TOTALSEG_HOME_DIR": "/x",
}


def test_no_switch_is_left_and_everything_else_is() -> None:
    assert without_switches({**SWITCHES, **OTHERS}) == {**OTHERS, "MPLBACKEND": "Agg"}


@pytest.mark.parametrize(("value", "kept"), [("4", True), ("0", False), ("-1", False), ("many", False), ("", False)])
def test_a_count_of_processes_counts_only_when_it_is_one(value: str, kept: bool) -> None:
    assert ("nnUNet_def_n_proc" in without_switches({"nnUNet_def_n_proc": value})) == kept


@pytest.mark.parametrize("value", ["9" * 5000, "\u00b2", "1e3", " 4"])
def test_a_strange_count_is_no_count(value: str) -> None:
    assert "nnUNet_def_n_proc" not in without_switches({"nnUNet_def_n_proc": value})


def test_a_screen_for_matplotlib_is_never_needed() -> None:
    assert without_switches({"MPLBACKEND": "module://somewhere"})["MPLBACKEND"] == "Agg"


def test_switches_come_back_after_the_block_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SWITCHES.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)

    def work() -> None:
        with switches_off():
            assert not [name for name in os.environ if name in SWITCHES]
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert dict(os.environ) == before
