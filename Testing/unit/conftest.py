"""What several files of tests install: uv from the package index, and a folder of small wheels."""

from __future__ import annotations

from pathlib import Path

import pytest
from installable import load_uv, make_wheel


@pytest.fixture(autouse=True)
def data_folder_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which Python a user has chosen is kept there."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def uv_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's original wheel for this machine."""
    return load_uv(tmp_path_factory.mktemp("uv-wheel"))


@pytest.fixture
def wheels(tmp_path: Path, uv_wheel: Path) -> Path:
    """A folder of wheels from which ``installable.small_lock`` can be installed without internet."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / uv_wheel.name).symlink_to(uv_wheel)
    make_wheel(folder, "alveole", "1.0", needs=("bronchus", "trachea"))
    make_wheel(folder, "alveole", "2.0", needs=("bronchus", "trachea"))
    make_wheel(folder, "bronchus", "1.0")
    return folder
