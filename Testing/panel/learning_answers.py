"""What an engine says of a project: plans, trainings, decisions and versions, as real ones did."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

STRUCTURES = ("liver", "spleen", "kidney_left", "kidney_right", "pancreas", "urinary_bladder", "aorta", "duodenum")


def models() -> dict[str, Any]:
    """The list of models."""
    demo = {"name": "demo", "family": "demo", "description": "A small network", "modality": "CT", "state": "ready"}
    return {"models": [{**demo, "structures": list(STRUCTURES)}]}


def project(folder: Path, **changes: Any) -> dict[str, Any]:
    """A new project with one case that waits."""
    known: dict[str, Any] = {
        "project": str(folder),
        "name": folder.name,
        "base_model": "demo",
        "dataset": str(folder / "Dataset501_Livers"),
        "matching": {"liver": "liver", "spleen": "spleen", "pancreas": None},
        "cases": {"CT_0001": "train", "CT_0002": "held out", "CT_0003": None},
        "replay": [],
        "current": "base",
        "versions": [version("base")],
        "damaged": {},
        "problems": [],
        "run": None,
        "waiting": ["CT_0001"],
        "to_review": ["CT_0002"],
        "worth_it": "1 corrected case is waiting to be learnt from. Held out, and not yet gone through as a whole: "
        "CT_0002. Only reviewed voxels count.",
        "promotions": [],
    }
    return {**known, **changes}


def version(
    name: str,
    before: float | None = None,
    after: float | None = None,
    reason: str = "",
    fallen: tuple[str, ...] = (),
) -> dict[str, Any]:
    is_base = name == "base"
    measured = [] if after is None else [structure(name, n, name in fallen) for n, name in enumerate(STRUCTURES)]
    return {
        "id": name,
        "parent": "" if is_base else "base",
        "created": "" if is_base else "2026-11-29T12:00:00Z",
        "cases": None if is_base else 12,
        "before": before,
        "after": after,
        "reason": reason,
        "structures": measured,
    }


def structure(name: str, number: int, falls: bool) -> dict[str, Any]:
    before = 0.7 + 0.02 * number
    known = {"name": name, "cases": 1, "voxels": 41_250, "allowed_fall": 0.01, "falls": falls}
    return {**known, "before": before, "after": before - 0.04 if falls else before + 0.06}


BETTER = "The mean Dice rises from 0.745 to 0.820, and no structure falls by more than allowed."
WORSE = "Refused: spleen from 0.912 to 0.870 and pancreas from 0.640 to 0.601 fell by more than allowed."


def plan() -> dict[str, Any]:
    return {
        "plan": {"epochs": 30},
        "parent": "base",
        "part": "",
        "cases": ["CT_0001"],
        "replayed": [],
        "held_out": 1,
        "estimate": {},
        "new": ["pancreas"],
        "sentences": ["No patient ID yet, so these cases are left out: CT_0003."],
        "rows": [
            ["begins with", "base"],
            ["corrected cases", "1"],
            ["replayed", "earlier cases: 0, images: 0 (0% of what is drawn)"],
            ["held out", "1"],
            ["members", "4, trained one after the other"],
            ["iterations", "6000 (30 epochs of 50 for each)"],
            ["learning rate", "0.001, after a warm-up of 10%"],
            ["frozen", "0 of 6 stages of the encoder"],
            ["time", "about 95 min on cuda"],
            ["memory", "about 5.2 GB"],
        ],
    }


def epochs(count: int, per_member: int = 30) -> list[dict[str, Any]]:
    return [
        {
            "event": "epoch",
            "epoch": number % per_member,
            "member": number // per_member + 1,
            "loss": 0.4 * math.exp(-(number % per_member) / 8) - 0.7,
            "dice": {"liver": 0.9 - 0.4 * math.exp(-(number % per_member) / 6), "spleen": 0.7},
            "seconds": 240.0,
        }
        for number in range(count)
    ]


def state(stage: str, count: int = 0, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "run": "20261129-120000",
        "stage": stage,
        "fraction": 0.42,
        "eta_s": 4800.0,
        "member": 2,
        "epoch": 12,
        "loss": -0.61,
        "dice": {"liver": 0.9},
        "version": "",
        "promoted": False,
        "verdict": "",
        "error": None,
        "paused": False,
        "epochs": epochs(count),
        "after": 1000,
    }
    return {**known, **changes}


def run(stage: str, **changes: Any) -> dict[str, Any]:
    """As the project's summary has it."""
    told = state(stage, **changes)
    return {"id": told["run"], **{key: told[key] for key in told if key not in ("run", "epochs", "after", "paused")}}


def comparison(second: str = "v0001", fallen: tuple[str, ...] = ()) -> dict[str, Any]:
    scores = {name: (0.7 + 0.02 * n, 0.76 + 0.02 * n) for n, name in enumerate(STRUCTURES)}
    return {
        "first": "base",
        "second": second,
        "verdict": {"structures": [{"name": name, "falls": name in fallen} for name in STRUCTURES]},
        "cases": {second: {"CT_0002": {"scores": {name: {"voxels": 41_250} for name in STRUCTURES}}}},
        "headings": [
            *("STRUCTURE", "CASES", "DICE", "DICE NEW", "SURFACE DICE", "SURFACE DICE NEW"),
            *("HD95 MM", "HD95 MM NEW", "VOLUME", "VOLUME NEW"),
        ],
        "rows": [
            [name, "1", f"{a:.3f}", f"{b:.3f}", "0.800", "0.850", "12.1", "7.3", "+4%", "-1%"]
            for name, (a, b) in scores.items()
        ],
        "sentences": ["base: uncertainty finds errors with AUROC 0.91.", f"{second} in place of base: {BETTER}"],
    }
