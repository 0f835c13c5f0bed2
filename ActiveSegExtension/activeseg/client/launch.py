"""How the engine's process is started: its command line, and an environment in which a foreign Python works."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

START = Path(__file__).resolve().parents[1] / "engine" / "start.py"

_REMOVED_PREFIXES = ("PYTHON", "DYLD_", "SLICER_", "QT_", "QTWEBENGINE_")
_REMOVED = frozenset(
    {
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "LIBRARYPATHS",
        "ITK_AUTOLOAD_PATH",
        "PIP_REQUIRE_VIRTUALENV",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "CONDA_DEFAULT_ENV",
        "__PYVENV_LAUNCHER__",
        "TCL_LIBRARY",
        "TK_LIBRARY",
    }
)
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class EngineOptions:
    """How an engine behaves.

    Attributes
    ----------
    idle_s : seconds after which a process that has nothing to do is ended, with the models that it keeps
    warm_gib : memory that kept models may take; the least recently used leave first
    memory_gib : memory that one job may take in all; 0 takes what is free when it starts, less a reserve
    log_kib : size at which the log begins a new file (one old one is kept)
    """

    idle_s: float = 900.0
    warm_gib: float = 4.0
    memory_gib: float = 0.0
    log_kib: int = 4096

    def arguments(self) -> list[str]:
        """The same for the command line."""
        return [
            f"--idle-s={self.idle_s!r}",
            f"--warm-gib={self.warm_gib!r}",
            f"--memory-gib={self.memory_gib!r}",
            f"--log-kib={self.log_kib!r}",
        ]


def engine_command(python: str | Path, home: str | Path, options: EngineOptions | None = None) -> list[str]:
    """The command line: the engine's Python in isolated mode, on this copy of ``activeseg``.

    ``home`` is a folder of the user's for logs and scratch; it is made if it is not there.
    """
    options = options or EngineOptions()
    return [str(python), "-I", "-X", "utf8", "-u", str(START), f"--home={home}", *options.arguments()]


def engine_environment(
    environment: Mapping[str, str] | None = None, extra: Mapping[str, str] | None = None, cores: int | None = None
) -> dict[str, str]:
    """A cleaned copy of an environment, in which the engine's Python starts and does not see Slicer's.

    Parameters
    ----------
    environment : None takes this process's
    extra : set at the end, such as proxies
    cores : what nnU-Net may use; None asks the system
    """
    source = dict(os.environ if environment is None else environment)
    application = source.get("SLICER_HOME", "")
    kept = {name: value for name, value in source.items() if not _is_foreign(name, value, application)}
    kept["PATH"] = _outside(source.get("PATH", ""), application)
    count = str(cores or os.cpu_count() or 1)
    ours = {
        "PYTHONUTF8": "1",  # isolated mode ignores them, but programs that the engine starts do not
        "PYTHONNOUSERSITE": "1",
        # libgomp's threads spin at barriers and slow down whatever shares the cores, by a factor of 4 and more
        "OMP_WAIT_POLICY": "PASSIVE",
        "nnUNet_n_proc_DA": "0",  # no loaders that pass tensors through a small /dev/shm
        "nnUNet_def_n_proc": count,  # nnU-Net caps its threads by it
        "MPLBACKEND": "Agg",
    }
    return {**kept, **ours, **dict(extra or {})}


def _is_foreign(name: str, value: str, application: str) -> bool:
    upper = name.upper()
    if upper in _REMOVED or upper.startswith(_REMOVED_PREFIXES):
        return True
    if upper in CERTIFICATES:  # Slicer's own bundle; a company's own stays
        return _inside(value, application) or Path(value).name == "Slicer.crt"
    return False


def _inside(path: str, application: str) -> bool:
    return bool(application) and Path(path).is_relative_to(application)


def _outside(path: str, application: str) -> str:
    """A search path without the application's folders, whose libraries Windows would find first."""
    return os.pathsep.join(part for part in path.split(os.pathsep) if part and not _inside(part, application))
