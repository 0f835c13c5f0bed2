"""What a user gets: everything that is in the repository, by pip and by Slicer's extension manager."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest
from cmake_lists import LISTS, PARTS, listed, on_disk, wanted
from repository import ACTIVESEG, PACKAGE, ROOT


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("folder", PARTS, ids=lambda folder: folder.name)
def test_cmake_lists_every_file_and_no_other(folder, name):
    difference = set(listed(folder, name)) ^ set(wanted(folder, name))
    assert not difference, "Run python3 Testing/contract/cmake_lists.py"


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


def test_the_tests_and_the_engine_pin_the_same_versions():
    def pins(path):
        lines = (line.partition("#")[0].partition(";")[0].strip() for line in path.read_text("utf-8").splitlines())
        return {(name.lower(), version) for name, _, version in (line.partition("==") for line in lines) if version}

    ours, engine = (
        pins(ROOT / "Testing" / "constraints.txt"),
        pins(ACTIVESEG / "client" / "environment" / "engine-lock.txt"),
    )
    shared = {name for name, _ in ours} & {name for name, _ in engine}
    assert {"torch", "nnunetv2", "totalsegmentator"} <= shared
    assert {pin for pin in ours if pin[0] in shared} <= engine
