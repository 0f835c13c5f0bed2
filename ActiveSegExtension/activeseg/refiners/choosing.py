"""Which refiners there are, which of them can answer for a case, and which one ``auto`` takes."""

from __future__ import annotations

from importlib import import_module

from activeseg.core.errors import InputError
from activeseg.refiners.base import RefinableCase, Refiner
from activeseg.segmenters.nninteractive.weights import Readiness, standing

AUTO = "auto"
NNINTERACTIVE = "nninteractive"
REFINERS = {
    "features": "features:FeaturesRefiner",
    "walker": "walker:WalkerRefiner",
    NNINTERACTIVE: "nninteractive:NnInteractiveRefiner",
}
"""Name -> module in ``activeseg.refiners`` and its class; the best by measurement first
(``Testing/benchmarks/README.md``), then what is taken only by its name."""


def available(case: RefinableCase) -> tuple[str, ...]:
    """Names of those that can answer for this case, the one that ``auto`` takes first."""
    can = {"features": bool(case.votes.features), NNINTERACTIVE: standing().state is Readiness.READY}
    return tuple(name for name in REFINERS if can.get(name, True))


def check_name(name: str) -> None:
    """Say early that a refiner cannot answer in any case.

    Raises
    ------
    InputError
        There is none of that name.
    ModelError
        nnInteractive's weights or package are missing, or their licence is not confirmed.
    """
    if name not in (AUTO, *REFINERS):
        raise InputError(f"There is no refiner '{name}'.", f"There are {', '.join((AUTO, *REFINERS))}.")
    if name == NNINTERACTIVE:
        standing().required()


def refiner_named(name: str, case: RefinableCase) -> Refiner:
    """The refiner of a name, or the best one for ``auto``.

    Raises
    ------
    InputError
        There is none of that name, or it cannot answer for this case.
    ModelError
        nnInteractive's weights or package are missing, or their licence is not confirmed.
    """
    check_name(name)
    there = available(case)
    if name == AUTO:
        name = there[0]
    if name not in there:
        raise InputError(f"The refiner '{name}' cannot answer for this case.", f"Take {', '.join(there)}.")
    module, kind = REFINERS[name].split(":")
    refiner: Refiner = getattr(import_module(f"activeseg.refiners.{module}"), kind)()
    return refiner
