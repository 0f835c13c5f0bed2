"""A case with many regions, as after the segmentation of a whole CT."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from scene_cases import RECORD

from activeseg.core.correction import patch_names
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume

SHAPE = (40, 60, 60)
GEOMETRY = Geometry(SHAPE, (1.5, 1.5, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
NAMES = (
    *("spleen", "liver", "kidney_left", "kidney_right", "pancreas", "portal_vein_and_splenic_vein", "colon"),
    *("gluteus_maximus_right", "vertebrae_T12", "aorta", "adrenal_gland_left", "urinary_bladder"),
)
SCHEMA = LabelSchema.from_names(NAMES)
REASONS = ("members_disagree", "low_confidence", "open_edge")
STATES = ("open", "open", "accepted", "corrected", "skipped", "open")


def box(number: int) -> list[list[int]]:
    """Of a region, counted from 1; they lie beside each other."""
    row, column = divmod(number - 1, 5)
    return [[5, 35], [4 + 13 * row, 15 + 13 * row], [2 + 11 * column, 12 + 11 * column]]


def labels() -> np.ndarray:
    """A block of one structure in each region."""
    array = np.zeros(SHAPE, np.uint8)
    for number in range(1, 21):
        (k, k_end), (j, j_end), (i, i_end) = box(number)
        array[k + 2 : k_end - 2, j + 2 : j_end - 3, i + 2 : i_end - 3] = 1 + (number - 1) % len(NAMES)
    return array


def region(number: int) -> dict[str, Any]:
    """An entry of ``regions.json``; the last one is about nothing."""
    structures = [NAMES[(number - 1) % len(NAMES)]]
    if number == 6:
        structures += ["spleen", "liver"]
    alternatives = [
        {
            "summary": f"{votes} members",
            "votes": votes,
            "members": [f"member {n}" for n in range(votes)],
            "gains": {structures[0]: {"voxels": 200, "mm3": 900.0}},
            "loses": {},
        }
        for votes in (3, 1)
    ]
    return {
        "number": number,
        "box_kji": box(number),
        "center_ras_mm": [0.0, 0.0, 0.0],
        "score": 0.5 / number,
        "structures": structures if number != 12 else [],
        "size_voxels": 5000 // number,
        "size_mm3": 104_000.0 / number**2,
        "votes": {structures[0]: 3},
        "alternatives": alternatives if number % 3 else [],
        "state": STATES[(number - 1) % len(STATES)],
        "reason": REASONS[number % 3],
        "doubt": 0.9 / number,
    }


def patches(count: int) -> bytes:
    """Each alternative is a layer thicker than the one before."""
    arrays = {}
    for number in range(1, count + 1):
        if number % 3 == 0:
            continue
        size = tuple(stop - start for start, stop in box(number))
        for n in (1, 2):
            changed = np.zeros(size, bool)
            changed[4:20, 2:-1, size[2] - 3 : size[2] - 3 + n] = True
            names = patch_names(number, n)
            arrays[names[0]] = np.full(size, 1 + (number - 1) % len(NAMES), np.uint8)
            arrays[names[1]] = changed
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def big_case(user: Any, count: int = 20, name: str = "CT segmentation") -> Any:
    """A CT with as many regions, two alternatives in most of them, and two maps."""
    from ActiveSegModuleLib.scene.case import Case

    rows, columns = np.mgrid[0 : SHAPE[1], 0 : SHAPE[2]]
    ct = np.zeros(SHAPE, np.int16) + (rows * 2 + columns - 60).astype(np.int16)
    ct[labels() > 0] += 80
    node = user.core.add_volume(ct, GEOMETRY, "CT")
    members = [{"name": f"fold {n}", "kind": "trained"} for n in range(4)]
    record = {**RECORD, "schema": SCHEMA.to_dict(), "decided": list(NAMES), "members": members}
    case = Case.create(user.core.scene, node, Volume(labels(), GEOMETRY), record, name)
    case.set_regions([region(number) for number in range(1, count + 1)], patches(count), GEOMETRY)
    for measure in ("variance", "entropy"):
        case.add_uncertainty(measure, Volume(np.full(SHAPE, 0.5, np.float32), GEOMETRY))
    return case
