#!/usr/bin/env python3
"""Model folders with random changes in plans.json, dataset.json and the checkpoint: used, or refused in one sentence.

Each round changes one to three things of a small real model at random places: values of other types, huge and odd
numbers, missing and moved keys, bytes. Then the model is opened and segments a small image. Whatever ends in another
way than with an error of ActiveSeg's is a fault.

    python Testing/soak/model_files.py --count 2000 --seed 7
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1] / "engine"), str(HERE.parents[2] / "ActiveSegExtension")]

import numpy as np  # noqa: E402
from nnunet_models import make_model  # noqa: E402

from activeseg.core.errors import ActiveSegError  # noqa: E402
from activeseg.core.geometry import Geometry  # noqa: E402
from activeseg.core.progress import Progress  # noqa: E402
from activeseg.core.segmenter import Mode, Settings  # noqa: E402
from activeseg.core.volume import Volume  # noqa: E402
from activeseg.segmenters.nnunet.segmenter import NnUNetSegmenter  # noqa: E402

LABELS = {"background": 0, "liver": 1, "spleen": 2}
CHECKPOINT = "fold_0/checkpoint_final.pth"
ODD: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, -1, 7, 10**9, 10**400, 0.5, -0.0, 1e-300, 1e300, math.nan, math.inf),
    *(
        "",
        "x",
        "0",
        "CT",
        "background",
        "ignore",
        "../..",
        "os.system",
        "subprocess.Popen",
        "a\nb",
        "\ud800",
        "é" * 300,
    ),
    *([], {}, [[]], [0], [1, 2], [1, 2, 3], [None], ["x"], {"0": "x"}, {"a": {"b": []}}, [[3, 3, 3], [3, 3, 3]]),
]


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values below."""
    found = []
    if isinstance(value, dict):
        inner: Any = value.items()
    else:
        inner = enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        found += [(*before, key), *places(below, (*before, key))]
    return found


def change_json(path: Path, chance: random.Random) -> str:
    content = json.loads(path.read_text())
    where = chance.choice(places(content))
    holder = content
    for key in where[:-1]:
        holder = holder[key]
    kind = chance.choice(["other", "other", "other", "gone", "twice", "deep", "more"])
    if kind == "other":
        holder[where[-1]] = chance.choice(ODD)
    elif kind == "gone":
        del holder[where[-1]]
    elif kind == "twice" and isinstance(holder, list):
        holder.append(holder[where[-1]])
    elif kind == "deep":
        for _ in range(chance.choice([3, 300, 900])):
            holder[where[-1]] = [holder[where[-1]]]
    elif isinstance(holder, dict):
        holder[chance.choice(["x", "inherits_from", "block", "device", "previous_stage", "ignore", "modality"])] = (
            chance.choice(ODD)
        )
    path.write_text(json.dumps(content))
    return f"{path.name} {'/'.join(map(str, where))} {kind}"


def change_bytes(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    kind = chance.choice(["bytes", "cut", "swap", "start"])
    if kind == "bytes":
        for _ in range(chance.choice([1, 10, 100])):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif kind == "cut":
        del data[chance.randrange(len(data)) :]
    elif kind == "swap":
        at = chance.randrange(len(data))
        data[at : at + 50] = bytes(chance.randrange(256) for _ in range(50))
    else:  # the pickle lies at the start
        at = chance.randrange(64, 9000)
        data[at] = chance.randrange(256)
    path.write_bytes(bytes(data))
    return f"{path.name} {kind}"


def one_round(real: Path, folder: Path, ct: Volume, chance: random.Random) -> tuple[str, str, Exception | None]:
    """What was done, how it ended (``segmented``, ``refused``, ``fault``), and the fault."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(real, folder)
    done = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        name = chance.choice(["plans.json", "plans.json", "dataset.json", CHECKPOINT])
        change = change_bytes if name == CHECKPOINT else change_json
        done.append(change(folder / name, chance))
    told = "; ".join(done)
    try:
        settings = Settings(device="cpu", mode=Mode.EXACT, members=1)
        segmenter = NnUNetSegmenter(folder)
        segmenter.segment(dict.fromkeys(segmenter.channels, ct), settings, Progress())
    except ActiveSegError as error:
        said = str(error).strip()
        if "\n" in said or not said.isascii() or len(said) > 2000:
            return told, "fault", error
        return told, "refused", None
    except Exception as error:
        return told, "fault", error
    return told, "segmented", None


def soak(seed: int, count: int) -> tuple[collections.Counter[str], list[str]]:
    """How the rounds ended, and what the faults were."""
    chance = random.Random(seed)
    ends: collections.Counter[str] = collections.Counter()
    faults = []
    values = np.random.default_rng(seed).integers(-900, 900, (8, 16, 16)).astype(np.int16)
    ct = Volume(values, Geometry(values.shape, (3.0, 3.0, 3.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    with tempfile.TemporaryDirectory() as place:
        real = make_model(Path(place) / "real", LABELS, patch=(8, 16, 16))
        for number in range(count):
            told, end, fault = one_round(real, Path(place) / "model", ct, chance)
            ends[end] += 1
            if fault is not None:
                faults.append(f"round {number}: {told}: {type(fault).__name__}: {str(fault)[:200]!r}")
    return ends, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="rounds (default: 2000)")
    parser.add_argument("--seed", type=int, default=None, help="default: a fresh one")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    print(f"seed {seed}")
    ends, faults = soak(seed, given.count)
    for fault in faults:
        print(fault)
    print(f"{given.count} rounds: {ends['segmented']} segmented, {ends['refused']} refused, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
