"""``activeseg``: everything that the panel does, without Slicer. The work is in ``commands`` and what they call."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command ``activeseg``."""
    from activeseg.system.switches import switch_off

    switch_off()
    try:
        from activeseg.commands.app import run
    except ModuleNotFoundError as error:
        sys.exit(f"The command line needs the package '{error.name}': pip install 'activeseg[engine]'")
    run()


if __name__ == "__main__":
    main()
