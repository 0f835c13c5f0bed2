"""A real engine lists what answers prompts, and takes weights of nnInteractive whose licence the user confirms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nninteractive_standin import write_standin
from running_engine import WatchedEngine, array_message, noise_ct

from activeseg.client.launch import engine_environment
from activeseg.core.errors import ActiveSegError

WEIGHTS_FOLDERS = ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[WatchedEngine]:
    """Of a user without any weights."""
    own = {name: str(tmp_path / "user") for name in WEIGHTS_FOLDERS}
    (tmp_path / "user").mkdir()
    with WatchedEngine(tmp_path / "home", environment={**engine_environment(), **own}) as made:
        yield made


def saved(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


def told(answer: Any) -> Any:
    """What an answer says of nnInteractive."""
    (found,) = (entry for entry in answer["refiners"] if entry["name"] == "nninteractive")
    return found


def test_weights_are_chosen_their_licence_confirmed_and_another_one_is_not(
    engine: WatchedEngine, tmp_path: Path
) -> None:
    answer = engine.do("refiners.list")
    assert [entry["name"] for entry in answer["refiners"]] == ["walker", "features", "nninteractive"]
    assert told(answer)["state"] == "weights missing"

    folder = write_standin(tmp_path / "weights", licence="CC BY-NC-SA 4.0\nNot for commercial use.\n")
    found = told(engine.do("refiners.add", {"name": "nninteractive", "folder": str(folder)}))
    assert (found["state"], found["licence"], found["folder"]) == ("licence", "CC BY-NC-SA 4.0", str(folder))
    assert "Not for commercial use." in found["licence_text"]

    given = {"name": "nninteractive", "licence_sha256": found["licence_sha256"]}
    with pytest.raises(ActiveSegError, match="has changed since it was shown"):
        engine.do("refiners.confirm", {**given, "licence_sha256": "0" * 64})
    assert told(engine.do("refiners.list"))["state"] == "licence"
    assert told(engine.do("refiners.confirm", given))["state"] == "ready"


def test_a_prompt_is_answered_and_nothing_that_the_package_prints_is_among_the_messages(
    engine: WatchedEngine, tmp_path: Path
) -> None:
    folder = write_standin(tmp_path / "weights")
    found = told(engine.do("refiners.add", {"name": "nninteractive", "folder": str(folder)}))
    engine.do("refiners.confirm", {"name": "nninteractive", "licence_sha256": found["licence_sha256"]})
    ct = noise_ct()
    labels = np.zeros(ct.array.shape, np.uint8)
    opened = engine.do(
        "refine.open",
        {
            "image": array_message(tmp_path / "ct.npy", ct),
            "model": "hounsfield",
            "predicted": saved(tmp_path / "labels.npy", labels),
        },
    )
    assert opened["refiners"] == ["walker", "nninteractive"]
    asked = {
        "session": opened["session"],
        "labels": saved(tmp_path / "box.npy", labels[4:36, 8:40, 8:40]),
        "box_kji": [[4, 36], [8, 40], [8, 40]],
        "prompts": [{"kind": "point", "structure": "bone", "points_kji": [[20, 24, 24]]}],
        "refiner": "nninteractive",
    }
    for _ in range(2):
        answer = engine.do("refine", asked)
        assert answer["refiner"] == "nninteractive"
        assert list(answer["alternative"]["gains"]) == ["bone"]
    assert not [line for line in engine.printed() if "interaction" in line or "session initialized" in line]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"name": "walker", "folder": "weights"}, "'walker' has no weights"),
        ({"name": "nninteractive", "folder": "nowhere"}, "is no folder"),
    ],
)
def test_what_cannot_be_chosen_is_refused_in_words(
    engine: WatchedEngine, tmp_path: Path, params: dict[str, str], said: str
) -> None:
    with pytest.raises(ActiveSegError, match=said):
        engine.do("refiners.add", {**params, "folder": str(tmp_path / params["folder"])})
