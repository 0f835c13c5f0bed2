"""All instants of a power failure, with several worst folders for each: ``Testing/unit/test_lost_flushes.py``, long."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "unit" / "test_lost_flushes.py"


def main() -> None:
    """Print the tests' results for each round and one line for all; exit code 1 when a folder could not be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the folders that are drawn")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is done")
    arguments = parser.parse_args()
    failed = []
    for seed in range(arguments.seed, arguments.seed + arguments.rounds):
        print(f"seed {seed}", flush=True)
        variables = {**os.environ, "ACTIVESEG_LOST_FLUSHES": f"{seed} 1"}
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", str(TESTS)]
        if subprocess.run(command, env=variables, check=False).returncode:
            failed.append(seed)
    print(f"{arguments.rounds} rounds from seed {arguments.seed}; failed with the seeds {failed or 'none'}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
