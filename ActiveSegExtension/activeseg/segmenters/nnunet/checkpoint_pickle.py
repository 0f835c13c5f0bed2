"""The pickle in a checkpoint: read by a machine that knows only what nnU-Net's checkpoints consist of."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activeseg.core.errors import ModelError, in_ascii
from activeseg.core.json_values import LONGEST_NAME

_ITEM_BYTES = {
    "DoubleStorage": 8,
    "LongStorage": 8,
    "FloatStorage": 4,
    "IntStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
_NUMPY_TYPE = re.compile(r"[<>=|]?[fiub][1248]")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in the file: elements of a storage, whose bytes are the zip's entry ``data/<key>``."""

    kind: str
    key: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def unusable(
    path: Path, why: str, key: str = "", action: str = "Copy the model's folder again, or ask its author."
) -> ModelError:
    return ModelError(
        f"The checkpoint '{path.parent.name}/{path.name}' cannot be used: {in_ascii(why)}.",
        action,
        file=str(path),
        key=key,
    )


def _unsafe(path: Path, what: str) -> ModelError:
    return ModelError(
        f"The checkpoint '{path}' was not loaded: it wants to run '{what}', which weights never need.",
        "Only load models from people you trust; ask for a checkpoint that holds weights alone.",
        file=str(path),
        blocked=what,
    )


@dataclass(frozen=True)
class _Name:
    """A name of code that the pickle wants to call."""

    name: str


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    count: int


@dataclass
class _Plain:
    """Something harmless whose value is not needed: a device, a number of numpy's."""

    what: str = ""


_MARK = object()


