"""Edits a scene at random, and compares what is exported with a reference, voxel by voxel, after each edit.

Runs in Slicer's environment: ``.venv-slicer/bin/python Testing/soak/edits.py --edits 500 --seed 1``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for place in ("ActiveSegExtension", "ActiveSegModule", "Testing/mrml"):
    sys.path.insert(0, str(ROOT / place))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=500, metavar="N", help="edits of each scene (default: 500)")
    parser.add_argument(
        "--scenes", type=int, default=1, metavar="N", help="scenes, with seeds that follow (default: 1)"
    )
    parser.add_argument(
        "--seed", type=int, default=None, metavar="N", help="of the first scene (default: by the clock)"
    )
    parser.add_argument("--file-every", type=int, default=1, metavar="N", help="save after each N-th edit (default: 1)")
    options = parser.parse_args()

    from random_edits import EditedScene, Mismatch
    from scene_cases import PLAIN, oblique
    from slicer_application import SlicerCore, quiet

    first = options.seed if options.seed is not None else int(time.time())
    wrong, edits, checks, files = 0, 0, 0, 0
    done: dict[str, int] = {}
    started = time.monotonic()
    for seed in range(first, first + options.scenes):
        print(f"seed {seed}, {options.edits} edits", flush=True)
        with quiet(), tempfile.TemporaryDirectory() as folder:
            scene = EditedScene(SlicerCore.start(), seed, oblique() if seed % 2 else PLAIN)
            try:
                for number in range(1, options.edits + 1):
                    scene.edit()
                    scene.check()
                    if number % options.file_every == 0:
                        scene.check_file(Path(folder))
            except Mismatch as error:
                wrong += 1
                print(f"seed {seed}: {error}", flush=True)
        edits, checks, files = edits + scene.number, checks + scene.checks, files + scene.file_checks
        for name, times in scene.done.items():
            done[name] = done.get(name, 0) + times
    print(", ".join(f"{name} {times}" for name, times in sorted(done.items())))
    print(
        f"{edits} edits in {options.scenes} scenes from seed {first}: {checks} scenes and {files} files compared, "
        f"{wrong} scenes differ, {time.monotonic() - started:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
