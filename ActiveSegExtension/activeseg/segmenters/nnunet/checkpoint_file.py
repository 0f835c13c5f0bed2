"""Checkpoints of strangers: what they hold is read without running anything, and no memory is taken before it is known.

A checkpoint is a zip of one pickle and of the tensors' bytes, one stored entry for each storage (``torch.save`` since
1.6). The pickle is a program. ``torch.load`` in its safe mode runs a large part of it: it makes arrays of any size from
an announcement. Here it is read by a machine that knows only what nnU-Net's checkpoints consist of, and every tensor
must lie within a storage whose bytes are in the file. Only the weights are then loaded, not the optimiser's state.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from activeseg.core.errors import InputError, ModelError
from activeseg.segmenters.foreign_value import LONGEST_NAME, shortened
from activeseg.system.regular_files import open_regular

if TYPE_CHECKING:
    import torch

_LONGEST_PICKLE = 256 << 20
_MOST_ENTRIES = 100_000
_BLOCK = 1 << 20
_END = struct.Struct("<4s4H2LH")
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
_DTYPES = {
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "FloatStorage": "float32",
    "IntStorage": "int32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
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


@dataclass(frozen=True)
class Checkpoint:
    """What a trained member says of itself.

    Attributes
    ----------
    weights : nnU-Net's name -> tensor, not loaded
    trainer, configuration : names of nnU-Net's
    mirror_axes : that training mirrored; None where it did not
    """

    path: Path
    weights: Mapping[str, StoredTensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...] | None

    def load(self) -> dict[str, torch.Tensor]:
        """The weights, in the memory of the CPU; what shared its storage still does. Raises ModelError."""
        return load_tensors(self.path, self.weights)


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises ModelError: missing, damaged, no checkpoint of nnU-Net, or with something in it that weights never need.

    Nothing is run, and no tensor is loaded.
    """
    content = read_pickle(path)
    try:
        weights = content["network_weights"]
        named = all(isinstance(name, str) and isinstance(value, StoredTensor) for name, value in weights.items())
        if not weights or not named:
            raise TypeError("network_weights")
        axes = content.get("inference_allowed_mirroring_axes")
        if axes is not None and not all(type(axis) is int and 0 <= axis <= 2 for axis in axes):
            raise TypeError("inference_allowed_mirroring_axes")
        trainer, configuration = content["trainer_name"], content["init_args"]["configuration"]
        for key, text in (("trainer_name", trainer), ("init_args.configuration", configuration)):
            if not isinstance(text, str) or not 0 < len(text) <= LONGEST_NAME or not text.isprintable():
                raise TypeError(f"{key} ({shortened(text)})")
    except (KeyError, TypeError, AttributeError) as error:
        key = str(error.args[0]) if error.args else "network_weights"
        raise _no_checkpoint(path, f"its '{key}' is missing or not what nnU-Net writes", key) from error
    return Checkpoint(path, weights, trainer, configuration, tuple(axes) if axes else None)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that holds nothing but these, by name. Raises ModelError."""
    content = read_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(value, StoredTensor) for value in content.values()):
        raise _no_checkpoint(path, "it holds other things than weights")
    return load_tensors(path, content)


def read_pickle(path: Path) -> Any:
    """What a checkpoint holds, with ``StoredTensor`` for tensors. Raises ModelError."""
    with _archive(path) as (archive, root):
        entry = archive.getinfo(f"{root}data.pkl")
        if entry.file_size > _LONGEST_PICKLE:
            raise _no_checkpoint(path, f"its list of contents has {entry.file_size} bytes")
        for name in ("byteorder", "constants.pkl"):
            if f"{root}{name}" in archive.namelist() and (
                name != "byteorder" or archive.read(f"{root}{name}") != b"little"
            ):
                raise _no_checkpoint(path, "it is a program or of another kind of computer")
        storages = {
            info.filename.removeprefix(f"{root}data/"): info.file_size
            for info in archive.infolist()
            if info.filename.startswith(f"{root}data/")
        }
        return _Machine(path, storages).run(archive.read(entry))


def load_tensors(path: Path, wanted: Mapping[str, StoredTensor]) -> dict[str, torch.Tensor]:
    """These tensors of a checkpoint, on the CPU. Raises ModelError when the file is damaged."""
    import torch

    storages: dict[str, torch.Tensor] = {}
    with _archive(path) as (archive, root):
        for tensor in wanted.values():
            if tensor.key not in storages:
                dtype = getattr(torch, _DTYPES[tensor.kind])
                data = _bytes_of(archive, f"{root}data/{tensor.key}")
                storages[tensor.key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return {
        name: storages[tensor.key].as_strided(tensor.shape, tensor.stride, tensor.offset)
        for name, tensor in wanted.items()
    }


def _bytes_of(archive: zipfile.ZipFile, name: str) -> bytearray:
    """An entry's bytes, in memory once; its check sum is compared."""
    data = bytearray(archive.getinfo(name).file_size)
    at = 0
    with archive.open(name) as part:
        while block := part.read(_BLOCK):
            data[at : at + len(block)] = block
            at += len(block)
    return data


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """A checkpoint's zip and the folder in it, once all of its entries are stored ones that lie within the file."""
    try:
        with open_regular(path) as file:
            _check_frame(path, file)
            with zipfile.ZipFile(file) as archive:
                yield archive, _check_entries(path, archive, os.fstat(file.fileno()).st_size)
    except FileNotFoundError as error:
        raise ModelError(
            f"The checkpoint '{path}' is missing.", "Copy the model's folder again.", file=str(path)
        ) from (error)
    except InputError as error:
        raise ModelError(f"The checkpoint '{path}' is not a regular file.", error.action, file=str(path)) from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError, NotImplementedError) as error:
        raise _no_checkpoint(path, f"{error}".rstrip(".") or type(error).__name__) from error
    except RuntimeError as error:  # an encrypted entry
        raise _no_checkpoint(path, str(error)) from error


