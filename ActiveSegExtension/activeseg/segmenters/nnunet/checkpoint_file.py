"""Checkpoints of strangers: what they hold is read without running anything, and no memory is taken before it is known.

A checkpoint is a zip of one pickle and of the tensors' bytes, one stored entry for each storage (``torch.save`` since
1.6). The pickle is a program. ``torch.load`` in its safe mode runs a large part of it: it makes arrays of any size from
an announcement. Here it is read by a machine that knows only what nnU-Net's checkpoints consist of, and every tensor
must lie within a storage whose bytes are in the file. Only the weights are then loaded, not the optimiser's state.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from activeseg.core.errors import InputError, ModelError
from activeseg.core.json_values import JsonValue, WrongField
from activeseg.segmenters.nnunet.checkpoint_pickle import PickleMachine, StoredTensor, unusable
from activeseg.system.regular_files import open_regular

if TYPE_CHECKING:
    import torch

_LONGEST_PICKLE = 256 << 20
_MOST_ENTRIES = 100_000
_BLOCK = 1 << 20
_END = struct.Struct("<4s4H2LH")
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
            JsonValue(text, key).name()
    except WrongField as wrong:
        raise unusable(path, str(wrong), wrong.key) from wrong
    except (KeyError, TypeError, AttributeError) as error:
        key = str(error.args[0]) if error.args else "network_weights"
        raise unusable(path, f"its '{key}' is missing or not what nnU-Net writes", key) from error
    return Checkpoint(path, weights, trainer, configuration, tuple(axes) if axes else None)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that holds nothing but these, by name. Raises ModelError."""
    content = read_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(value, StoredTensor) for value in content.values()):
        raise unusable(path, "it holds other things than weights")
    return load_tensors(path, content)


def read_pickle(path: Path) -> Any:
    """What a checkpoint holds, with ``StoredTensor`` for tensors. Raises ModelError."""
    with _archive(path) as (archive, root):
        entry = archive.getinfo(f"{root}data.pkl")
        if entry.file_size > _LONGEST_PICKLE:
            raise unusable(path, f"its list of contents has {entry.file_size} bytes")
        for name in ("byteorder", "constants.pkl"):
            if f"{root}{name}" in archive.namelist() and (
                name != "byteorder" or archive.read(f"{root}{name}") != b"little"
            ):
                raise unusable(path, "it is a program or of another kind of computer")
        storages = {
            info.filename.removeprefix(f"{root}data/"): info.file_size
            for info in archive.infolist()
            if info.filename.startswith(f"{root}data/")
        }
        return PickleMachine(path, storages).run(archive.read(entry))


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
        raise unusable(path, f"{error}".rstrip(".") or type(error).__name__) from error
    except RuntimeError as error:  # an encrypted entry
        raise unusable(path, str(error)) from error


def _check_frame(path: Path, file: BinaryIO) -> None:
    """The zip fills the file, so that every program finds the same directory in it."""
    start = file.read(4)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _END.size, 0))
    end = file.read(_END.size)
    file.seek(0)
    if start[:2] == b"\x80\x02":
        raise unusable(path, "it has the format of PyTorch before 1.6, which announces sizes it need not have")
    if start != b"PK\x03\x04" or len(end) < _END.size or end[:4] != b"PK\x05\x06" or end[-2:] != b"\0\0":
        raise unusable(path, "it is cut off, or something else")


def _check_entries(path: Path, archive: zipfile.ZipFile, size: int) -> str:
    entries = archive.infolist()
    names = {info.filename for info in entries}
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
    if len(roots) != 1 or len(names) < len(entries) or len(entries) > _MOST_ENTRIES:
        raise unusable(path, "it is a zip of something else")
    for info in entries:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise unusable(path, f"'{ascii(info.filename)[1:-1]}' in it is compressed, which weights never are")
    if sum(info.file_size for info in entries) > size:
        raise unusable(path, "its parts are larger than the file")
    return roots[0]
