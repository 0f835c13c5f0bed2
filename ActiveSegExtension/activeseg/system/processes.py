"""Child processes end with the engine, and a training does not.

Sessions and death signals on Linux, process groups on POSIX, a job object on Windows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_JOB_EXTENDED_LIMITS = 9  # winnt.h: JobObjectExtendedLimitInformation
_KILL_ON_JOB_CLOSE = 0x2000  # winnt.h: JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
_LIMIT_FLAGS_AT = 16  # offset of LimitFlags in JOBOBJECT_BASIC_LIMIT_INFORMATION, 32 and 64 bit
_EXTENDED_LIMITS_SIZE = {8: 144, 4: 112}  # sizeof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION) by pointer size


def lead_session() -> None:
    """Leave the terminal's session; on Windows be in a job that dies with this process."""
    if sys.platform == "win32":
        import ctypes

        kernel32 = ctypes.WinDLL("kernel32")
        handle = ctypes.c_void_p
        kernel32.CreateJobObjectW.restype = kernel32.GetCurrentProcess.restype = handle
        kernel32.SetInformationJobObject.argtypes = (handle, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        kernel32.AssignProcessToJobObject.argtypes = (handle, handle)
        kill_on_close_job(kernel32, ctypes.sizeof(handle))
    elif os.getpgrp() != os.getpid():
        os.setsid()


def kill_on_close_job(kernel32: Any, pointer_size: int) -> int:
    """Put this process, and so all that it will start, into a job object that kills them when its handle is closed.

    The handle is never closed by us: the system does it when this process ends, however it ends. Returns the handle.
    Raises OSError. ``kernel32`` is a parameter so that the calls can be tested elsewhere.
    """
    job = kernel32.CreateJobObjectW(None, None)
    limits = bytearray(_EXTENDED_LIMITS_SIZE[pointer_size])
    limits[_LIMIT_FLAGS_AT : _LIMIT_FLAGS_AT + 4] = _KILL_ON_JOB_CLOSE.to_bytes(4, "little")
    set_limits = job and kernel32.SetInformationJobObject(job, _JOB_EXTENDED_LIMITS, bytes(limits), len(limits))
    if not set_limits or not kernel32.AssignProcessToJobObject(job, kernel32.GetCurrentProcess()):
        raise OSError(f"The engine cannot make a job object (Windows error {kernel32.GetLastError()}).")
    return int(job)


def die_with_parent(parent: int) -> None:
    """End when the supervisor ends, even if this process is busy in a library (Linux; elsewhere its pipe tells)."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the signal was asked for
        os._exit(1)


def start_detached(command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> None:
    """Start a process that is no child of this one, so that it stays when this one's family ends.

    Raises OSError, CalledProcessError when it cannot be started.
    """
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "env": dict(environment)}
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS | subprocess.CREATE_BREAKAWAY_FROM_JOB
        subprocess.Popen(command, creationflags=flags, **options)
        return
    between = f"import subprocess, sys; subprocess.Popen({list(command)!r}, start_new_session=True)"
    subprocess.run([sys.executable, "-I", "-c", between], start_new_session=True, check=True, **options)


def exit_reason(code: int) -> str:
    """How a process ended, in words; ``code`` is negative for a signal, as in ``Popen.returncode``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def kill_tree(pid: int) -> None:
    """Kill a process that leads a group, and all that it started, at once."""
    import psutil

    try:
        tree = [psutil.Process(pid)]
        tree += tree[0].children(recursive=True)
    except psutil.NoSuchProcess:
        tree = []
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()


def end_own_group() -> None:
    """End this process and those that it started: its supervisor is gone."""
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
