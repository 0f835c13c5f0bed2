"""The first click is warm: opening the panel lets the engine load what it needs, whatever the user does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from slicer_stand_in import LoadedModule
from user import User, until


@pytest.fixture
def closed(slicer_core: Any, engine_python: Path) -> Iterator[LoadedModule]:
    """The module as Slicer loads it at its start: nobody has opened it."""
    module = LoadedModule(ROOT / "ActiveSegModule" / "ActiveSegModule.py")
    yield module
    module.close()


def asked_for(module: LoadedModule) -> list[str]:
    """Methods that the engine is asked for from now on."""
    engine, asked = module.widget.logic.engine, []
    request = engine.request

    def noted(method: str, *arguments: Any, **callbacks: Any) -> str:
        asked.append(method)
        return str(request(method, *arguments, **callbacks))

    engine.request = noted
    return asked


def test_opening_the_panel_loads_ahead_once_and_says_nothing(closed: LoadedModule, slicer_core: Any) -> None:
    asked, warming = asked_for(closed), closed.widget.logic.warming
    assert asked == []
    closed.enter()
    until(lambda: warming.is_going_on)
    until(lambda: not warming.is_going_on)
    closed.exit()
    closed.enter()
    until(lambda: asked.count("models.list") == 2 and closed.widget.logic.models.all)
    assert asked.count("engine.warm") == 1
    assert closed.widget.panel.message.text == ""


def test_a_module_that_is_not_opened_starts_no_engine(closed: LoadedModule, slicer_core: Any) -> None:
    asked = asked_for(closed)
    user = User(closed, slicer_core)
    user.core.add_volume(*_ct())
    closed.widget.panel.engine_state_changed()
    assert asked == []
    assert not closed.widget.logic.engine.engine


def test_a_click_meanwhile_segments_and_says_that_the_model_is_loaded(closed: LoadedModule, slicer_core: Any) -> None:
    closed.enter()
    user = User(closed, slicer_core)
    user.load_ct()
    user.segment(members="1")


def test_what_cannot_be_loaded_is_in_the_log_only(
    closed: LoadedModule, slicer_core: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed.widget.panel.settings.setValue("ActiveSeg/model", "totalsegmentator:no-such-task")
    closed.enter()
    until(lambda: "no-such-task" in closed.widget.ui.logView.plainText)
    assert closed.widget.panel.message.text == ""
    assert closed.widget.logic.installation.damage == ""


def _ct() -> tuple[Any, Any, str]:
    from activeseg.samples.phantom import Domain, make_phantom

    phantom = make_phantom(Domain.NATIVE, 12)
    return phantom.ct.array, phantom.ct.geometry, "Phantom"