@dataclass
class PickleMachine:
    """Runs a pickle of nnU-Net's, protocol 2, of which every step is known.

    Keys of objects are texts and numbers alone: others could be nested so deeply that hashing them ends the program.
    """

    path: Path
    storages: Mapping[str, int]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, data: bytes) -> Any:
        try:
            return self._run(data)
        except (IndexError, struct.error, UnicodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise unusable(self.path, f"it is damaged ({type(error).__name__})") from error

    def _run(self, data: bytes) -> Any:
        stack, memo, at, end = self.stack, self.memo, 0, len(data)
        while at < end:
            code = data[at]
            at += 1
            if code == 0x68:  # BINGET
                stack.append(memo[data[at]])
                at += 1
            elif code == 0x6A:  # LONG_BINGET
                stack.append(memo[int.from_bytes(data[at : at + 4], "little")])
                at += 4
            elif code == 0x71:  # BINPUT
                memo[data[at]] = stack[-1]
                at += 1
            elif code == 0x72:  # LONG_BINPUT
                memo[int.from_bytes(data[at : at + 4], "little")] = stack[-1]
                at += 4
            elif code == 0x52:  # REDUCE
                arguments = stack.pop()
                stack[-1] = self._called(stack[-1], arguments)
            elif code == 0x58:  # BINUNICODE
                length = int.from_bytes(data[at : at + 4], "little")
                text = data[at + 4 : at + 4 + length]
                if len(text) != length:
                    raise ValueError("cut off")
                stack.append(text.decode("utf-8", "surrogatepass"))
                at += 4 + length
            elif code == 0x4B:  # BININT1
                stack.append(data[at])
                at += 1
            elif code == 0x4D:  # BININT2
                stack.append(int.from_bytes(data[at : at + 2], "little"))
                at += 2
            elif code == 0x4A:  # BININT
                stack.append(struct.unpack_from("<i", data, at)[0])
                at += 4
            elif code == 0x8A:  # LONG1
                stack.append(int.from_bytes(data[at + 1 : at + 1 + data[at]], "little", signed=True))
                at += 1 + data[at]
            elif code == 0x47:  # BINFLOAT
                stack.append(struct.unpack_from(">d", data, at)[0])
                at += 8
            elif code == 0x63:  # GLOBAL
                middle = data.index(b"\n", at)
                last = data.index(b"\n", middle + 1)
                name = f"{data[at:middle].decode()}.{data[middle + 1 : last].decode()}"
                if name not in _CALLS and name.removeprefix("torch.") not in _ITEM_BYTES:
                    raise _unsafe(self.path, ascii(name)[1:-1][:LONGEST_NAME])
                stack.append(_Name(name))
                at = last + 1
            elif code == 0x80:  # PROTO
                at += 1
            elif code == 0x2E:  # STOP
                return stack.pop()
            elif code in _STEPS:
                _STEPS[code](self)
            else:
                raise _unsafe(self.path, "an operation")
        raise ValueError("cut off")

    def _called(self, what: Any, arguments: Any) -> Any:
        if not isinstance(what, _Name) or what.name not in _CALLS or type(arguments) is not tuple:
            raise _unsafe(self.path, "an operation")
        return _CALLS[what.name](self, *arguments)

    def since_mark(self) -> list[Any]:
        found: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            found.append(value)
        return found[::-1]

    def put_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(pairs) % 2:
            raise TypeError("not an object")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) not in (str, int, bool, float):
                raise TypeError("not a name")
            target[key] = value

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("not a list")
        self.stack[-1].extend(values)

    def storage(self) -> None:
        word, kind, key, _device, count = self.stack.pop()
        name = kind.name.removeprefix("torch.")
        if word != "storage" or type(key) is not str or type(count) is not int:
            raise TypeError("not a storage")
        if self.storages[key] != count * _ITEM_BYTES[name]:
            raise unusable(self.path, f"its tensor '{key[:20]}' announces {count} numbers that are not there")
        self.stack.append(_Storage(name, key, count))

    def built(self) -> None:
        """State of an ordered dictionary or of a numpy type; it is not needed."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict | _Plain):
            raise _unsafe(self.path, "an operation")

    def tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
        """``torch._utils._rebuild_tensor_v2``; refused when it has more elements than the file, or others."""
        numbers = (offset, *shape, *stride)
        if type(storage) is not _Storage or len(shape) != len(stride) or len(shape) > 8:
            raise TypeError("not a tensor")
        if not all(type(number) is int and 0 <= number <= storage.count + 1 for number in numbers):
            raise unusable(self.path, f"its tensor '{storage.key[:20]}' is larger than what is stored of it")
        elements = math.prod(shape)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if elements > storage.count or (elements and last >= storage.count):
            raise unusable(self.path, f"its tensor '{storage.key[:20]}' is larger than what is stored of it")
        return StoredTensor(storage.kind, storage.key, offset, tuple(shape), tuple(stride))

    def parameter(self, data: Any, *_: Any) -> StoredTensor:
        if type(data) is not StoredTensor:
            raise TypeError("not a tensor")
        return data

    def dictionary(self, *given: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in given[0] if given else ():
            if type(key) not in (str, int):
                raise TypeError("not a name")
            found[key] = value
        return found

    def encoded(self, text: str, coding: str) -> bytes:
        if coding != "latin1" or len(text) > LONGEST_NAME:
            raise TypeError("not a number")
        return text.encode("latin1")

    def number_type(self, code: Any, *_: Any) -> _Plain:
        if type(code) is not str or _NUMPY_TYPE.fullmatch(code) is None:
            raise TypeError("not a number")
        return _Plain(code)

    def number(self, kind: Any, data: Any) -> float | int | bool:
        """A scalar of numpy's as Python's own."""
        import numpy as np

        if type(kind) is not _Plain or type(data) is not bytes:
            raise TypeError("not a number")
        dtype = np.dtype(kind.what)
        if len(data) != dtype.itemsize:
            raise TypeError("not a number")
        value: float | int | bool = np.frombuffer(data, dtype)[0].item()
        return value

    def plain(self, *_: Any) -> _Plain:
        return _Plain()


_CALLS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": PickleMachine.dictionary,
    "torch._utils._rebuild_tensor_v2": PickleMachine.tensor,
    "torch._utils._rebuild_parameter": PickleMachine.parameter,
    "torch.device": PickleMachine.plain,
    "torch.Size": PickleMachine.plain,
    "_codecs.encode": PickleMachine.encoded,
    "numpy.dtype": PickleMachine.number_type,
    "numpy.core.multiarray.scalar": PickleMachine.number,
    "numpy._core.multiarray.scalar": PickleMachine.number,
}


def _steps() -> dict[int, Callable[[PickleMachine], None]]:
    """The operations of a pickle that take nothing but the stack."""

    def push(make: Callable[[], Any]) -> Callable[[PickleMachine], None]:
        return lambda machine: machine.stack.append(make())

    def tuple_of(count: int) -> Callable[[PickleMachine], None]:
        def step(machine: PickleMachine) -> None:
            if len(machine.stack) < count:
                raise IndexError
            machine.stack[-count:] = [tuple(machine.stack[-count:])]

        return step

    def item(machine: PickleMachine) -> None:
        value, key = machine.stack.pop(), machine.stack.pop()
        machine.put_items([key, value])

    return {
        0x28: push(lambda: _MARK),
        0x7D: push(dict),
        0x5D: push(list),
        0x29: push(tuple),
        0x4E: push(lambda: None),
        0x88: push(lambda: True),
        0x89: push(lambda: False),
        0x85: tuple_of(1),
        0x86: tuple_of(2),
        0x87: tuple_of(3),
        0x74: lambda machine: machine.stack.append(tuple(machine.since_mark())),
        0x75: lambda machine: machine.put_items(machine.since_mark()),
        0x73: item,
        0x61: lambda machine: machine.extend([machine.stack.pop()]),
        0x65: lambda machine: machine.extend(machine.since_mark()),
        0x51: PickleMachine.storage,
        0x62: PickleMachine.built,
    }


_STEPS = _steps()
