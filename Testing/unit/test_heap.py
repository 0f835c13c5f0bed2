"""Freed memory is used again, and goes back to the system when it is asked to."""

from __future__ import annotations

import subprocess
import sys

import pytest

ALLOCATE = """
import resource, sys
import numpy as np
from activeseg import heap

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

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
heap.trim()
print(again, held - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the heap of glibc")
def test_freed_memory_is_used_again_until_it_is_given_back() -> None:
    def run(how: str) -> list[int]:
        printed = subprocess.run([sys.executable, "-c", ALLOCATE, how], capture_output=True, text=True, check=True)
        return [int(number) for number in printed.stdout.split()]

    kept_faults, given_back = run("keep")
    usual_faults, _ = run("leave")
    assert kept_faults < usual_faults / 10
    assert run("undo")[0] > usual_faults / 2
    assert given_back > 100 << 20
