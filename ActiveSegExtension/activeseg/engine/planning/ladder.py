"""The steps down when memory is short: each is worth trying before the next, and each is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from activeseg.core.segmenter import Settings


@dataclass(frozen=True)
class Rung:
    """One way to run; ``said`` are the sentences about the steps that led to it."""

    model: str
    settings: Settings
    said: tuple[str, ...] = ()

    def step(self, sentence: str, **changes: object) -> Rung:
        return replace(self, said=(*self.said, sentence), **changes)  # type: ignore[arg-type]


def ladder(
    model: str,
    settings: Settings,
    *,
    trained: int,
    members: int,
    on_gpu: bool,
    may_split: bool,
    coarser: Sequence[str],
) -> list[Rung]:
    """From what was asked for down to what needs least.

    Parameters
    ----------
    trained
        Members that the model was trained with.
    members
        How many would vote in all.
    may_split
        Whether the image is long enough, and the model able, to be segmented in pieces.
    coarser
        The models that may be used instead, the finest first.
    """
    rungs = [Rung(model, settings)]

    def down(sentence: str, **changes: object) -> None:
        rungs.append(rungs[-1].step(sentence, **changes))

    if on_gpu:
        down(
            "Sums are kept in the computer's memory instead of the GPU's.",
            settings=replace(rungs[-1].settings, offload=True),
        )
    if members > trained > 0:
        down("Only trained members vote, no views.", settings=replace(rungs[-1].settings, members=trained))
    if trained > 1 and members > 1:
        down("Only the first trained member votes.", settings=replace(rungs[-1].settings, members=1))
    if may_split:
        down("The image is segmented in three pieces.", settings=replace(rungs[-1].settings, in_pieces=True))
    for other in coarser:
        down(f"The coarser model '{other}' is used.", model=other)
    return rungs
