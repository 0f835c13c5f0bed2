"""Every step of the panel in every state, in light and dark, in each room: nothing clipped, squashed or too wide."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pictures import PICTURES, Bench, Picture, opened
from pictures_checks import findings
from pictures_look import grab, place


@pytest.fixture(scope="module")
def bench(application: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    errors: list[BaseException] = []
    hook, sys.excepthook = sys.excepthook, lambda _type, error, _trace: errors.append(error)
    with opened(tmp_path_factory.mktemp("pictures")) as opened_bench:
        yield opened_bench
    sys.excepthook = hook
    if errors:
        raise errors[0]


@pytest.mark.parametrize("picture", PICTURES, ids=str)
def test_nothing_is_wrong_with_a_picture(bench: Bench, picture: Picture, tmp_path: Path) -> None:
    bench.bring_into(picture.state, picture.theme)
    place(bench.root, picture.room)
    path = grab(bench.root, tmp_path / f"{picture}.png")
    assert findings(bench.root, picture.room) == [], path
