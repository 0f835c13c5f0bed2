"""What a user gets: everything that is in the repository, by pip and by Slicer's extension manager."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile

import pytest
from repository import ACTIVESEG, MODULE, PACKAGE, ROOT, files


def cmake_list(folder, name):
    """The files that ``set(NAME ...)`` of a folder's CMakeLists.txt names."""
    found = re.search(rf"set\({name}\s(.*?)\)", (folder / "CMakeLists.txt").read_text("utf-8"), re.DOTALL)
    assert found, f"{folder.name}/CMakeLists.txt has no set({name} ...)"
    return found[1].split()


def on_disk(folder, *parts):
    paths = [
        path for part in parts for path in ([folder / part] if (folder / part).is_file() else files(folder / part))
    ]
    relative = (path.relative_to(folder).as_posix() for path in paths if path.name != "CMakeLists.txt")
    return sorted(name for name in relative if not name.startswith("Resources/Screenshots/"))  # for README and index


@pytest.mark.parametrize(
    ("folder", "parts"),
    [(PACKAGE, ("activeseg", "environment", "pyproject.toml", "LICENSE.txt")), (MODULE, (".",))],
    ids=["ActiveSegExtension", "ActiveSegModule"],
)
def test_cmake_lists_every_file_and_no_other(folder, parts):
    there = on_disk(folder, *parts)
    assert sorted(cmake_list(folder, "SCRIPTS")) == [name for name in there if name.endswith(".py")]
    assert sorted(cmake_list(folder, "RESOURCES")) == [name for name in there if not name.endswith(".py")]


def test_the_wheel_holds_the_package_its_resources_and_the_torchvision_remedy(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        scripts = next(name for name in names if name.endswith("entry_points.txt"))
        assert "activeseg = activeseg.cli:main" in archive.read(scripts).decode()
    expected = {f"activeseg/{name}" for name in on_disk(ACTIVESEG, ".")}
    expected |= {"activeseg_torchvision.py", "activeseg_torchvision.pth"}
    assert expected <= names
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE.txt") for name in names)


def test_the_wheel_and_the_repository_have_the_same_licence():
    text = (ROOT / "LICENSE.txt").read_text("utf-8")
    assert text == (PACKAGE / "LICENSE.txt").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
