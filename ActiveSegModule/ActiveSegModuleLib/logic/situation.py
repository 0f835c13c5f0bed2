"""How the engine is doing, in one word: from what lies on disk, what is being done to it, and what runs."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from .installation import Installation


class RunningEngine(Protocol):
    """What is asked of the engine's process."""

    @property
    def is_starting(self) -> bool:
        """Whether one was started that has not answered yet."""

    @property
    def engine(self) -> object:
        """What the running engine said about itself; empty when none is ready."""


class Situation(Enum):
    """Each has words of its own, and one button that helps."""

    MISSING = auto()
    INCOMPLETE = auto()
    GONE = auto()
    VARIABLE = auto()
    INSTALL = auto()
    UPDATE = auto()
    REPAIR = auto()
    REMOVE = auto()
    USE = auto()
    BUSY = auto()
    DAMAGED = auto()
    FIRST_START = auto()
    STARTING = auto()
    OUTDATED = auto()
    RUNNING = auto()
    READY = auto()


OBSTACLES = {
    "missing": Situation.MISSING,
    "incomplete": Situation.INCOMPLETE,
    "gone": Situation.GONE,
    "variable": Situation.VARIABLE,
    "busy": Situation.BUSY,
}
_CHANGES = {
    "install": Situation.INSTALL,
    "update": Situation.UPDATE,
    "repair": Situation.REPAIR,
    "remove": Situation.REMOVE,
    "use": Situation.USE,
}


def situation_of(installation: Installation, engine: RunningEngine) -> Situation:
    """Nothing is started; a few small files are read."""
    working, obstacle = installation.working, installation.obstacle
    if working is not None and working.action in _CHANGES:
        return _CHANGES[working.action]
    if obstacle is not None:
        return OBSTACLES[obstacle.details["cause"]]
    if installation.damage:
        return Situation.DAMAGED
    if engine.is_starting:
        return Situation.STARTING if installation.was_started else Situation.FIRST_START
    if installation.is_outdated:
        return Situation.OUTDATED
    return Situation.RUNNING if engine.engine else Situation.READY
