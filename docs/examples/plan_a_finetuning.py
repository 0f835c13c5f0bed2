"""Makes a project of two patients, shows what a fine-tuning would do, and measures the current version.

    python docs/examples/plan_a_finetuning.py [FOLDER]

The second patient's case is held out: it only measures versions. ``start_finetuning(project, planned.plan)`` trains.
"""

from __future__ import annotations

import sys
from pathlib import Path

import activeseg
from activeseg.core.progress import Progress
from activeseg.dataset import NewCase
from activeseg.learning.measuring.evaluation import means, measure
from activeseg.learning.training.finetuning import plan_finetuning
from activeseg.samples.phantom import Domain, make_phantom


def main(folder: str = "phantom-project") -> None:
    home = Path(folder)
    private = home / "private"  # outside of the project, which may be shared
    project = activeseg.Project.create(home / "project", "demo", private_dir=private)
    dataset = project.dataset()
    for seed in (42, 43):
        phantom = make_phantom(Domain.NATIVE, seed)
        case = dataset.add_case(NewCase.of_truth(phantom.ct, phantom.labels)).name
        print(f"{case}: {project.admit(case, f'phantom {seed}')}")

    planned = plan_finetuning(project, {"members": 1, "epochs": 2, "iterations": 8, "replay": 0.0}, device="cpu")
    for name, value in planned.rows():
        print(f"  {name:14} {value}")
    for sentence in planned.sentences():
        print(sentence)

    results = measure(project, project.state.current, "cpu", Progress())
    for structure, dice in means(results).items():
        print(f"  {structure:20} Dice {dice:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
