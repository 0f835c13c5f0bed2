"""Requests and results as dataclasses: what goes into JSON comes back, and what does not fit is told by its name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from activeseg.client.messages.calls import METHODS, call_of, result_of
from activeseg.client.messages.datasets import ExportRequest
from activeseg.client.messages.drafts import DraftOpenRequest, DraftOpenResult
from activeseg.client.messages.images import ArrayFile, ImageFile
from activeseg.client.messages.segmenting import ModelListRequest, SegmentRequest, SegmentResult
from activeseg.core.correction import RegionState, Review
from activeseg.core.errors import EngineError, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.records import to_json
from activeseg.core.segmenter import Mode, Settings

GRID = Geometry((2, 3, 4), (1.0, 1.5, 2.0), (0.0, -1.0, 2.5), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def test_every_method_has_one_request_with_a_result_and_words_about_both() -> None:
    for method, request in METHODS.items():
        assert method == request.METHOD
        assert dataclasses.is_dataclass(request)
        assert dataclasses.is_dataclass(request.RESULT)
        for told in (request, request.RESULT):
            assert not (told.__doc__ or f"{told.__name__}(").startswith(f"{told.__name__}("), told.__name__


def test_a_request_travels_without_what_is_as_usual() -> None:
    request = SegmentRequest(model="demo", image=ArrayFile(Path("/a.npy"), GRID), settings=Settings(mode=Mode.EXACT))
    method, params = call_of(request)
    assert method == "segment"
    assert set(params) == {"model", "image", "settings"}
    assert params["image"]["array"] == "/a.npy"
    assert params["image"]["geometry"]["spacing_xyz_mm"] == [1.0, 1.5, 2.0]
    assert params["settings"]["mode"] == "exact"
    json.dumps(params, allow_nan=False)


def test_enums_numbers_and_paths_become_json() -> None:
    _, params = call_of(
        ExportRequest(
            draft=Path("/d"),
            edited=ImageFile(Path("/e.nii.gz")).path,
            dataset=Path("/set"),
            review=Review.ALL,
            states={3: RegionState.ACCEPTED},
        )
    )
    assert json.loads(json.dumps(params)) == {
        "draft": "/d",
        "edited": "/e.nii.gz",
        "dataset": "/set",
        "review": "all",
        "states": {"3": "accepted"},
    }


def test_requests_that_cannot_be_are_refused_where_they_are_made() -> None:
    with pytest.raises(InputError, match="either 'image' or 'images'"):
        SegmentRequest(model="demo")
    with pytest.raises(InputError, match="names no image"):
        SegmentRequest(model="demo", images={})
    with pytest.raises(InputError, match="members"):
        SegmentRequest(model="demo", image=Path("/x"), settings=Settings(members=0))
    with pytest.raises(InputError, match="either 'prediction' or 'draft'"):
        ExportRequest(edited=Path("/e"), dataset=Path("/set"))


def test_results_come_back_with_their_types() -> None:
    result = DraftOpenResult(
        id="a",
        record={"model": "demo"},
        labels=Path("/l.npy"),
        geometry=GRID,
        measures={"entropy": Path("/m.npy")},
        measures_geometry=GRID,
        regions=({"number": 1},),
        image=ArrayFile(Path("/i.npy"), GRID),
        layers=None,
        state={"name": "A"},
        has_edits=False,
    )
    back = result_of(DraftOpenRequest, json.loads(json.dumps(to_json(result))))
    assert back == result
    assert isinstance(back, SegmentResult)


def test_a_later_engine_may_say_more() -> None:
    said = {"name": "x", "family": "demo", "description": "", "modality": "CT", "structures": [], "state": "ready"}
    (model,) = result_of(ModelListRequest, {"models": [{**said, "colour": "red"}], "more": 1}).models
    assert (model.name, model.folder) == ("x", "")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "'result' is None"),
        ({"models": 3}, "'result.models' is 3"),
        ({"models": [{"name": 7}]}, r"'result.models\[0\].name' is 7"),
        ({"models": [{"name": "x"}]}, "missing"),
    ],
)
def test_what_is_no_such_result_is_told_in_words(value: Any, told: str) -> None:
    with pytest.raises(EngineError, match=told):
        result_of(ModelListRequest, value)
