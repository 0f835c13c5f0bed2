"""Which cases are held out: decided once, patient by patient, in order of arrival.

All CTs of a patient lie on one side. The second patient is held out, then every fifth one after that; no patient
changes sides. A patient is known by a keyed hash of the id, so that the project's file holds no patient ID.

Of the replayed images the second and every fifth one after that are held out, too, to measure what is forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from activeseg.core.errors import InputError, shown
from activeseg.core.json_values import WrongField
from activeseg.core.records import Matches
from activeseg.dataset.layout import CASE_NAME

FIRST_HELD_OUT, EVERY = 2, 5

CaseName = Annotated[str, Matches(CASE_NAME)]


class Side(StrEnum):
    """Where a case is used: to train on, or only to measure versions."""

    TRAIN = "train"
    HELD_OUT = "held out"


@dataclass(frozen=True)
class HoldOut:
    """Patients in order of arrival with their side, and the patient of each case."""

    patients: Mapping[str, Side] = field(default_factory=dict)
    cases: Mapping[CaseName, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises WrongField for a case of a patient who is not there."""
        for case, patient in self.cases.items():
            if patient not in self.patients:
                raise WrongField(
                    f"'hold_out.cases' has {shown(case)} of the patient {shown(patient)}, who is not there"
                )

    def with_case(self, case: str, patient: str) -> HoldOut:
        """The case on its patient's side; a new patient's side follows from the order of arrival.

        ``patient`` is a ``patient_key``. A case that is there already stays. Raises InputError when it is there with
        another patient, for then it might have been trained on.
        """
        known = self.cases.get(case)
        if known is not None:
            if known != patient:
                raise InputError(f"'{case}' already belongs to another patient of this project, and cannot be moved.")
            return self
        patients = dict(self.patients)
        if patient not in patients:
            patients[patient] = Side.HELD_OUT if _is_held_out(len(patients) + 1) else Side.TRAIN
        return replace(self, patients=patients, cases={**self.cases, case: patient})

    def side(self, case: str) -> Side | None:
        """None for a case whose patient has not been said."""
        patient = self.cases.get(case)
        return None if patient is None else self.patients[patient]

    def on(self, side: Side) -> tuple[str, ...]:
        """Cases of that side, in order of arrival."""
        return tuple(case for case in self.cases if self.side(case) is side)


def held_out_of_replayed(images: Sequence[str], learnt: Collection[str]) -> tuple[str, ...]:
    """Replayed images that are only measured on.

    Parameters
    ----------
    images : names in order of arrival
    learnt : what any version was trained on, in the days before some were held out, or before another one was removed;
        it would not show what is forgotten
    """
    return tuple(name for place, name in enumerate(images, start=1) if _is_held_out(place) and name not in learnt)


def _is_held_out(place: int) -> bool:
    """Counted from 1, in order of arrival."""
    return place >= FIRST_HELD_OUT and (place - FIRST_HELD_OUT) % EVERY == 0


def patient_key(secret: str, patient_id: str) -> str:
    """A keyed hash of a patient's id, short enough to read; ``secret`` stays in the user's private folder."""
    return hmac.new(secret.encode(), patient_id.strip().casefold().encode(), hashlib.sha256).hexdigest()[:16]
