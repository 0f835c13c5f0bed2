"""What an installation will do, told before anything is done."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from activeseg.client.environment import uv
from activeseg.client.environment.failure import without_password, without_secrets
from activeseg.client.environment.folder import EnvironmentFolder, free_bytes
from activeseg.client.environment.interpreter import DOWNLOADED, Interpreter, archive_in
from activeseg.client.environment.lock import Lock, names, release
from activeseg.client.environment.uv_commands import Source
from activeseg.core.errors import InputError
from activeseg.core.sizes import size_text

PROXY, INDEX = "ACTIVESEG_PROXY", "ACTIVESEG_INDEX"
"""Environment variables with addresses that may hold a password: on the command line everybody could read it."""
PYTHON_BYTES = 140_000_000
RESERVE_BYTES = 500_000_000
"""Kept free: a full disk harms more than this installation."""

# Measured with the lock of this version: the CPU build on Linux. The rest is estimated from the sizes of the wheels
# (2.8 GB for torch and NVIDIA's libraries on Linux, which about double when unpacked).
SIZES_GB = {
    ("linux", "cpu"): (0.48, 1.8),
    ("linux", "cuda"): (3.1, 7.3),
    ("win32", "cpu"): (0.43, 1.9),
    ("win32", "cuda"): (3.3, 6.4),
    ("darwin", "cpu"): (0.43, 1.7),
}
"""(system, build of torch) -> GB to download and on disk."""

MBIT_PER_S, DISK_BYTES_PER_S = 50, 30_000_000
"""Rates that the expected minutes are told for: of the internet, and at which small files are unpacked and imported."""
WEIGHTS_BYTES = {"totalsegmentator:total-fast": 135_400_000, "totalsegmentator:total": 1_170_000_000}
"""What the first use of a model downloads, for an idea; an installation has no weights."""
_BUILD_OF_TORCH = re.compile(r"|auto|cpu|cu\d{2,3}|rocm\d+(\.\d+)*|xpu")

LONGEST_PATH = 175
"""Of a module below the folder, with what Python adds while it compiles it; Windows allows 260 in all unless long paths
were switched on. Some licences lie deeper: only uv writes them and only we remove them, in a way that has no limit."""


@dataclass(frozen=True)
class Options:
    """What the user may choose; the defaults suit a computer with internet.

    Attributes
    ----------
    python : a Python to build on; None lets ActiveSeg find or download one
    source : where packages come from
    unknown : ``proxy`` and ``index``, where the address had a name and password, which no record keeps
    """

    python: Path | None = None
    source: Source = field(default_factory=Source)
    unknown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.source.offline and self.source.wheels is None:
            raise InputError("Without internet a folder of wheels is needed.", "Choose the folder.")
        if self.source.wheels is not None and not self.source.wheels.is_dir():
            raise InputError(f"There is no folder '{self.source.wheels}'.", "Choose the folder of wheels.")

    def to_dict(self) -> dict[str, Any]:
        """For records and programs: without names and passwords in addresses."""
        source = self.source
        addresses = {"proxy": source.proxy, "index": source.index}
        bare = {name: without_password(address) for name, address in addresses.items()}
        return {
            "python": str(self.python) if self.python else "",
            "wheels": str(source.wheels) if source.wheels else "",
            "offline": source.offline,
            "torch": source.torch,
            **bare,
            "passwords": sorted({*self.unknown, *(name for name in bare if bare[name] != addresses[name])}),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Options:
        """The options of ``to_dict``. A folder of wheels or a Python that has gone raises or fails when it is used.

        Raises InputError when they are damaged.
        """
        texts = ("python", "wheels", "index", "proxy", "torch")
        if not isinstance(values, Mapping) or any(not isinstance(values.get(name, ""), str) for name in texts):
            raise InputError(
                "The record of how the environment was installed is damaged.", "Remove it, then install it again."
            )
        python, wheels = values.get("python"), values.get("wheels")
        passwords = values.get("passwords")
        source = Source(
            index=str(values.get("index", "")),
            wheels=Path(wheels) if wheels else None,
            offline=bool(values.get("offline", False)),
            proxy=str(values.get("proxy", "")),
            torch=str(values.get("torch", "auto")),
        )
        unknown = tuple(name for name in ("proxy", "index") if isinstance(passwords, list) and name in passwords)
        return Options(Path(python) if python else None, source, unknown)

    def completed(self, environment: Mapping[str, str]) -> Options:
        """With the addresses that ``ACTIVESEG_PROXY`` and ``ACTIVESEG_INDEX`` give, which may hold passwords."""
        proxy, index = environment.get(PROXY, ""), environment.get(INDEX, "")
        source = replace(self.source, proxy=proxy or self.source.proxy, index=index or self.source.index)
        given = {"proxy": proxy, "index": index}
        return Options(self.python, source, tuple(name for name in self.unknown if not given[name]))

    def password_sentences(self) -> list[str]:
        """What must be given again, for the user."""
        variables = {"proxy": ("proxy", PROXY), "index": ("package index", INDEX)}
        return [
            f"The name and password for the {words} are not kept: give its address with them again ({variable})."
            for words, variable in (variables[name] for name in self.unknown)
        ]


@dataclass(frozen=True)
class Plan:
    """What ``install`` will do.

    Attributes
    ----------
    folder : everything is put below it
    options : as chosen
    interpreter : the Python to build on; None when it is to be looked for or downloaded
    archive : without internet, the Python to unpack
    accelerator : ``cuda`` or ``cpu``: the build of torch that is expected
    download_bytes, disk_bytes : estimates; 0 to download when everything comes from a folder
    free_bytes : on the folder's disk
    present_bytes : what an attempt that was not completed has left; it is used again, so less is downloaded
    with_weights : whether models will download weights on top
    """

    folder: Path
    options: Options
    interpreter: Interpreter | None
    archive: Path | None
    accelerator: str
    packages: int
    download_bytes: int
    disk_bytes: int
    free_bytes: int
    present_bytes: int = 0
    with_weights: bool = False

    @property
    def minutes(self) -> int:
        """About how long it takes with an internet of ``MBIT_PER_S``."""
        seconds = self.download_bytes * 8 / (MBIT_PER_S * 1e6) + self.disk_bytes / DISK_BYTES_PER_S
        return max(1, round(seconds / 60))

    @property
    def _time_text(self) -> str:
        rate = f" with an internet connection of {MBIT_PER_S} Mbit/s" if self.download_bytes else ""
        return f"Time: about {self.minutes} minute{'s' * (self.minutes > 1)}{rate}"

    @property
    def python_text(self) -> str:
        """Which Python it will be, for the user."""
        if self.interpreter is not None:
            return self.interpreter.text
        if self.archive is not None:
            return f"the Python in {self.archive.name}"
        found = "a Python 3.11 to 3.13 that uv finds"
        return found if self.options.source.offline else f"{found}, else Python {DOWNLOADED} is downloaded"

    @property
    def _present_text(self) -> str:
        return (
            f"An earlier attempt left {size_text(self.present_bytes)} there, which are used again: less is downloaded."
        )

    def sentences(self) -> list[str]:
        """For the user, before the question."""
        source = self.options.source
        where = f"the folder {source.wheels}" if source.offline else without_secrets(source.index) or "the internet"
        build = {"cuda": "for NVIDIA graphics cards", "cpu": "without graphics card"}[self.accelerator]
        loaded = "nothing" if not self.download_bytes else f"about {size_text(self.download_bytes)}"
        return [
            f"Folder: {self.folder} (about {size_text(self.disk_bytes)}; {size_text(self.free_bytes)} are free)",
            f"Packages: about {self.packages}, PyTorch {build}, from {where}; {loaded} is downloaded",
            f"Python: {self.python_text}",
            self._time_text,
            *([self._present_text] if self.present_bytes else []),
            *([_weights_text()] if self.with_weights else []),
            "Slicer's own Python is not changed, and nothing outside of the folder.",
            *self.options.password_sentences(),
        ]

    def to_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "python": self.python_text,
            "accelerator": self.accelerator,
            "packages": self.packages,
            "download_bytes": self.download_bytes,
            "disk_bytes": self.disk_bytes,
            "free_bytes": self.free_bytes,
            "present_bytes": self.present_bytes,
            "minutes": self.minutes,
            "mbit_per_s": MBIT_PER_S,
            "weights_bytes": dict(WEIGHTS_BYTES) if self.with_weights else {},
            "offline": self.options.source.offline,
            "options": self.options.to_dict(),
        }


def make_plan(folder: EnvironmentFolder, options: Options, lock: Lock, interpreter: Interpreter | None) -> Plan:
    """Estimate sizes and look whether it can work; nothing is written and nothing downloaded.

    Raises InputError when this computer or the chosen build of torch has none, the folder is someone else's or its
    path too long, when a folder of wheels lacks uv, or when too little disk is free.
    """
    folder.refuse_foreign()
    if lock.uses_torch:
        refuse_unknown_build(options.source.torch)
        refuse_system()
        refuse_long_path(folder.path)
    archive = None
    source = options.source
    if source.offline and source.wheels is not None:
        if not uv.program_in(folder.uv).is_file():
            uv.refuse_folder_without_uv(source.wheels)
        if interpreter is None:
            archive = archive_in(source.wheels)
    accelerator = expected_accelerator(source.torch)
    download, disk = expected_bytes(lock, accelerator, interpreter is None)
    plan = Plan(
        folder=folder.path,
        options=options,
        interpreter=interpreter,
        archive=archive,
        accelerator=accelerator,
        packages=len(names(lock.pins)),
        download_bytes=0 if source.offline else download,
        disk_bytes=disk,
        free_bytes=free_bytes(folder.path),
        present_bytes=0 if folder.marker() is None or folder.installed() is not None else folder.size(),
        with_weights=lock.uses_torch,
    )
    refuse_full_disk(plan.folder, plan.disk_bytes)
    return plan


def expected_accelerator(torch: str, system: str = sys.platform, nvidia: bool | None = None) -> str:
    """``cuda`` or ``cpu`` for a choice of torch's build. macOS has one build, which uses Apple's graphics."""
    if system == "darwin" or torch == "cpu":
        return "cpu"
    if torch == "auto":
        return "cuda" if (has_nvidia() if nvidia is None else nvidia) else "cpu"
    if torch == "":  # what the index has: on Linux that is the CUDA build
        return "cuda" if system.startswith("linux") else "cpu"
    return "cuda"


def has_nvidia() -> bool:
    """Whether a driver for NVIDIA's graphics cards is installed."""
    windows = Path(os.environ.get("SYSTEMROOT", "C:\\Windows")) / "System32" / "nvidia-smi.exe"
    return Path("/proc/driver/nvidia/version").is_file() or windows.is_file() or shutil.which("nvidia-smi") is not None


