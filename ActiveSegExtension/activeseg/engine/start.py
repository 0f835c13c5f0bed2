"""The script that a client starts as ``python -I -X utf8 -u start.py --home=FOLDER``.

It runs the copy of ``activeseg`` that it lies in, whatever else is installed in the environment.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> int:
    """Be the supervisor, or one of its own processes; the exit code."""
    parser = argparse.ArgumentParser(description="The engine of ActiveSeg; it speaks JSON-RPC on stdin and stdout.")
    parser.add_argument("--home", type=Path, required=True, help="folder for logs and scratch")
    parser.add_argument("--role", choices=("supervisor", "worker", "clerk"), default="supervisor")
    parser.add_argument("--parent", type=int, default=0, help="process id of the supervisor")
    parser.add_argument("--idle-s", type=float, default=900.0)
    parser.add_argument("--warm-gib", type=float, default=4.0)
    parser.add_argument("--memory-gib", type=float, default=0.0)
    parser.add_argument("--log-kib", type=int, default=4096)
    given = parser.parse_args()

    from activeseg.engine.pipes import Pipes

    if given.role == "supervisor":
        from activeseg.engine.supervisor.dispatcher import Limits
        from activeseg.engine.supervisor.supervisor import supervise

        limits = Limits(given.idle_s, given.warm_gib, given.memory_gib, given.log_kib * 1024)
        return supervise(given.home.expanduser().absolute(), limits, sys.executable, os.environ)
    from activeseg.engine.worker.worker import work

    return work(Pipes.take_over(log=None), given.role, given.home, given.parent, given.warm_gib, given.memory_gib)


if __name__ == "__main__":
    sys.exit(main())
