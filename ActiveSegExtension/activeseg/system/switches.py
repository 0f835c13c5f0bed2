"""Variables of the environment with which users of nnU-Net change what it does: here they change nothing.

``nnUNet_compile`` wraps the network, so that its weights no longer fit; ``nnUNet_wandb_enabled`` sends what a training
does to a server elsewhere; a ``nnUNet_def_n_proc`` that is no number ends the import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_PREFIX = "NNUNET_"
_KEPT = {"NNUNET_EXTTRAINER"}  # the user's own trainers, named by a user who wants them
_COUNT = "NNUNET_DEF_N_PROC"  # exact mode takes as many threads as the original would
_WIDEST = 1 << 10


def without_switches(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy in which nnU-Net behaves as it does outside of ActiveSeg, and matplotlib draws without a screen."""
    kept = {name: value for name, value in environment.items() if not _is_switch(name, value)}
    return {**kept, "MPLBACKEND": "Agg"}


@contextmanager
def switches_off() -> Iterator[None]:
    """Within it this process's environment has no switch of nnU-Net's; afterwards all are as they were.

    What nnU-Net reads when it is imported is read for good, so importing it belongs into the block as well.
    """
    before = {name: value for name, value in os.environ.items() if _is_switch(name, value)}
    for name in before:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


def switch_off() -> None:
    """The same for good: for a process that is ours from its start to its end."""
    for name in [name for name, value in os.environ.items() if _is_switch(name, value)]:
        del os.environ[name]
    os.environ["MPLBACKEND"] = "Agg"


def _is_switch(name: str, value: str) -> bool:
    upper = name.upper()  # Windows knows no other case
    if not upper.startswith(_PREFIX) or upper in _KEPT:
        return False
    return upper != _COUNT or not (value.isdecimal() and 1 <= int(value[:9]) <= _WIDEST)
