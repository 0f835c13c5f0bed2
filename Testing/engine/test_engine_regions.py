"""Another list of regions for a case, from what the members have said already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nnunet_models import make_model
from running_engine import WatchedEngine, in_memory, noise_ct

from activeseg.core.errors import InputError
from activeseg.predictions.region_files import read_regions

LABELS = {"background": 0, "one": 1, "two": 2, "three": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return make_model(folder, LABELS, spacing=(4.0, 4.0, 4.0), patch=(24, 32, 32), folds=(0, 1, 2))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedEngine]:
    with WatchedEngine(tmp_path_factory.mktemp("engine") / "home") as started:
        yield started


def test_it_is_the_list_that_a_run_with_that_focus_gives(engine: WatchedEngine, model: Path, tmp_path: Path) -> None:
    wish = {"model": f"nnunet:{model}", "image": in_memory(engine, noise_ct()), "regions": 4}
    expected = engine.do("segment", {**wish, "focus": ["two"], "draft": str(tmp_path / "one")})["regions"]
    draft = str(tmp_path / "other")
    whole = engine.do("segment", {**wish, "draft": draft})["regions"]
    found = engine.do("regions.find", {"draft": draft, "focus": ["two"], "regions": 4})
    assert found["regions"] == expected
    assert found["regions"] != whole
    assert [region.number for region in read_regions(Path(found["regions_folder"]))] == [r["number"] for r in expected]


def test_a_case_that_the_engine_has_forgotten_is_refused_in_words(
    engine: WatchedEngine, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no longer in the engine's memory"):
        engine.do("regions.find", {"draft": str(tmp_path / "nothing"), "focus": ["two"]})
