"""What tests ask about processes that should have ended."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def all_gone(processes: Iterable[psutil.Process]) -> bool:
    """Whether all have ended; a zombie that another parent has not collected counts as ended."""
    return not any(_runs(process) for process in processes)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
