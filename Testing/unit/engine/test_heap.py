"""Freed memory is used again, and goes back to the system when it is asked to."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

COMMON = """
import resource, sys
import numpy as np
from activeseg.system import heap
from activeseg.engine.worker import memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
"""
ALLOCATE = """
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def array():
    np.ones(1 << 24)  # 128 MiB

if sys.argv[1] != "leave":
    heap.keep_freed()
if sys.argv[1] == "undo":
    heap.keep_freed(False)
array()
before = faults()
for _ in range(5):
    array()
again = faults() - before
held = resident()
memory.give_back()
given_back = held - resident()
before = faults()
array()
print(again, given_back, faults() - before)
"""
GAP = """
heap.keep_freed()
arrays = [np.ones(1 << 21) for _ in range(16)]  # 256 MiB, in pieces that glibc would not map one by one
stays = np.ones(1 << 18)
arrays.clear()
memory.give_back()
print(heap.gaps() >> 20)
refused = False
with memory.at_most(int(sys.argv[1]) << 20):
    try:
        arrays = [np.ones(1 << 21) for _ in range(int(sys.argv[2]))]
    except MemoryError:
        refused = True
print(int(refused))
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap of glibc")


def run(script: str, *arguments: object) -> list[int]:
    """What a script printed, in a process whose heap nobody has set by hand."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", COMMON + script, *map(str, arguments)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return [int(number) for number in printed.split()]


@needs_glibc
def test_freed_memory_is_used_again_until_it_is_given_back() -> None:
    kept_faults, given_back, faults_after = run(ALLOCATE, "keep")
    usual_faults, *_ = run(ALLOCATE, "leave")
    assert kept_faults < usual_faults / 10
    assert run(ALLOCATE, "undo")[0] > usual_faults / 2
    assert given_back > 100 << 20
    assert faults_after > usual_faults / 10  # it is asked from the system again


@needs_glibc
def test_gaps_of_the_heap_count_as_wanted_when_they_are_filled_again() -> None:
    gaps, refused = run(GAP, 512, 40)
    assert 200 < gaps < 300
    assert refused
    assert run(GAP, 512, 24)[1] == 0
