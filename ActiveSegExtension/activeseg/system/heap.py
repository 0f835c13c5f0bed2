"""The heap of a process that makes large arrays again and again, and how libraries say that memory was not enough.

With another C library than glibc the heap stays as it is.

By default glibc asks the kernel for each large array and gives it back at once, and the kernel clears its pages for
the next one: on a CPU that was a quarter of a network's time, and a fifth of a training's.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

_MMAP_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -4, -3, -1  # of glibc's malloc.h
_SAID = (
    "can't allocate memory",  # torch's CPU allocator
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "could not create a memory object",  # oneDNN
    "Failed to allocate memory",  # ITK
    "STATUS_ALLOC_FAILED",  # cuDNN and cuBLAS
    "unable to find an engine to execute",  # cuDNN, when none of its ways has the memory it needs
)
_SET_BY_HAND = {"MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


def keep_freed(wanted: bool = True) -> None:
    """From now on this process uses freed memory again before it asks for more; ``trim`` gives it back.

    Its peak rises by up to a half, because gaps remain, so that it is not ``wanted`` where memory is scarce. Code that
    has set glibc's own variables for this keeps what they say.
    """
    libc = _glibc()
    if libc is not None and not _SET_BY_HAND & set(os.environ):
        libc.mallopt(_MMAP_MAX, 0 if wanted else 1 << 16)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)  # what glibc itself arrives at, as the next one
        libc.mallopt(_TRIM_THRESHOLD, -1 if wanted else 64 << 20)


def trim() -> None:
    """Give freed memory back to the system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def gaps() -> int:
    """Bytes of the heap that the system has back, and that this process can fill again without asking.

    0 where the system does not tell: only Linux does, and not every kernel.
    """
    told = Path("/proc/self/smaps")
    if not told.exists():
        return 0
    found, in_heap = 0, False
    with told.open() as lines:
        for line in lines:
            name, *values = line.split()
            if not name.endswith(":"):  # a mapping begins: its addresses, rights, ..., file
                if in_heap and values[-1] != "[heap]":
                    break  # the heap is one range; a thousand mappings follow, which the kernel need not look at
                in_heap = values[-1] == "[heap]"
            elif in_heap and name in ("Size:", "Rss:"):
                found += int(values[0]) * (1024 if name == "Size:" else -1024)
    return found


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or what caused it, is about memory, this computer's or a GPU's."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID):
            return True
        error = error.__cause__ or error.__context__
    return False


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
