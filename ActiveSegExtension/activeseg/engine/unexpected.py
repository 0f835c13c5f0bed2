"""Errors that no part of the program foresaw: a fixed sentence for the client, with the number that the log has.

What such an exception says itself goes nowhere else: it can hold a path with a patient's name.
"""

from __future__ import annotations

import secrets

from activeseg.core.errors import EngineError


def new_number() -> str:
    """Six digits by which an error is found in the log."""
    return f"{secrets.randbelow(1_000_000):06}"


def unexpected(number: str, what: str = "job") -> EngineError:
    """What the client is told."""
    return EngineError(
        f"The {what} failed for an unexpected reason; the log explains it under the number {number}.",
        "Please send us the log.",
        log_number=number,
    )
