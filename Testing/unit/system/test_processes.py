"""Processes end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import psutil
import pytest
from processes import soon_gone

from activeseg.system.processes import kill_on_close_job, kill_tree


class Kernel32:
    """Windows's calls, noted."""

    def __init__(self, refuses: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append((name, *arguments))
            return 0 if name == self._refuses else 77

        return call


@pytest.mark.parametrize(("pointer", "size"), [(8, 144), (4, 112)])
def test_on_windows_the_engine_is_in_a_job_that_dies_with_it(pointer: int, size: int) -> None:
    kernel = Kernel32()
    assert kill_on_close_job(kernel, pointer) == 77
    create, limit, current, assign = kernel.calls
    assert create == ("CreateJobObjectW", None, None)
    assert limit[:3] == ("SetInformationJobObject", 77, 9)
    assert len(limit[3]) == limit[4] == size
    assert int.from_bytes(limit[3][16:20], "little") == 0x2000
    assert sum(limit[3]) == 0x20, "nothing else is limited"
    assert current == ("GetCurrentProcess",)
    assert assign == ("AssignProcessToJobObject", 77, 77)


@pytest.mark.parametrize("name", ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"])
def test_a_job_object_that_cannot_be_made_is_an_error(name: str) -> None:
    with pytest.raises(OSError, match="job object"):
        kill_on_close_job(Kernel32(name), 8)


GRANDPARENT = """
import subprocess, sys
wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
own = [subprocess.Popen(wait, stdin=subprocess.PIPE, start_new_session=apart) for apart in (False, True)]
print(*[p.pid for p in own], flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_killing_a_tree_ends_children_in_other_sessions_too() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GRANDPARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        children = [psutil.Process(int(pid)) for pid in leader.stdout.readline().split()]
        kill_tree(leader.pid)
        leader.wait()
        assert soon_gone(children, within_s=30)
    kill_tree(leader.pid)  # again: nothing is left to kill
