"""The command line as a user calls it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def activeseg(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "activeseg.cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
