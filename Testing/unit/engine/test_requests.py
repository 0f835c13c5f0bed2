"""Requests as they come from a pipe: checked once, with absolute paths, and refused by the name of what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import activeseg
from activeseg.client.messages.calls import METHODS as MESSAGES
from activeseg.client.messages.datasets import ExportRequest
from activeseg.client.messages.images import ArrayFile, ImageFile
from activeseg.client.messages.segmenting import SegmentRequest
from activeseg.core.correction import RegionState
from activeseg.core.segmenter import Mode
from activeseg.engine.methods import METHODS
from activeseg.engine.worker.requests import WrongParams, read_request

GRID = {"shape_kji": [2, 3, 4], "spacing_xyz_mm": [1, 1, 1.5], "origin_lps_mm": [0, 0, 0]}
GRID["direction_lps"] = [1, 0, 0, 0, 1, 0, 0, 0, 1]
SUPERVISORS = {"hello", "cancel", "jobs.list", "job.release", "log.tail", "shutdown"}


def test_every_method_has_a_message_and_every_message_a_method() -> None:
    assert set(MESSAGES) == set(METHODS) | SUPERVISORS


def test_a_request_becomes_what_its_types_say() -> None:
    request = read_request(
        "segment",
        {
            "model": "demo",
            "images": {"CT": {"path": "~/ct"}, "PET": {"array": "/a.npy", "geometry": GRID}, "MR": "/m.nii.gz"},
            "settings": {"mode": "exact", "members": 4, "mirroring": None},
            "focus": ["liver"],
            "draft": None,
        },
    )
    assert isinstance(request, SegmentRequest)
    assert request.images is not None
    ct, pet, mr = request.images.values()
    assert ct == ImageFile(Path("~/ct").expanduser())
    assert isinstance(pet, ArrayFile)
    assert pet.geometry.spacing_xyz == (1.0, 1.0, 1.5)
    assert mr == Path("/m.nii.gz")
    assert (request.settings.mode, request.settings.members, request.focus) == (Mode.EXACT, 4, ("liver",))


def test_relative_paths_and_numbers_of_regions_are_read() -> None:
    request = read_request("export", {"draft": "d", "edited": "e", "dataset": "s", "states": {"3": "accepted"}})
    assert isinstance(request, ExportRequest)
    assert (request.draft, request.states) == (Path("d").absolute(), {3: RegionState.ACCEPTED})


def test_what_a_client_keeps_for_itself_stays_as_it_is() -> None:
    state = {"name": "A\ud800\0", "deep": [[{"x": 1e300}]], "n": 10**30}
    entries = [{"number": 1, "state": "open"}]
    request = read_request(
        "draft.save",
        {
            "draft": "/d",
            "layers": {"json": state, "arrays": ["/l.npy"]},
            "state": state,
            "regions": {"entries": entries, "alternatives": "/a.npz"},
        },
    )
    assert request.state == request.layers.json == state  # type: ignore[attr-defined]
    assert request.layers.arrays == (Path("/l.npy"),)  # type: ignore[attr-defined]
    assert request.regions.entries == tuple(entries)  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name != "posix", reason="names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_a_path() -> None:
    request = read_request("dataset.folder", {"dataset": "/data/caf\udce9"})
    assert os.fsencode(request.dataset) == b"/data/caf\xe9"  # type: ignore[attr-defined]


IMAGE = {"model": "hounsfield", "image": "/x"}


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("segment", {}, ["'segment' needs the parameter 'model'"]),
        ("segment", {"model": 7}, ["'model' of 'segment' is 7; it must be a text."]),
        ("segment", {"model": "hounsfield"}, ["either 'image' or 'images'"]),
        ("segment", {"model": "x", "images": {}}, ["names no image"]),
        ("segment", {"model": "x", "image": 7}, ["'image'", "is 7", "a path or an object"]),
        ("segment", {"model": "x", "image": {"path": "/x", "serie": "1"}}, ["'image' has no parameter 'serie'"]),
        ("segment", {"model": "x", "image": {"array": "/x"}}, ["'image' needs the parameter 'geometry'"]),
        ("segment", {"model": "x", "image": {"array": 3, "geometry": GRID}}, ["'image.array'", "is 3"]),
        ("segment", {"model": "x", "image": {"array": "/x", "geometry": {**GRID, "shape_kji": [1]}}}, ["geometry"]),
        ("segment", {"model": "x", "image": {"array": "/x", "geometry": {**GRID, "direction_lps": [1]}}}, ["direc"]),
        ("segment", {**IMAGE, "regions": -1}, ["regions", "-1"]),
        ("segment", {**IMAGE, "regions": True}, ["'regions'", "True", "a whole number"]),
        ("segment", {**IMAGE, "focus": "liver"}, ["'focus'", "a list"]),
        ("segment", {**IMAGE, "focus": [1]}, ["'focus.0'", "a text"]),
        ("segment", {**IMAGE, "colour": "red"}, ["has no parameter 'colour'", "label_first"]),
        ("segment", {**IMAGE, "settings": {"mode": "slow"}}, ["'settings.mode'", "slow", "'fast'", "'exact'"]),
        ("segment", {**IMAGE, "settings": {"members": 0}}, ["members", "0"]),
        ("segment", {**IMAGE, "settings": {"members": "many"}}, ["members", "many"]),
        ("segment", {**IMAGE, "settings": {"members": True}}, ["members", "a text or a whole number"]),
        ("segment", {**IMAGE, "settings": {"speed": 1}}, ["'settings' has no parameter 'speed'"]),
        ("segment", {**IMAGE, "overwrite": 1}, ["'overwrite'", "true or false"]),
        ("segment", {**IMAGE, "output": ""}, ["'output'", "not a path"]),
        ("segment", {**IMAGE, "output": "a\0b"}, ["'output'", "not a path"]),
        ("segment", {**IMAGE, "output": "~nobody-of-this-name/x"}, ["'output'", "user"]),
        ("segment", {**IMAGE, "model": "x\0"}, ["'model'", "zero byte"]),
        ("segment", {**IMAGE, "model": "\ud800"}, ["'model'", "half a character"]),
        ("export", {"prediction": "/p", "edited": 3, "dataset": "/d"}, ["'edited'", "a path"]),
        ("export", {"edited": "/e", "dataset": "/d"}, ["either 'prediction' or 'draft'"]),
        ("export", {"draft": "/p", "edited": "/e", "dataset": "/d", "states": {"one": "open"}}, ["'states.one'"]),
        ("export", {"draft": "/p", "edited": "/e", "dataset": "/d", "states": {"1": "odd"}}, ["states.1", "'open'"]),
        ("export", {"draft": "/p", "edited": "/e", "dataset": "/d", "seconds": 10**400}, ["seconds"]),
        ("finetune.control", {"project": "/p", "control": "halt"}, ["'control'", "'pause'"]),
        ("finetune.state", {"project": "/p", "after": -1}, ["after", "-1"]),
        ("system.info", {"x": 1}, ["has no parameter 'x'", "none"]),
    ],
)
def test_what_is_wrong_is_told_by_its_name(method: str, params: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(WrongParams) as caught:
        read_request(method, params)
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_supervisor_imports_nothing_large() -> None:
    code = """
import sys
import activeseg.engine.supervisor.supervisor
print(*sorted({"pydantic", "numpy", "torch", "SimpleITK", "nibabel"} & set(sys.modules)))
"""
    root = Path(activeseg.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""
