"""How the engine is started: its command line and its environment."""

from __future__ import annotations

import os
from pathlib import Path

from activeseg.client.launch import EngineOptions, engine_command, engine_environment


def test_the_command_line_isolates_the_engine_and_names_this_copy() -> None:
    command = engine_command("/env/bin/python", "/home/u/engine", EngineOptions(idle_s=60.0))
    assert command[:5] == ["/env/bin/python", "-I", "-X", "utf8", "-u"]
    assert Path(command[5]).is_file()
    assert Path(command[5]).parts[-3:] == ("activeseg", "engine", "start.py")
    assert command[6] == "--home=/home/u/engine"
    assert "--idle-s=60.0" in command


def test_the_environment_is_cleaned_of_slicer_and_of_other_pythons() -> None:
    source = {
        "HOME": "/home/u",
        "PATH": os.pathsep.join(["/opt/Slicer/bin", "/usr/bin"]),
        "SLICER_HOME": "/opt/Slicer",
        "SLICER_SHARE_DIR": "share",
        "PYTHONHOME": "x",
        "PYTHONPATH": "x",
        "PYTHONSTARTUP": "x",
        "LD_LIBRARY_PATH": "x",
        "DYLD_LIBRARY_PATH": "x",
        "LibraryPaths": "x",
        "ITK_AUTOLOAD_PATH": "x",
        "QT_PLUGIN_PATH": "x",
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "SSL_CERT_FILE": "/opt/Slicer/share/Slicer.crt",
        "VIRTUAL_ENV": "x",
        "OMP_WAIT_POLICY": "ACTIVE",
        "https_proxy": "http://proxy",
        "CUDA_VISIBLE_DEVICES": "1",
    }
    cleaned = engine_environment(source, {"EXTRA": "1"}, cores=8)
    assert {name: cleaned[name] for name in ("HOME", "PATH", "https_proxy", "CUDA_VISIBLE_DEVICES", "EXTRA")} == {
        "HOME": "/home/u",
        "PATH": "/usr/bin",
        "https_proxy": "http://proxy",
        "CUDA_VISIBLE_DEVICES": "1",
        "EXTRA": "1",
    }
    assert cleaned["OMP_WAIT_POLICY"] == "PASSIVE"
    assert cleaned["nnUNet_n_proc_DA"] == "0"
    assert cleaned["nnUNet_def_n_proc"] == "8"
    assert "x" not in cleaned.values()
    assert "SSL_CERT_FILE" not in cleaned
    assert source["PYTHONHOME"] == "x", "the caller's own environment is not touched"


def test_a_companys_own_certificates_stay() -> None:
    cleaned = engine_environment({"SLICER_HOME": "/opt/Slicer", "SSL_CERT_FILE": "/etc/company.pem", "PATH": ""})
    assert cleaned["SSL_CERT_FILE"] == "/etc/company.pem"
