"""Sets up what ActiveSeg needs and runs its demo or its tests: ``python3 Testing/run.py demo`` or ``... test``.

Any Python must be able to read this file, so that an unsuitable one gets a sentence and not a syntax error.
"""
# ruff: noqa: UP031

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit("ActiveSeg needs Python 3.11, 3.12 or 3.13, and this is Python %d.%d." % sys.version_info[:2])

import argparse
import subprocess

from environments import ENGINE, ROOT, SLICER, SetupError, child_environment, prepare
from stages import STAGES, run_stages


def demo(arguments):
    """Set up, then run Testing/demo.py in the engine's environment with the same arguments."""
    prepare([ENGINE, SLICER])
    command = [str(ENGINE.python), str(ROOT / "Testing" / "demo.py")]
    command.extend(arguments)
    return subprocess.run(command, env=child_environment(), check=False).returncode


def test(arguments):
    """Set up what the chosen stages need and run them; arguments that are not ours go to pytest."""
    parser = argparse.ArgumentParser(prog="run.py test", description="Arguments not listed here are given to pytest.")
    parser.add_argument("--only", choices=[stage.name for stage in STAGES], action="append", help="run only this stage")
    chosen, for_pytest = parser.parse_known_args(arguments)
    stages = [stage for stage in STAGES if not chosen.only or stage.name in chosen.only]
    prepare([environment for environment in (ENGINE, SLICER) if any(environment in s.environments for s in stages)])
    return run_stages(stages, for_pytest)


def main():
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["demo", "test"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see 'run.py demo --help' and 'run.py test --help'")
    chosen = parser.parse_args()
    try:
        return {"demo": demo, "test": test}[chosen.command](chosen.arguments)
    except SetupError as error:
        sys.stderr.write("%s\n" % error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
