"""SIGKILLs at random moments of fine-tuning, each followed by a look at the project and a resumed or a new training.

After each kill the project opens, no version is damaged, the hold-out's key and the private file are as they were, no
temporary file is left, and the training that goes on has lost at most one epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import tempfile
import time
from pathlib import Path

TESTING = Path(__file__).parents[1]
sys.path[:0] = [str(TESTING / "engine"), str(TESTING / "unit"), str(TESTING.parent / "ActiveSegExtension")]

EPOCHS, ITERATIONS = 4, 3


def main() -> None:
    """Print a line for each kill and one for all; exit code 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=0.0, help="seconds to a kill; default: as a training takes")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ACTIVESEG_PRIVATE_DIR"] = str(Path(folder) / "private")
        wrong = killed(Path(folder), arguments.kills, arguments.seed, arguments.longest)
    print(f"seed {arguments.seed}: {arguments.kills} kills of fine-tuning, {len(wrong)} with something wrong")
    raise SystemExit(bool(wrong))


def killed(folder: Path, kills: int, seed: int, longest_s: float = 0.0) -> list[str]:
    """What was wrong after any of the kills."""
    from finetuned import ended, make_project, started

    from activeseg.learning.training.finetuning import resume_finetuning
    from activeseg.learning.training.run_folder import Stage

    drawn = random.Random(seed)
    project = make_project(folder / "project")
    private = hashes(folder / "private")
    begun = time.monotonic()
    if not longest_s:
        first = started(project, epochs=EPOCHS, iterations=ITERATIONS)
        assert ended(first).stage is Stage.DONE
        longest_s = time.monotonic() - begun
    wrong: list[str] = []
    run = None
    for number in range(kills):
        known = 0
        if run is not None and run.state.stage in (Stage.STOPPED, Stage.WAITING):
            known = _epochs(run)
            before = len(_iterations(run))
            resume_finetuning(run)
        else:
            run, before = started(project, epochs=EPOCHS, iterations=ITERATIONS), 0
        moment = drawn.uniform(0, longest_s)
        _kill_after(run, moment)
        found = problems(project, private, folder / "private")
        again = _iterations(run)[before:]
        if again and again[0] < (known - 1) * ITERATIONS + 1:
            found.append(f"iteration {again[0]} was done again although {known} epochs were over")
        wrong += [f"kill {number + 1} after {moment:.2f} s: {what}" for what in found]
        print(
            f"kill {number + 1}: after {moment:.2f} s, {run.state.stage}; {'; '.join(found) or 'all is well'}",
            flush=True,
        )
    return wrong


def problems(project: object, private: dict[str, str], private_folder: Path) -> list[str]:
    """What is not as it must be after a kill."""
    from activeseg.core.errors import ActiveSegError
    from activeseg.dataset.verification import verify_dataset
    from activeseg.learning.project.project import Project
    from activeseg.learning.summary import project_summary

    found = []
    try:
        opened = Project.open(project.folder)  # type: ignore[attr-defined]
        found += list(project_summary(opened)["problems"])
        found += [finding.problem for finding in verify_dataset(opened.dataset())]
    except ActiveSegError as error:
        return [f"the project does not open: {error}"]
    if hashes(private_folder) != private:
        found.append("a private file changed")
    left = [path.name for name in (".activeseg-*", ".staging-*") for path in opened.folder.rglob(name)]
    return [*found, *(f"'{name}' was left" for name in left)]


def hashes(folder: Path) -> dict[str, str]:
    """The private files."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".key", ".jsonl"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _kill_after(run: object, seconds: float) -> None:
    from finetuned import kill

    time.sleep(seconds)
    if run.is_alive:  # type: ignore[attr-defined]
        try:
            kill(run)  # type: ignore[arg-type]
        except AssertionError:  # it has ended by itself meanwhile
            return


def _iterations(run: object) -> list[int]:
    events = run.events()[0]  # type: ignore[attr-defined]
    return [int(event["iteration"]) for event in events if event["event"] == "iteration"]


def _epochs(run: object) -> int:
    return sum(event["event"] == "epoch" for event in run.events()[0])  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
