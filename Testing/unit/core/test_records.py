"""Records survive JSON, and JSON that does not fit is refused with the key and the value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest

from activeseg.core.errors import DatasetError, InputError
from activeseg.core.json_values import WrongField
from activeseg.core.records import (
    ANY_NUMBER,
    NOT_WRITTEN,
    Count,
    Matches,
    Sha256,
    Within,
    damaged,
    from_json,
    if_missing,
    to_json,
    written_as,
)

CaseName = Annotated[str, Matches(re.compile(r"[A-Z]+_\d{4}"))]


class State(StrEnum):
    OPEN = "open"
    DONE = "done"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Code:
    AS_LIST: ClassVar = True
    scheme: str
    value: str


@dataclass(frozen=True)
class Part:
    name: str
    sha256: Sha256
    code: Code | None = None


@dataclass(frozen=True)
class Whole:
    ALSO_WRITTEN: ClassVar = ("parts_in_all",)
    number: Annotated[int, Within(1, 1000)]
    state: State
    folder: Path
    box_kji: tuple[tuple[int, int], ...]
    center: tuple[float, float, float] = field(metadata=written_as("center_mm"))
    parts: Mapping[CaseName, Part] = field(default_factory=dict)
    sides: Mapping[str, State] = field(default_factory=dict)
    loss: Annotated[float, ANY_NUMBER] | None = None
    share: Annotated[float, Within(0, 1)] = 0.5
    level: Level = Level.LOW
    said: bool = False
    names: Sequence[str] = ()
    counts: Mapping[str, Count | None] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["mean", "sum"] = "mean"
    scale: str = field(default="new", metadata=if_missing("old"))
    array: Any = field(default=None, metadata=NOT_WRITTEN, compare=False)

    def __post_init__(self) -> None:
        if self.kind == "sum" and self.said:
            raise InputError("A sum cannot be said.")
        if len(self.parts) > 1:
            raise ValueError("one part is the most")

    @property
    def parts_in_all(self) -> int:
        return len(self.parts)


WHOLE = Whole(
    7,
    State.DONE,
    Path("/data/ct"),
    ((0, 1), (2, 3), (4, 5)),
    (1.5, -2.0, 3.0),
    {"CT_0001": Part("liver", "0" * 64, Code("SCT", "10200004"))},
    {"a": State.OPEN},
    math.inf,
    1.0,
    Level.HIGH,
    True,
    ("x", "ü"),
    {"a": 1, "b": None},
    {"deep": [{"a": [1, 2.5, None]}]},
    array=[1, 2],
)


def values(**changed: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(to_json(WHOLE))), **changed}


def test_a_record_survives_json() -> None:
    read = from_json(Whole, values(), complete=True)
    assert read == WHOLE
    assert isinstance(read.state, State)
    assert isinstance(read.names, tuple)
    assert isinstance(read.folder, Path)
    assert all(isinstance(value, float) for value in read.center)


def test_what_is_written_has_its_own_keys() -> None:
    written = values()
    assert written["center_mm"] == [1.5, -2.0, 3.0]
    assert written["parts_in_all"] == 1
    assert "center" not in written
    assert "array" not in written
    assert written["parts"]["CT_0001"]["code"] == ["SCT", "10200004"]


def test_a_field_that_is_not_written_is_given() -> None:
    assert from_json(Whole, values(), given={"array": [3]}).array == [3]


def test_defaults_stand_for_what_is_missing() -> None:
    few = {key: values()[key] for key in ("number", "state", "folder", "box_kji", "center_mm")}
    expected = Whole(7, State.DONE, WHOLE.folder, WHOLE.box_kji, WHOLE.center, scale="old")
    assert from_json(Whole, few) == expected


def test_a_complete_record_holds_all_but_what_came_in_later() -> None:
    with pytest.raises(WrongField, match="'names' is missing"):
        from_json(Whole, {key: value for key, value in values().items() if key != "names"}, complete=True)
    later = {key: value for key, value in values().items() if key != "scale"}
    assert from_json(Whole, later, complete=True).scale == "old"


def test_unknown_keys_are_refused_where_they_are_typing_mistakes() -> None:
    assert from_json(Whole, values(x=1)) == WHOLE
    with pytest.raises(WrongField, match="'x' is not known; known are box_kji, "):
        from_json(Whole, {**without_properties(), "x": 1}, exact=True)
    part = {"name": "a", "sha256": "0" * 64, "x": 1}
    with pytest.raises(WrongField, match=r"'parts.CT_0001.x' is not known"):
        from_json(Whole, {**without_properties(), "parts": {"CT_0001": part}}, exact=True)


def without_properties() -> dict[str, Any]:
    return {key: value for key, value in values().items() if key != "parts_in_all"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"number": 0}, "'number' is 0, not a whole number from 1 to 1000"),
        ({"number": True}, "'number' is True, not a whole number"),
        ({"number": 1.0}, "'number' is 1.0, not a whole number"),
        ({"number": "1"}, "'number' is '1', not a whole number"),
        ({"number": 10**5000}, "'number' is a int that is too large to be written, not a whole number"),
        ({"state": "won"}, "'state' is 'won', not one of open, done"),
        ({"state": []}, "'state' is a list, not one of open, done"),
        ({"folder": 5}, "'folder' is 5, not a path"),
        ({"folder": "a\0b"}, "'folder' is .*, not a path"),
        ({"box_kji": 5}, "'box_kji' is 5, not a list"),
        ({"box_kji": [[1]]}, r"'box_kji\[0\]' has 1 values, not 2"),
        ({"box_kji": [[1, 2], [1, "x"]]}, r"'box_kji\[1\]\[1\]' is 'x', not a whole number"),
        ({"box_kji": [[1, 2**70]]}, r"'box_kji\[0\]\[1\]' is .*, not a whole number"),
        ({"center_mm": [1, 2]}, "'center_mm' has 2 values, not 3"),
        ({"center_mm": [1, 2, math.nan]}, r"'center_mm\[2\]' is nan, not a number"),
        ({"center_mm": [1, 2, 10**400]}, r"'center_mm\[2\]' is .*, not a number"),
        ({"center_mm": [1, 2, True]}, r"'center_mm\[2\]' is True, not a number"),
        ({"parts": []}, "'parts' is a list, not an object"),
        ({"parts": {"../x": {}}}, r"'parts' is '../x', which it cannot be"),
        ({"parts": {"CT_0001": 5}}, r"'parts.CT_0001' is 5, not an object"),
        ({"parts": {"CT_0001": {"name": "a"}}}, r"'parts.CT_0001.sha256' is missing"),
        (
            {"parts": {"CT_0001": {"name": "a", "sha256": "0" * 63}}},
            r"'parts.CT_0001.sha256' is '0.*', which",
        ),
        ({"parts": {"CT_0001": {"name": "a", "sha256": "0" * 64, "code": ["x"]}}}, "code' has 1 values, not 2"),
        ({"parts": {n: {"name": "a", "sha256": "0" * 64} for n in ("A_0001", "A_0002")}}, "one part is the most"),
        ({"sides": {"a": 1}}, "'sides.a' is 1, not one of open, done"),
        ({"loss": "nan"}, "'loss' is 'nan', not a number"),
        ({"share": 1.5}, "'share' is 1.5, not a number from 0 to 1"),
        ({"share": math.nan}, "'share' is nan, not a number from 0 to 1"),
        ({"level": 3}, "'level' is 3, not one of 1, 2"),
        ({"level": True}, "'level' is True, not one of 1, 2"),
        ({"said": 1}, "'said' is 1, not true or false"),
        ({"names": "abc"}, "'names' is 'abc', not a list"),
        ({"names": ["a\ud800"]}, r"'names\[0\]' is .*, which is no text that can be kept"),
        ({"names": ["a\0"]}, r"'names\[0\]' is .*, which is no text that can be kept"),
        ({"names": ["a" * 100_001]}, r"'names\[0\]' is .*, which is no text that can be kept"),
        ({"counts": {"a": -1}}, "'counts.a' is -1, not a whole number from 0"),
        ({"details": json.loads("[" * 400 + "]" * 400)}, "'details' is a list, not an object"),
        ({"details": {"a": json.loads("[" * 400 + "]" * 400)}}, "'details' is nested deeper than 100 levels"),
        ({"kind": "median"}, "'kind' is 'median', not one of mean, sum"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_a_value_that_cannot_be_there_is_named(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongField, match=told) as error:
        from_json(Whole, values(**changed))
    assert len(str(error.value)) < 400
    str(error.value).encode()


@pytest.mark.parametrize("value", [None, 5, "x", [], math.nan])
def test_a_record_that_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(WrongField, match=r"'the whole' is .*, not an object"):
        from_json(Whole, value)


def test_a_record_of_a_list_has_its_place_in_the_key() -> None:
    assert from_json(tuple[Code, ...], [["a", "b"], ["c", "d"]], "codes") == (Code("a", "b"), Code("c", "d"))
    with pytest.raises(WrongField, match=r"'codes\[1\]\[0\]'|'codes\[1\].scheme' is 5, not a text"):
        from_json(tuple[Code, ...], [["a", "b"], [5, "d"]], "codes")


def test_what_a_record_says_itself_stays_its_own_error() -> None:
    with pytest.raises(InputError, match="A sum cannot be said"):
        from_json(Whole, values(kind="sum"))


def test_a_damaged_file_is_told_in_one_sentence() -> None:
    with pytest.raises(DatasetError) as error, damaged(DatasetError, "'x.json'", "Restore it."):
        from_json(Whole, values(number=0))
    told = "'x.json' is damaged: 'number' is 0, not a whole number from 1 to 1000. Restore it."
    assert str(error.value) == told


def test_a_type_that_no_record_can_hold_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="a record cannot hold"):
        from_json(complex, 5)
