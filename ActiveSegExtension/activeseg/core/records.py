"""Dataclasses as JSON and back, driven by their type hints; JSON may come from anybody and is checked value by value.

A record is a plain (frozen) dataclass. Its type hints say what the JSON may hold::

    CaseName = Annotated[str, Matches(re.compile(r"[A-Z]+_\\d{4}"))]

    @dataclass(frozen=True)
    class Entry:
        revision: Annotated[int, Within(1, 1000)]
        state: RegionState                                  # an enum, by its value
        folder: Path
        box_kji: tuple[tuple[int, int], ...]
        center_ras: tuple[float, float, float] = field(metadata=written_as("center_ras_mm"))
        cases: Mapping[CaseName, Entry] = field(default_factory=dict)
        loss: Annotated[float, ANY_NUMBER] | None = None    # other numbers must be finite
        array: Any = field(default=None, metadata=NOT_WRITTEN)

    values = to_json(entry)
    with damaged(DatasetError, "The case's record", "Restore it from a backup."):
        entry = from_json(Entry, values, complete=True)

Understood are ``bool``, ``int``, ``float``, ``str``, ``Path``, enums, dataclasses, ``tuple``, ``list``, ``Sequence``,
``Mapping``, ``dict``, unions, ``Literal``, ``Any`` (whatever JSON holds, not nested too deeply) and ``Annotated`` of
them. A type that is named in a record must be importable at run time, not only for type checking.

``WrongField`` names the key (``current.label.sha256``) and shows the value. A class that checks itself in
``__post_init__`` raises its own ActiveSegError, or ValueError, which becomes a WrongField.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from activeseg.core.errors import ActiveSegError, InputError, shown
from activeseg.core.json_depth import is_deeper
from activeseg.core.json_values import MOST_TEXT, WrongField, flag, members, number, place, refuse, rows, text, whole

T = TypeVar("T")
HEX_32, HEX_64 = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")
_DEEPEST = 100

UNFIT = (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError, RecursionError)
"""What reading other values than the expected ones raises where they are read without a record."""


@dataclass(frozen=True)
class Matches:
    """Of a text, in ``Annotated``: the pattern matches it as a whole."""

    pattern: re.Pattern[str]


@dataclass(frozen=True)
class Within:
    """Of a number, in ``Annotated``: it lies between the two, both included."""

    lowest: float
    highest: float


ANY_NUMBER = object()
"""Of a number, in ``Annotated``: it need not be finite, such as the loss of a training that failed."""

Count = Annotated[int, Within(0, 10**9)]
VoxelCount = Annotated[int, Within(0, 10**12)]
Sha256 = Annotated[str, Matches(HEX_64)]

_KEY, _WRITTEN, _MISSING = "alias", "written", "if_missing"  # pydantic understands "alias", too
NOT_WRITTEN: Mapping[str, Any] = {_WRITTEN: False}
"""Metadata of a field that stays out of the JSON, such as an array; ``from_json`` gets it from ``given``."""


def written_as(key: str) -> Mapping[str, Any]:
    """Metadata of a field that has another name in JSON."""
    return {_KEY: key}


def if_missing(value: Any) -> Mapping[str, Any]:
    """Metadata of a field that earlier versions did not write: what its absence stands for."""
    return {_MISSING: value}


def to_json(value: Any) -> Any:
    """JSON-ready values of a record, or of anything that records hold.

    A dataclass becomes an object, or a list where its ``AS_LIST`` is true. The properties that its ``ALSO_WRITTEN``
    names are written for other readers and are not read back.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        written = {field.key: to_json(getattr(value, field.name)) for field in _fields(type(value)) if field.written}
        if getattr(value, "AS_LIST", False):
            return list(written.values())
        return written | {name: to_json(getattr(value, name)) for name in getattr(value, "ALSO_WRITTEN", ())}
    if isinstance(value, Enum | Path):
        return value.value if isinstance(value, Enum) else str(value)
    if isinstance(value, Mapping):
        return {to_json(key): to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    return value


def names_by_key(kind: type) -> dict[str, str]:
    """Key in JSON -> name of a dataclass's field."""
    return {field.key: field.name for field in _fields(kind) if field.written}


def from_json(
    kind: type[T],
    value: Any,
    key: str = "",
    *,
    complete: bool = False,
    exact: bool = False,
    given: Mapping[str, Any] | None = None,
) -> T:
    """A value of that type from what ``to_json`` makes.

    Parameters
    ----------
    kind
        A dataclass, or another type hint that records may hold.
    key
        Where the value lies, for the error's sentence.
    complete
        Whether fields with a default must be there, too: for files that this program wrote. Otherwise the default
        stands for what is missing.
    exact
        Whether other keys are refused: for messages, where they are typing mistakes. Otherwise they are ignored.
    given
        Values of the outermost record's fields that are not in the JSON.

    Raises
    ------
    WrongField
        A value is missing, of another type, or cannot be there.
    ActiveSegError
        As the dataclasses raise it themselves.
    """
    hint: Any = kind
    return typing.cast(T, _reader(hint)(value, key, _How(complete, exact, given or {})))


@contextlib.contextmanager
def damaged(error: type[ActiveSegError], what: str, action: str = "", **details: Any) -> Iterator[None]:
    """A WrongField or InputError of the block becomes ``error``, with ``details``: '``what`` is damaged: ...'."""
    try:
        yield
    except (WrongField, InputError) as cause:
        raise error(f"{what} is damaged: {shortly(cause)}.", action, **details) from cause


def shortly(error: Exception) -> str:
    """What is wrong, to be put into a sentence: without its full stop, and without what to do about it."""
    return (error.message if isinstance(error, ActiveSegError) else str(error) or type(error).__name__).rstrip(".")


@dataclass(frozen=True)
class _How:
    complete: bool
    exact: bool
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def inside(self) -> _How:
        return dataclasses.replace(self, given={}) if self.given else self


@dataclass(frozen=True)
class _Field:
    name: str
    key: str
    written: bool
    has_default: bool
    if_missing: Any
    hint: Any


_Reader = Callable[[Any, str, _How], Any]
_NOTHING = object()


@functools.cache
def _fields(kind: type) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return tuple(
        _Field(
            field.name,
            field.metadata.get(_KEY, field.name),
            field.metadata.get(_WRITTEN, True),
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING,
            field.metadata.get(_MISSING, _NOTHING),
            hints[field.name],
        )
        for field in dataclasses.fields(kind)
        if field.init
    )


@functools.cache
def _reader(hint: Any) -> _Reader:
    """How a value of that type is read. Raises TypeError for a type that records cannot hold."""
    marks: list[Any] = []
    if typing.get_origin(hint) is Annotated:
        hint, *marks = typing.get_args(hint)
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any or hint is object:
        return _anything
    if hint is None or hint is type(None):
        return _nothing
    if hint in (int, float):
        within = next((mark for mark in marks if isinstance(mark, Within)), None)
        return functools.partial(_whole if hint is int else _number, within, ANY_NUMBER in marks)
    if hint is str:
        return functools.partial(_text, next((mark.pattern for mark in marks if isinstance(mark, Matches)), None))
    if hint is bool:
        return _flag
    if hint is Path:
        return _path
    if origin is Literal:
        return functools.partial(_choice, tuple((known, known) for known in inner))
    if origin in (types.UnionType, typing.Union):
        return functools.partial(_either, tuple(_reader(one) for one in inner))
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return functools.partial(_row, tuple(_reader(one) for one in inner))
    if origin in (tuple, list, collections.abc.Sequence):
        return functools.partial(_rows, list if origin is list else tuple, _reader(inner[0] if inner else Any))
    if origin in (dict, collections.abc.Mapping):
        of_key, of_value = inner or (str, Any)
        return functools.partial(_mapping, _reader(of_key), _reader(of_value))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return functools.partial(_choice, tuple((member.value, member) for member in hint))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return functools.partial(_record, hint)
    raise TypeError(f"a record cannot hold {hint}")


def _record(kind: type, value: Any, key: str, how: _How) -> Any:
    fields = _fields(kind)
    if getattr(kind, "AS_LIST", False):
        keys = [field.key for field in fields if field.written]
        value = dict(zip(keys, rows(value, key, len(keys), len(keys)), strict=True))
    value = members(value, key)
    if how.exact:
        known = {field.key for field in fields if field.written}
        for name in value:
            if name not in known:
                raise WrongField(
                    f"'{place(key, shown(name)[1:-1])}' is not known; known are {', '.join(sorted(known))}"
                )
    arguments = dict(how.given)
    inside = how.inside()
    for field in fields:
        if not field.written or field.name in arguments:
            continue
        if field.key in value:
            arguments[field.name] = _reader(field.hint)(value[field.key], place(key, field.key), inside)
        elif field.if_missing is not _NOTHING:
            arguments[field.name] = field.if_missing
        elif how.complete or not field.has_default:
            raise WrongField(f"'{place(key, field.key)}' is missing")
    try:
        return kind(**arguments)
    except (ValueError, OverflowError) as error:
        if isinstance(error, WrongField) or not key:
            raise WrongField(str(error)) from error
        raise WrongField(f"'{key}': {error}") from error


def _mapping(of_key: _Reader, of_value: _Reader, value: Any, key: str, how: _How) -> dict[Any, Any]:
    found = members(value, key)
    if of_value is _anything:
        check_depth(found, key)
    return {of_key(name, key, how): of_value(inner, place(key, str(name)), how) for name, inner in found.items()}


def _rows(made: Callable[..., Any], of: _Reader, value: Any, key: str, how: _How) -> Any:
    return made(of(inner, f"{key}[{n}]", how) for n, inner in enumerate(rows(value, key)))


def _row(of: tuple[_Reader, ...], value: Any, key: str, how: _How) -> tuple[Any, ...]:
    values = rows(value, key, len(of), len(of))
    return tuple(read(inner, f"{key}[{n}]", how) for n, (read, inner) in enumerate(zip(of, values, strict=True)))


def _either(readers: tuple[_Reader, ...], value: Any, key: str, how: _How) -> Any:
    """The first that fits. None fits only None; what fits nothing else is told as the last one tells it."""
    if value is None and _nothing in readers:
        return None
    others = [read for read in readers if read is not _nothing]
    for read in others[:-1]:
        with contextlib.suppress(WrongField):
            return read(value, key, how)
    return others[-1](value, key, how)


def _nothing(value: Any, key: str, how: _How) -> None:
    if value is not None:
        refuse(value, key, "nothing")


def check_depth(value: Any, key: str) -> None:
    """Raise WrongField for values nested deeper than Python's writer of JSON goes."""
    if is_deeper(value, _DEEPEST):
        raise WrongField(f"'{key}' is nested deeper than {_DEEPEST} levels")


def _anything(value: Any, key: str, how: _How) -> Any:
    check_depth(value, key)
    return value


def _flag(value: Any, key: str, how: _How) -> bool:
    return flag(value, key)


def _whole(within: Within | None, any_number: bool, value: Any, key: str, how: _How) -> int:
    return whole(value, key, *((int(within.lowest), int(within.highest)) if within else ()))


def _number(within: Within | None, any_number: bool, value: Any, key: str, how: _How) -> float:
    return number(value, key, *((within.lowest, within.highest) if within else ()), finite=not any_number)


def _text(pattern: re.Pattern[str] | None, value: Any, key: str, how: _How) -> str:
    return text(value, key, pattern)


def _path(value: Any, key: str, how: _How) -> Path:
    """Also of a file whose name is not UTF-8, which Python keeps as lone surrogates."""
    if not isinstance(value, str) or "\0" in value or len(value) > MOST_TEXT:
        refuse(value, key, "a path")
    return Path(value)


def _choice(choices: tuple[tuple[Any, Any], ...], value: Any, key: str, how: _How) -> Any:
    """What belongs to the value; True is not 1."""
    for known, meant in choices:
        if type(value) is type(known) and value == known:
            return meant
    return refuse(value, key, f"one of {', '.join(str(known) for known, _ in choices)}")