def _check_frame(path: Path, file: BinaryIO) -> None:
    """The zip fills the file, so that every program finds the same directory in it."""
    start = file.read(4)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _END.size, 0))
    end = file.read(_END.size)
    file.seek(0)
    if start[:2] == b"\x80\x02":
        raise _no_checkpoint(path, "it has the format of PyTorch before 1.6, which announces sizes it need not have")
    if start != b"PK\x03\x04" or len(end) < _END.size or end[:4] != b"PK\x05\x06" or end[-2:] != b"\0\0":
        raise _no_checkpoint(path, "it is cut off, or something else")


def _check_entries(path: Path, archive: zipfile.ZipFile, size: int) -> str:
    entries = archive.infolist()
    names = {info.filename for info in entries}
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
    if len(roots) != 1 or len(names) < len(entries) or len(entries) > _MOST_ENTRIES:
        raise _no_checkpoint(path, "it is a zip of something else")
    for info in entries:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise _no_checkpoint(path, f"'{ascii(info.filename)[1:-1]}' in it is compressed, which weights never are")
    if sum(info.file_size for info in entries) > size:
        raise _no_checkpoint(path, "its parts are larger than the file")
    return roots[0]


def _no_checkpoint(path: Path, why: str, key: str = "") -> ModelError:
    return ModelError(
        f"The checkpoint '{path.parent.name}/{path.name}' cannot be used: {why}.",
        "Copy the model's folder again, or ask its author.",
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


# The pickle


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
class _Machine:
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
            raise _no_checkpoint(self.path, f"it is damaged ({type(error).__name__})") from error

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
            raise _no_checkpoint(self.path, f"its tensor '{key[:20]}' announces {count} numbers that are not there")
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
            raise _no_checkpoint(self.path, f"its tensor '{storage.key[:20]}' is larger than what is stored of it")
        elements = math.prod(shape)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if elements > storage.count or (elements and last >= storage.count):
            raise _no_checkpoint(self.path, f"its tensor '{storage.key[:20]}' is larger than what is stored of it")
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
    "collections.OrderedDict": _Machine.dictionary,
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch._utils._rebuild_parameter": _Machine.parameter,
    "torch.device": _Machine.plain,
    "torch.Size": _Machine.plain,
    "_codecs.encode": _Machine.encoded,
    "numpy.dtype": _Machine.number_type,
    "numpy.core.multiarray.scalar": _Machine.number,
    "numpy._core.multiarray.scalar": _Machine.number,
}


def _steps() -> dict[int, Callable[[_Machine], None]]:
    """The operations of a pickle that take nothing but the stack."""

    def push(make: Callable[[], Any]) -> Callable[[_Machine], None]:
        return lambda machine: machine.stack.append(make())

    def tuple_of(count: int) -> Callable[[_Machine], None]:
        def step(machine: _Machine) -> None:
            if len(machine.stack) < count:
                raise IndexError
            machine.stack[-count:] = [tuple(machine.stack[-count:])]

        return step

    def item(machine: _Machine) -> None:
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
        0x51: _Machine.storage,
        0x62: _Machine.built,
    }


_STEPS = _steps()
