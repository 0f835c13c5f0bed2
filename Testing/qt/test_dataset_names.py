"""What a dataset will be called, said before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from activeseg.core.errors import InputError
from ActiveSegModuleLib.logic.exporting import nnunet_folder


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
