"""What computer this is: CPU cores, memory, graphics cards, without loading torch."""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
from importlib import metadata

import psutil

from activeseg.client.messages.system import Gpu, SystemRequest, SystemResult
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.memory import free_ram
from activeseg.engine.worker.worker import Job

_QUERY = ("name", "memory.total", "memory.free", "driver_version")
_PACKAGES = ("torch", "nnunetv2", "TotalSegmentator", "numpy", "SimpleITK")


def system_info(request: SystemRequest, job: Job, kept: Kept) -> SystemResult:
    """Answered beside a running job."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return SystemResult(
        system=platform.platform(),
        cores=usable,
        ram_bytes=psutil.virtual_memory().total,
        ram_free_bytes=free_ram(),
        gpus=tuple(nvidia_gpus()),
        versions={name: _version(name) for name in _PACKAGES},
        engine={},  # the supervisor tells that
    )


def nvidia_gpus(program: str | None = None, timeout_s: float = 5.0) -> list[Gpu]:
    """NVIDIA's cards as its own tool lists them; empty when there is no such tool, or it fails."""
    program = program or shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for row in csv.reader(done.stdout.splitlines()) if (gpu := _gpu(row)) is not None]


def _gpu(row: list[str]) -> Gpu | None:
    try:
        name, total, free, driver = (field.strip() for field in row)
        return Gpu(name=name, total_bytes=int(total) << 20, free_bytes=int(free) << 20, driver=driver)
    except ValueError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
