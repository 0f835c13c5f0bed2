"""What a dataset will be called, said before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from activeseg.core.errors import InputError
from ActiveSegModuleLib.logic.dataset_folder import FolderProblem, folder_state, nnunet_folder


@pytest.mark.parametrize(
    ("typed", "called"),
    [
        ("Dataset802_Liver", "Dataset802_Liver"),
        ("Dataset802_Pr\u00fcfung \u00e4", "Dataset802_Prufung_a"),
        ("Dataset802_Pru\u0308fung", "Dataset802_Prufung"),
        ("livers", "Dataset501_livers"),
        ("Dataset80_Liver", "Dataset501_Dataset80_Liver"),
        ("my livers (2)", "Dataset501_my_livers_2"),
    ],
)
def test_a_name_becomes_one_that_nnunet_can_have(tmp_path: Path, typed: str, called: str) -> None:
    assert nnunet_folder(tmp_path / typed) == tmp_path / called
    assert list(tmp_path.iterdir()) == []


def test_a_new_dataset_gets_a_number_that_no_neighbour_has(tmp_path: Path) -> None:
    (tmp_path / "Dataset501_spleens").mkdir()
    assert nnunet_folder(tmp_path / "livers").name == "Dataset502_livers"


def test_a_dataset_that_is_there_is_found_by_its_short_name(tmp_path: Path) -> None:
    (tmp_path / "Dataset517_livers").mkdir()
    assert nnunet_folder(tmp_path / "livers").name == "Dataset517_livers"


def test_a_dataset_is_opened_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "old one").mkdir()
    (tmp_path / "old one" / "dataset.json").write_text("{}", "utf-8")
    assert nnunet_folder(tmp_path / "old one") == tmp_path / "old one"


@pytest.mark.parametrize("typed", ["___", "\u4e2d\u6587", "--"])
def test_a_name_of_which_nothing_is_left_is_refused(tmp_path: Path, typed: str) -> None:
    with pytest.raises(InputError, match="cannot be a dataset's name"):
        nnunet_folder(tmp_path / typed)


def test_a_folder_says_what_is_wrong_with_it_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problem(typed: str, needed: int = 0) -> FolderProblem | None:
        return folder_state(typed, needed).problem

    (tmp_path / "Dataset601_File").write_text("x")
    (tmp_path / "Dataset602_Other").mkdir()
    (tmp_path / "Dataset602_Other" / "scan.nii").write_text("x")
    (tmp_path / "Dataset603_Empty").mkdir()
    assert problem("  ") is FolderProblem.NONE_CHOSEN
    assert problem("Dataset801_Liver") is FolderProblem.NOT_ABSOLUTE
    assert problem(str(tmp_path / "...")) is FolderProblem.BAD_NAME
    assert problem(str(tmp_path / "Dataset601_File")) is FolderProblem.IS_A_FILE
    assert problem(str(tmp_path / "Dataset602_Other")) is FolderProblem.HOLDS_OTHER_FILES
    assert problem(str(tmp_path / "Dataset603_Empty")) is None
    assert problem(str(tmp_path / "Dataset604_New"), 10**18) is FolderProblem.DISK_FULL
    new = folder_state(str(tmp_path / "new" / "livers"), 0)
    assert (new.problem, new.is_there, new.folder.name) == (None, False, "Dataset501_livers")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    assert problem(str(tmp_path / "Dataset604_New")) is FolderProblem.NOT_WRITABLE


def test_a_dataset_that_is_there_is_told_from_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "Dataset605_Livers").mkdir()
    (tmp_path / "Dataset605_Livers" / "dataset.json").write_text("{}")
    assert folder_state(str(tmp_path / "Dataset605_Livers"), 0).is_there
    assert not folder_state(str(tmp_path / "Dataset606_Livers"), 0).is_there
    assert list(tmp_path.iterdir()) == [tmp_path / "Dataset605_Livers"]
