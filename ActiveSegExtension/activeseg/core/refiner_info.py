"""What there is that can answer prompts, and what is missing for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RefinerInfo:
    """One line of ``activeseg refiners list``.

    Attributes
    ----------
    state
        ``ready``, ``package missing``, ``weights missing``, ``damaged`` or ``licence`` (the user has to confirm it).
    problem, action
        A sentence that says why it is not ready, and one that says what helps.
    folder
        Of its weights, where it needs some.
    licence
        Name of the weights' licence; ``!!MISSING!!`` where they state none.
    licence_text, licence_sha256
        The licence as it was read, and the check sum that confirms it.
    """

    name: str
    description: str
    state: str
    problem: str = ""
    action: str = ""
    folder: str = ""
    licence: str = ""
    licence_text: str = ""
    licence_sha256: str = ""
