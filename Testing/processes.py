"""What tests ask about processes that should have ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

HANGS_AFTER_S = 240.0


def all_gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether all have ended; a zombie that another parent has not collected counts as ended."""
    return not any(_runs(process) for process in processes)


def soon_gone(processes: Sequence[psutil.Process], within_s: float = HANGS_AFTER_S) -> bool:
    """The same, once they have had the time that an end may take on a busy computer."""
    end = time.monotonic() + within_s
    while not all_gone(processes) and time.monotonic() < end:
        time.sleep(0.02)
    return all_gone(processes)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
