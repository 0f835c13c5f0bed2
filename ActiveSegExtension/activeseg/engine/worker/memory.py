"""How much memory there is, and how much a job may take."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from activeseg.system import heap

GIB = 1 << 30
_CGROUP_2 = Path("/sys/fs/cgroup")
_CGROUP_1 = Path("/sys/fs/cgroup/memory")
_BESIDE_HEAP = 128 << 20
"""What libraries may map beside the heap in any case, such as the stacks of threads."""


def free_ram() -> int:
    """Bytes that can be taken without swapping, by the system and by a container's limit."""
    free = int(psutil.virtual_memory().available)
    room = container_room(_CGROUP_2 / "memory.max", _CGROUP_2 / "memory.current", _CGROUP_2 / "memory.stat")
    if room is None:
        usage = _CGROUP_1 / "memory.usage_in_bytes"
        room = container_room(_CGROUP_1 / "memory.limit_in_bytes", usage, _CGROUP_1 / "memory.stat")
    return free if room is None else min(free, room)


def container_room(limit: Path, usage: Path, statistics: Path) -> int | None:
    """Bytes left below a control group's limit, files that the kernel can drop counted as free; None without limit."""
    try:
        most, used = limit.read_text().strip(), int(usage.read_text())
        told = dict(line.split() for line in statistics.read_text().splitlines())
    except (OSError, ValueError):
        return None
    if not most.isdecimal() or int(most) >= 1 << 60:  # "max", or version 1's number for it
        return None
    droppable = int(told.get("inactive_file", told.get("total_inactive_file", 0)))
    return max(int(most) - used + droppable, 0)


def budget(limit: int) -> int:
    """Bytes that one job may take: ``limit``, or what is free less a reserve for everybody else."""
    reserve = max(GIB // 2, int(psutil.virtual_memory().total) // 20)
    free = max(free_ram() - reserve, 0)
    return min(limit, free) if limit else free


def free_vram() -> int | None:
    """Bytes free on the first CUDA device, once torch is loaded and has one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()  # taken by this process, and not in use
    return int(torch.cuda.mem_get_info()[0] + kept)


@contextlib.contextmanager
def at_most(more: int) -> Iterator[None]:
    """Within it this process gets a MemoryError when it wants more than ``more`` bytes beyond what it has.

    Linux only: RLIMIT_DATA counts private writable memory, and not what CUDA reserves without using. It does not see
    that gaps of the heap are filled again, so they are taken off: only gaps greater than ``more`` escape it.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _private_bytes() + max(more - heap.gaps(), min(more, _BESIDE_HEAP))
    ceiling = wanted if before[1] == resource.RLIM_INFINITY else min(wanted, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _private_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def give_back() -> None:
    """Let go of what is not referred to any more, on the GPU as well, and of the memory that it took."""
    gc.collect()
    heap.keep_freed(False)  # for callers that know that there is plenty to say again
    heap.trim()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


class Peak:
    """Watches how much memory is taken from now on, at most."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):  # Linux only: elsewhere the peak is that of the process's whole life
            Path("/proc/self/clear_refs").write_text("5")
        heap.trim()  # what is free but still there would be filled again unseen
        self._before = int(psutil.Process().memory_info().rss)

    def taken(self) -> int:
        """Bytes beyond what was in use at the beginning; never too few."""
        return max(peak_bytes() - self._before, 0)


def peak_bytes() -> int:
    """The most physical memory that this process has had; on Linux since the last ``Peak`` began."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform.startswith("linux"):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
