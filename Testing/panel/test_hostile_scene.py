"""Scenes that somebody else wrote, or that were damaged: what is in a node's attributes may be anything."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import ENGINE_PYTHON
from loaded_cases import MODULE, load_ct, make_case, pump
from slicer_stand_in import LoadedModule
from user import User

NONSENSE = ("{", "null", "{}", "NaN", '"text"', '{"a": null}', "[1, 2]", "[NaN]", "[" * 5000)
OF_THE_CASE = ("Schema", "Decided", "Record", "Image", "Seconds", "RegionSeconds", "Stored", "Notes", "Patient")
RECORDS = (
    '{"origin": 5}',
    '{"origin": {"dataset": 1}}',
    '{"members": 3}',
    '{"threshold": "much"}',
    '{"images": [1]}',
    '{"measure": {}}',
)


@pytest.fixture
def user(slicer_core: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(ENGINE_PYTHON, raising=False)
    module = LoadedModule(MODULE)
    monkeypatch.setattr(type(module.widget.logic.installation), "obstacle", property(lambda _self: None))
    monkeypatch.setattr(module.widget.panel, "engine_changed", lambda: None)
    monkeypatch.setattr(module.widget.logic.drafts, "save", lambda *_args: None)
    module.enter()
    yield User(module, slicer_core)
    module.close()


def walk(user: User) -> None:
    """All pages and buttons that read what is written."""
    from ActiveSegModuleLib.panel.steps import Step

    panel, ui = user.widget.panel, user.ui
    for step in Step:
        panel.steps.show(step)
        panel.update()
        pump()
    panel.steps.show(Step.REVIEW)
    for button in (ui.nextButton, ui.acceptButton, ui.skipButton, ui.undoButton, ui.editButton, ui.editDoneButton):
        button.click()
        pump()
    panel.segmentation_edited()
    user.module.exit()
    user.module.enter()
    pump()


@pytest.mark.parametrize("attribute", OF_THE_CASE)
def test_nonsense_in_an_attribute_of_the_segmentation(user: User, attribute: str) -> None:
    texts = (*NONSENSE, *RECORDS) if attribute == "Record" else NONSENSE
    case = make_case(user, load_ct(user, "CT"), "case")
    user.widget.panel.case_changed(case)
    pump()
    good = case.node.GetAttribute(f"ActiveSeg.{attribute}")
    for text in texts:
        case.node.SetAttribute(f"ActiveSeg.{attribute}", text)
        walk(user)
        case.node.SetAttribute(f"ActiveSeg.{attribute}", good)
        user.node.segmentation = case.node
        user.widget.panel.update()
        pump()
        assert user.case == case, text


@pytest.mark.parametrize("attribute", ["Regions", "Geometry"])
def test_nonsense_in_the_list_of_regions(user: User, attribute: str) -> None:
    case = make_case(user, load_ct(user, "CT"), "case")
    user.widget.panel.case_changed(case)
    pump()
    node = case.regions.node
    good = node.GetAttribute(f"ActiveSeg.{attribute}")
    for text in NONSENSE:
        node.SetAttribute(f"ActiveSeg.{attribute}", text)
        walk(user)
        node.SetAttribute(f"ActiveSeg.{attribute}", good)
        walk(user)
        assert user.listed == [1, 2], text


@pytest.mark.parametrize("text", ["", "not base64!", "AAAA", "\u00e9"])
def test_nonsense_instead_of_the_alternatives(user: User, text: str) -> None:
    case = make_case(user, load_ct(user, "CT"), "case")
    case.node.GetNodeReference("ActiveSeg.Alternatives").SetText(text)
    user.widget.panel.case_changed(case)
    pump()
    walk(user)
    assert user.listed == [1, 2]


def test_companions_of_another_kind(user: User) -> None:
    """A reference may name any node."""
    case = make_case(user, load_ct(user, "CT"), "case")
    wrong = user.core.scene.AddNewNodeByClass("vtkMRMLTextNode", "wrong")
    for role in ("Original", "Regions", "Alternatives", "Uncertainty"):
        before = case.node.GetNodeReferenceID(f"ActiveSeg.{role}")
        case.node.SetNodeReferenceID(f"ActiveSeg.{role}", wrong.GetID())
        user.widget.panel.case_changed(case)
        walk(user)
        case.node.SetNodeReferenceID(f"ActiveSeg.{role}", before)
        walk(user)


def test_decided_structures_that_the_model_does_not_know(user: User) -> None:
    case = make_case(user, load_ct(user, "CT"), "case")
    case.node.SetAttribute("ActiveSeg.Decided", '["liver", "soul"]')
    user.widget.panel.case_changed(case)
    walk(user)
