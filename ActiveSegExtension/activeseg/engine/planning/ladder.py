"""The steps down when memory is short: each is worth trying before the next, and each is said."""

from __future__ import annotations

from dataclasses import dataclass, replace

from activeseg.core.segmenter import Settings

COARSER = {
    "totalsegmentator:total": "totalsegmentator:total-fast",
    "totalsegmentator:total-fast": "totalsegmentator:total-fastest",
    "totalsegmentator:total_mr": "totalsegmentator:total_mr-fast",
    "totalsegmentator:total_mr-fast": "totalsegmentator:total_mr-fastest",
}


@dataclass(frozen=True)
class Rung:
    """One way to run; ``said`` are the sentences about the steps that led to it."""

    model: str
    settings: Settings
    in_pieces: bool = False
    said: tuple[str, ...] = ()

    def step(self, sentence: str, **changes: object) -> Rung:
        return replace(self, said=(*self.said, sentence), **changes)  # type: ignore[arg-type]


def ladder(
    model: str, settings: Settings, *, trained: int, members: int, on_gpu: bool, may_split: bool, allow_coarser: bool
) -> list[Rung]:
    """From what was asked for down to what needs least.

    Parameters
    ----------
    trained : members that the model was trained with
    members : how many would vote in all
    may_split : whether the image is long enough, and the model able, to be segmented in pieces
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
        down("The image is segmented in three pieces.", in_pieces=True)
    while allow_coarser and rungs[-1].model in COARSER:
        coarser = COARSER[rungs[-1].model]
        down(f"The coarser model '{coarser}' is used.", model=coarser)
    return rungs
