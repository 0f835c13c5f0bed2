"""The exact command lines and variables of uv: what cannot be run on every machine is at least called rightly."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

import pytest

from activeseg.client.environment import uv, uv_commands
from activeseg.client.environment.status import python_of
from activeseg.client.environment.uv_commands import Source, shown, uv_environment
from activeseg.client.environment.uv_process import kill_command

UV, VENV = Path("/e/uv/uv"), Path("/e/staging/bin/python")
FILES = {name: Path(f"/e/{name}.txt") for name in ("requirements", "pins", "excludes")}


def resolve(source, **more):
    return uv_commands.resolve(UV, VENV, source, **FILES, output=Path("/e/packages.txt"), **more)


def test_packages_come_with_the_build_of_torch_for_the_graphics_card():
    assert shown(resolve(Source())) == (
        "/e/uv/uv pip compile --quiet --no-header --no-annotate --python /e/staging/bin/python "
        "--constraints /e/pins.txt --excludes /e/excludes.txt --torch-backend=auto "
        "--output-file /e/packages.txt /e/requirements.txt"
    )
    assert shown(uv_commands.sync(UV, VENV, Source(), Path("/e/packages.txt"), system="linux")) == (
        "/e/uv/uv pip sync --python /e/staging/bin/python --link-mode hardlink --torch-backend=auto /e/packages.txt"
    )


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        (Source(torch="cu130"), ["--torch-backend=cu130"]),
        (Source(torch=""), []),
        (Source(index="https://anna:secret@a/simple"), ["--torch-backend=auto"]),
        (Source(wheels=Path("/w")), ["--find-links", "/w", "--torch-backend=auto"]),
        (Source(wheels=Path("/w"), offline=True), ["--offline", "--no-index", "--find-links", "/w"]),
    ],
)
def test_packages_come_from_where_the_user_chose(source, arguments):
    assert source.arguments() == arguments
    sync = uv_commands.sync(UV, VENV, source, Path("/e/packages.txt"), system="linux")
    assert sync == [*sync[:7], *arguments, "/e/packages.txt"]


def test_where_pytorchs_index_is_out_of_reach_the_package_index_is_asked():
    assert not [part for part in resolve(Source(), torch="") if "torch" in part]


def test_command_lines_on_windows_and_macos():
    program = uv.program_in(PureWindowsPath("C:/Active Seg/uv"), "win32")
    python = python_of(PureWindowsPath("C:/Active Seg/staging"), "win32")
    packages = PureWindowsPath("C:/Active Seg/packages.txt")
    assert uv_commands.sync(program, python, Source(torch="cu130"), packages, system="win32") == [
        r"C:\Active Seg\uv\bin\uv.exe",
        "pip",
        "sync",
        "--python",
        r"C:\Active Seg\staging\Scripts\python.exe",
        "--link-mode",
        "hardlink",
        "--torch-backend=cu130",
        r"C:\Active Seg\packages.txt",
    ]
    assert "clone" in uv_commands.sync(UV, VENV, Source(), packages, system="darwin")
    assert kill_command(42) == ["taskkill", "/T", "/F", "/PID", "42"]


def test_a_python_is_downloaded_into_the_folder_and_nowhere_else():
    assert shown(uv_commands.install_python(UV, Path("/e/python"))) == (
        "/e/uv/uv python install --install-dir /e/python --no-bin --no-registry 3.12"
    )
    assert shown(uv_commands.install_python(UV, Path("/e/python"), "3.12.10", Path("/e/downloads.json"))) == (
        "/e/uv/uv python install --install-dir /e/python --no-bin --no-registry "
        "--offline --python-downloads-json-url /e/downloads.json 3.12.10"
    )
    assert shown(uv_commands.find_python(UV, "3.12")) == (
        "/e/uv/uv python find --no-project --system --no-python-downloads 3.12"
    )


def test_an_environment_is_made_so_that_it_can_be_moved_into_place():
    command = uv_commands.make_venv(UV, Path("/usr/bin/python3.12"), Path("/e/staging"), Source())
    assert shown(command) == (
        "/e/uv/uv venv --no-project --relocatable --clear --force --no-python-downloads "
        "--python /usr/bin/python3.12 /e/staging"
    )


def variables(given, source=None, proxies=None):
    return uv_environment(Path("/e"), source or Source(), given, proxies or {})


def test_nothing_of_slicer_or_of_other_settings_reaches_uv():
    slicer = {
        "SLICER_HOME": "/opt/Slicer",
        "PYTHONHOME": "/opt/Slicer/lib/Python",
        "PYTHONPATH": "/opt/Slicer/bin/Python",
        "LD_LIBRARY_PATH": "/opt/Slicer/lib",
        "DYLD_LIBRARY_PATH": "/opt/Slicer/lib",
        "SSL_CERT_FILE": "/opt/Slicer/share/Slicer.crt",
        "PATH": os.pathsep.join(["/opt/Slicer/bin", "/usr/bin"]),
        "UV_CONSTRAINT": "c.txt",
        "UV_TORCH_BACKEND": "cpu",
        "UV_PYTHON": "2.7",
        "UV_LINK_MODE": "symlink",
        "UV_CACHE_DIR": "/home/anna/.cache/uv",
    }
    found = variables(slicer)
    assert found["PATH"] == "/usr/bin"
    assert found["UV_CACHE_DIR"] == str(Path("/e/cache"))
    assert found["UV_PYTHON_INSTALL_DIR"] == str(Path("/e/python"))
    assert found["UV_SYSTEM_CERTS"] == "1"
    left = set(slicer) & set(found)
    assert left == {"PATH", "UV_CACHE_DIR"}


def test_the_users_indexes_and_certificates_reach_uv():
    given = {
        "UV_INDEX_OURS_PASSWORD": "p",
        "UV_HTTP_TIMEOUT": "99",
        "SSL_CERT_FILE": "/etc/company.pem",
        "PIP_INDEX_URL": "https://a/simple",
        "PIP_FIND_LINKS": "/a /b",
    }
    found = variables(given)
    assert {name: found[name] for name in given} == given
    assert found["UV_DEFAULT_INDEX"] == "https://a/simple"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert "UV_SYSTEM_CERTS" not in found
    assert variables({**given, "UV_DEFAULT_INDEX": "https://b/"})["UV_DEFAULT_INDEX"] == "https://b/"
    assert "UV_DEFAULT_INDEX" not in variables({**given, "UV_INDEX_URL": "https://b/"})


def test_the_systems_proxies_reach_uv_and_the_chosen_one_goes_first():
    system = {"https": "http://proxy:3128", "http": "http://proxy:3128", "no": "localhost"}
    found = variables({}, proxies=system)
    assert (found["HTTPS_PROXY"], found["HTTP_PROXY"], found["NO_PROXY"]) == (*[system["https"]] * 2, "localhost")
    assert "HTTPS_PROXY" not in variables({"https_proxy": "http://mine"}, proxies=system)
    chosen = variables({"https_proxy": "http://old"}, Source(proxy="http://new:1"), system)
    assert (chosen["HTTPS_PROXY"], chosen["HTTP_PROXY"]) == ("http://new:1", "http://new:1")
    assert "https_proxy" not in chosen


def test_without_internet_no_index_of_the_environment_is_asked(tmp_path):
    given = dict.fromkeys(("UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_INDEX_URL"), "https://a/")
    found = variables(given, Source(wheels=tmp_path, offline=True))
    assert not {name for name in found if name.startswith("UV_") and "INDEX" in name}
