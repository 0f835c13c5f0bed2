"""Code that a model may name: what nnU-Net brings, and what the user trusts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from activeseg.core.json_values import JsonValue

TRUSTED_CODE = "ACTIVESEG_TRUSTED_MODEL_CODE"
"""Environment variable: names of classes of the user's own, with commas between them, that a model may use."""


def trusted_code() -> frozenset[str]:
    """What the user allowed models to name, beside what nnU-Net brings."""
    return frozenset(name.strip() for name in os.environ.get(TRUSTED_CODE, "").split(",") if name.strip())


def known_code(value: JsonValue, known: Mapping[str, Any] | frozenset[str], what: str) -> str:
    """A name of code that is nnU-Net's own, or that the user trusts. Raises WrongField."""
    return value.one_of(
        {*known, *trusted_code()},
        f"{what} that nnU-Net does not bring, so it was not run",
        "The model was made with a program that changes nnU-Net; use that program. If you trust the code of that name "
        f"that is installed here, put its name into the environment variable {TRUSTED_CODE}.",
    )