def expected_bytes(lock: Lock, accelerator: str, with_python: bool, system: str = sys.platform) -> tuple[int, int]:
    """Bytes to download and on disk, estimated; what is no engine is small."""
    own = (uv.WHEEL_BYTES + (PYTHON_BYTES // 4 if with_python else 0), uv.UNPACKED_BYTES)
    python = PYTHON_BYTES if with_python else 0
    if not lock.uses_torch:
        return own[0], own[1] + python
    kind = "linux" if system.startswith("linux") else system
    download, disk = SIZES_GB[(kind, accelerator)]
    return own[0] + round(download * 1e9), own[1] + python + round(disk * 1e9)


def refuse_full_disk(folder: Path, needed: int) -> None:
    """Raise InputError when less than ``needed`` bytes and a reserve are free."""
    free = free_bytes(folder)
    if free < needed + RESERVE_BYTES:
        raise InputError(
            f"Too little disk space at '{folder}': {size_text(needed + RESERVE_BYTES)} are needed, "
            f"{size_text(free)} are free.",
            "Free some space or choose a folder on another disk.",
            cause="disk",
            needed_bytes=needed + RESERVE_BYTES,
            free_bytes=free,
        )


def refuse_unknown_build(torch: str) -> None:
    """Raise InputError for a build of PyTorch that uv does not know, before anything is downloaded."""
    if not _BUILD_OF_TORCH.fullmatch(torch):
        raise InputError(
            f"There is no build of PyTorch called '{torch}'.",
            "Choose 'auto', 'cpu', a version of CUDA such as 'cu130', or none to use what the index has.",
            setting="torch",
        )


def refuse_system(system: str = sys.platform, machine: str = "", version: str = "") -> None:
    """Raise InputError on computers that PyTorch has no builds for."""
    kind = (machine or platform.machine()).lower()
    wrong = ""
    if system == "darwin":
        macos = version or platform.mac_ver()[0]
        if kind != "arm64":
            wrong = "Macs with Intel CPUs"
        elif release(macos) < (14,):
            wrong = f"macOS {macos} (14 or later is needed)"
    elif system == "win32":
        if kind not in ("amd64", "x86_64"):
            wrong = f"Windows on {kind} CPUs"
    else:
        name, libc = platform.libc_ver() if not version else ("glibc", version)
        if kind not in ("x86_64", "amd64", "aarch64", "arm64"):
            wrong = f"Linux on {kind} CPUs"
        elif name == "glibc" and release(libc) < (2, 28):
            wrong = f"Linux with glibc {libc} (2.28 or later is needed)"
    if wrong:
        raise InputError(
            f"PyTorch 2.13 has no build for {wrong}.",
            "Use another computer, or a Python with an older PyTorch (2.6 or later) that you already have.",
            cause="missing",
        )


def refuse_long_path(folder: Path, system: str = sys.platform, long_paths: bool | None = None) -> None:
    """Raise InputError on Windows when files of the packages would get paths of more than 260 characters."""
    if system != "win32" or len(str(folder)) + LONGEST_PATH < 260:
        return
    if not (_long_paths_enabled() if long_paths is None else long_paths):
        raise InputError(
            f"The path '{folder}' is too long for Windows: {len(str(folder))} characters, at most "
            f"{259 - LONGEST_PATH} are possible.",
            "Choose a folder with a shorter path, such as C:\\ActiveSeg.",
            cause="path",
        )


def _long_paths_enabled() -> bool:
    if sys.platform != "win32":
        return True
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
    except OSError:
        return False


def _weights_text() -> str:
    sizes = ", ".join(f"{size_text(size)} for {name}" for name, size in WEIGHTS_BYTES.items())
    return f"Not included: the weights of a model, which are downloaded when it is first used (about {sizes})"
