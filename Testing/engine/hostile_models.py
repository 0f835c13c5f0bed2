"""Model folders of somebody who means harm, or whose files are damaged: each a small real one with one thing changed.

``{marker}`` in a value is the path of a file that comes to be when the value's code runs.
"""

from __future__ import annotations

import collections
import io
import json
import math
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CHECKPOINT = "fold_0/checkpoint_final.pth"
CONFIGURATION = "3d_fullres"
HUGE = 10**9
RUNS = {"args": ["touch", "{marker}"]}


@dataclass
class Target:
    """A copy of the real model, to be changed."""

    folder: Path
    marker: Path

    def json(self, name: str, change: Callable[[Any], Any]) -> None:
        """Change a file in place, or give what is to stand in it instead."""
        path = self.folder / name
        content = json.loads(path.read_text())
        new = change(content)
        text = json.dumps(content if new is None else new)
        path.write_text(text.replace("{marker}", str(self.marker)))

    def checkpoint(self, content: Any) -> None:
        torch.save(content, self.folder / CHECKPOINT)


Harm = Callable[[Target], None]
CORPUS: dict[str, Harm] = {}
"""Name -> what it does to the folder. Names begin with the file that is bad."""


def _plans(name: str, change: Callable[[Any], Any]) -> None:
    CORPUS[f"plans: {name}"] = lambda target: target.json("plans.json", change)


def _dataset(name: str, change: Callable[[Any], Any]) -> None:
    CORPUS[f"dataset: {name}"] = lambda target: target.json("dataset.json", change)


def _at(path: str, value: Any) -> Callable[[Any], None]:
    """Sets what stands at ``a/b/c``; deletes it where ``value`` is ``...``."""

    def change(content: Any) -> None:
        *before, last = path.split("/")
        for part in before:
            content = content[int(part) if isinstance(content, list) else part]
        if value is ...:
            del content[last]
        else:
            content[int(last) if isinstance(content, list) else last] = value

    return change


def _all(*changes: Callable[[Any], None]) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for one in changes:
            one(content)

    return change


HERE = f"configurations/{CONFIGURATION}"
ARCH = f"{HERE}/architecture"
ARGS = f"{ARCH}/arch_kwargs"

# Code that the plans name
for layer in ("nonlin", "norm_op", "dropout_op"):
    _plans(
        f"{layer} starts a program",
        _all(_at(f"{ARGS}/{layer}", "subprocess.Popen"), _at(f"{ARGS}/{layer}_kwargs", RUNS)),
    )
    _plans(f"{layer} is a module of theirs", _at(f"{ARGS}/{layer}", "hostile_layers.Layer"))
_plans("conv_op is a module of theirs", _at(f"{ARGS}/conv_op", "hostile_layers.Layer"))
_plans("network is a module of theirs", _at(f"{ARCH}/network_class_name", "hostile_layers.Layer"))
_plans("network has the last name of a real one", _at(f"{ARCH}/network_class_name", "hostile_layers.PlainConvUNet"))
_plans("network starts a program", _at(f"{ARCH}/network_class_name", "subprocess.Popen"))
_plans(
    "another argument is imported",
    _all(_at(f"{ARGS}/n_stages", "hostile_layers.Layer"), _at(f"{ARCH}/_kw_requires_import", ["n_stages"])),
)
_plans(
    "an argument of theirs is imported",
    _all(_at(f"{ARGS}/extra", "hostile_layers.Layer"), _at(f"{ARCH}/_kw_requires_import", ["extra"])),
)
_plans("a layer is not imported", _at(f"{ARCH}/_kw_requires_import", ["conv_op", "norm_op"]))
_plans("a layer of torch that is no layer here", _at(f"{ARGS}/nonlin", "torch.nn.Linear"))
_plans("a function of torch's modules", _at(f"{ARGS}/nonlin", "torch.nn.modules.module.warnings.warn"))
_plans(
    "block of theirs", _all(_at(f"{ARGS}/block", "hostile_layers.Layer"), _at(f"{ARCH}/_kw_requires_import", ["block"]))
)


def _inherited(content: Any) -> None:
    own = content["configurations"].pop(CONFIGURATION)
    bad = json.loads(json.dumps(own["architecture"]))
    bad["arch_kwargs"] |= {"nonlin": "subprocess.Popen", "nonlin_kwargs": RUNS}
    base = {key: value for key, value in own.items() if key != "architecture"}
    content["configurations"] = {
        CONFIGURATION: {"inherits_from": "a"},
        "a": {"inherits_from": "b", "batch_size": 2},
        "b": {**base, "architecture": bad},
    }


_plans("a layer that is inherited", _inherited)
_plans(
    "another configuration names it", lambda c: c["configurations"].update(other=_other(c, nonlin="subprocess.Popen"))
)
_plans("it inherits itself", _at(f"{HERE}/inherits_from", CONFIGURATION))
_plans(
    "two inherit each other",
    lambda c: c["configurations"].update(
        {CONFIGURATION: {"inherits_from": "x"}, "x": {"inherits_from": CONFIGURATION}}
    ),
)
_plans("it inherits nothing that is there", _at(f"{HERE}/inherits_from", "gone"))


def _other(content: Any, **kwargs: Any) -> Any:
    copy = json.loads(json.dumps(content["configurations"][CONFIGURATION]))
    copy["architecture"]["arch_kwargs"] |= kwargs
    return copy


_OLD = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 4,
    "unet_max_num_features": 320,
    "n_conv_per_stage_encoder": [1, 1],
    "n_conv_per_stage_decoder": [1],
    "num_pool_per_axis": [1, 1, 1],
    "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]],
    "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
}


def old_plans(**changes: Any) -> Callable[[Any], None]:
    """Plans as nnU-Net 2.0 to 2.2 wrote them: numbers instead of an architecture."""

    def change(content: Any) -> None:
        own = content["configurations"][CONFIGURATION]
        del own["architecture"]
        own |= {**_OLD, **changes}

    return change


_plans("an old one's network of theirs", old_plans(UNet_class_name="hostile_layers.Layer"))
_plans("an old one's features", old_plans(UNet_base_num_features=HUGE, unet_max_num_features=HUGE))
_plans("an old one without its pools", old_plans(num_pool_per_axis=None))
for key, value in {
    "preprocessor_name": "LesionPreprocessor",
    "resampling_fn_data": "os",
    "resampling_fn_seg": "recursive_find_python_class",
    "resampling_fn_probabilities": "hostile_layers.Layer",
    "normalization_schemes": ["ClippedWindowNormalization"],
}.items():
    _plans(f"{key} of a fork", _at(f"{HERE}/{key}", value))
_plans("reader of a fork", _at("image_reader_writer", "hostile_layers"))
_plans("label manager of a fork", _at("label_manager", "os"))
_plans("resampling with another argument", _at(f"{HERE}/resampling_fn_data_kwargs/dtype_out", "O"))
_plans("resampling of a huge order", _at(f"{HERE}/resampling_fn_data_kwargs/order", HUGE))

# Numbers that take the memory, or are none
for key, value in {
    "features_per_stage": [HUGE, HUGE],
    "n_stages": HUGE,
    "kernel_sizes": [[HUGE] * 3] * 2,
    "strides": [[1, 1, 1], [HUGE, 1, 1]],
    "n_conv_per_stage": [HUGE, 1],
    "n_conv_per_stage_decoder": [HUGE],
    "conv_bias": "yes",
}.items():
    _plans(f"{key} huge or odd", _at(f"{ARGS}/{key}", value))
_plans("fewer features than stages", _at(f"{ARGS}/features_per_stage", [4]))
_plans("a larger network than its weights", _at(f"{ARGS}/features_per_stage", [4096, 4096]))
_plans("no features", _at(f"{ARGS}/features_per_stage", ...))
_plans("an argument that is not known", _at(f"{ARGS}/checkpoint_path", "/etc/passwd"))
_plans("an activation with another argument", _at(f"{ARGS}/nonlin_kwargs", {"device": "meta"}))
_plans("a patch of all the memory", _at(f"{HERE}/patch_size", [4096, 4096, 4096]))
_plans("a patch of nothing", _at(f"{HERE}/patch_size", [0, 24, 24]))
_plans("a patch that is no list", _at(f"{HERE}/patch_size", "big"))
_plans("a patch that the strides do not divide", _at(f"{HERE}/patch_size", [17, 24, 24]))
_plans("spacing of nothing", _at(f"{HERE}/spacing", [0, 3, 3]))
_plans("spacing that is no number", _at(f"{HERE}/spacing", [math.nan, 3, 3]))
_plans("spacing without end", _at(f"{HERE}/spacing", [math.inf, 3, 3]))
_plans("axes that are none", _at("transpose_forward", [0, 0, 7]))
_plans("axes that do not go back", _at("transpose_forward", [2, 0, 1]))
_plans("no intensities", _at("foreground_intensity_properties_per_channel", {}))
_plans("intensities that are no numbers", _at("foreground_intensity_properties_per_channel/0/std", "wide"))
_plans("no configurations", _at("configurations", {}))
_plans("configurations as a list", _at("configurations", []))
_plans("a configuration of nothing", _at(HERE, None))
_plans("a configuration with a path as name", lambda c: c["configurations"].update({"../../x": _other(c)}))
_plans("a data identifier with a path", _at(f"{HERE}/data_identifier", "../../../tmp"))
_plans("an architecture as a text", _at(ARCH, "PlainConvUNet"))
_plans("a number with too many figures", _at(f"{HERE}/batch_size", 10**4000))
_plans("a list instead of an object", lambda content: [1, 2, 3])
for key in ("configurations", "image_reader_writer", "transpose_forward"):
    _plans(f"without {key}", _at(key, ...))
for key in ("patch_size", "spacing", "normalization_schemes", "preprocessor_name", "resampling_fn_data_kwargs"):
    _plans(f"configuration without {key}", _at(f"{HERE}/{key}", ...))

_dataset("labels of nnU-Net v1", _at("labels", {"0": "background", "1": "liver", "2": "spleen"}))
_dataset("labels as a list", _at("labels", ["liver"]))
_dataset("no labels", _at("labels", ...))
_dataset("no background", _at("labels", {"liver": 1, "spleen": 2}))
_dataset("labels with a gap", _at("labels/spleen", 7))
_dataset("a label that is no number", _at("labels/spleen", {"value": 2}))
_dataset("a label beyond all numbers", _at("labels/spleen", 1e30))
_dataset("a label that is not a number", _at("labels/spleen", math.nan))
_dataset("a name with half a character", lambda c: c["labels"].update({"\ud800": 2, "spleen": 3}))
_dataset("a name with a line end", lambda c: c["labels"].update({"a\nb": 3}))
_dataset("an empty name", lambda c: c["labels"].update({"": 3}))
_dataset("a region without an order", _at("labels/spleen", [1, 2]))
_dataset("an order that is none", _all(_at("labels/spleen", [1, 2]), _at("regions_class_order", [1, "x"])))
_dataset("3,000 labels", _at("labels", {"background": 0, **{f"s{n}": n for n in range(1, 3000)}}))
_dataset("no channels", _at("channel_names", ...))
_dataset("channels as a text", _at("channel_names", "CT"))
_dataset("a channel that is no name", _at("channel_names", {"0": ["CT"]}))
_dataset("channels from 1", _at("channel_names", {"1": "CT"}))
_dataset("more channels than the plans", _at("channel_names", {"0": "CT", "1": "PET"}))
_dataset("ignore in the middle", _at("labels/ignore", 1))
_dataset("nothing in it", lambda content: {})


def _raw(kind: str, name: str, write: Callable[[Path], None]) -> None:
    file = {"plans": "plans.json", "dataset": "dataset.json", "checkpoint": CHECKPOINT}[kind]

    def harm(target: Target) -> None:
        (target.folder / file).unlink()
        write(target.folder / file)

    CORPUS[f"{kind}: {name}"] = harm


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)


for kind in ("plans", "dataset"):
    _raw(kind, "missing", lambda path: None)
    _raw(kind, "empty", lambda path: path.write_bytes(b"") and None)
    _raw(kind, "nested too deeply", lambda path: path.write_bytes(b"[" * 100_000) and None)
    _raw(kind, "not UTF-8", lambda path: path.write_bytes(b'{"a": "\xff\xfe"}') and None)
    _raw(kind, "a folder", lambda path: path.mkdir())
_raw("dataset", "a text", lambda path: path.write_text('"labels"') and None)
_raw("plans", "larger than any plans", _sparse)
if os.name == "posix":
    for kind in ("plans", "dataset", "checkpoint"):
        _raw(kind, "a pipe", lambda path: os.mkfifo(path))
        _raw(kind, "a device", lambda path: path.symlink_to("/dev/zero"))


# Checkpoints


class Calls:
    """Pickled, it is a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def _checkpoint(name: str, change: Callable[[Any, Target], Any]) -> None:
    def harm(target: Target) -> None:
        content = torch.load(target.folder / CHECKPOINT, weights_only=True)
        new = change(content, target)
        target.checkpoint(content if new is None else new)

    CORPUS[f"checkpoint: {name}"] = harm


def _set(key: str, make: Callable[[Target], Any]) -> Callable[[Any, Target], None]:
    def change(content: Any, target: Target) -> None:
        content[key] = make(target)

    return change


def _weight(make: Callable[[], Any]) -> Callable[[Any, Target], None]:
    def change(content: Any, _target: Target) -> None:
        weights = content["network_weights"]
        weights[next(iter(weights))] = make()

    return change


def _view(size: Any, stride: Any, offset: int = 0) -> Calls:
    storage = torch.zeros(3)._typed_storage()
    arguments = (storage, offset, size, stride, False, collections.OrderedDict())
    return Calls(torch._utils._rebuild_tensor_v2, *arguments)


_checkpoint("it makes a folder", _set("more", lambda target: Calls(os.mkdir, str(target.marker))))
_checkpoint("it evaluates a text", _set("more", lambda target: Calls(eval, f"open({str(target.marker)!r}, 'w')")))
_checkpoint("it imports through getattr", _set("more", lambda target: Calls(getattr, target.folder, "unlink")))
_checkpoint("an array of any size", _set("more", lambda _: Calls(bytearray, 3 * HUGE)))
_checkpoint("a view larger than its storage", _weight(lambda: _view((700_000_000,), (1,))))
_checkpoint("a view that repeats one number", _weight(lambda: _view((700_000_000,), (0,))))
_checkpoint("a view that begins behind its storage", _weight(lambda: _view((3,), (1,), 3)))
_checkpoint("a view with negative steps", _weight(lambda: _view((3,), (-1,), 2)))
_checkpoint("a sparse tensor", _weight(lambda: torch.zeros(4, 4).to_sparse()))
_checkpoint("a tensor without storage", _weight(lambda: torch.zeros(1 << 40, device="meta")))
_checkpoint("a quantized tensor", _weight(lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)))
_checkpoint("weights that are numbers", _set("network_weights", lambda _: {"a": 1}))
_checkpoint("no weights", _set("network_weights", lambda _: {}))
_checkpoint("weights of another network", _set("network_weights", lambda _: {"encoder": torch.zeros(3)}))
_checkpoint("weights of another shape", _weight(lambda: torch.zeros(3)))
_checkpoint("a list", lambda content, target: [1, 2])
_checkpoint("without its trainer", lambda content, target: {k: v for k, v in content.items() if k != "trainer_name"})
for trainer in ("os", "torch", "subprocess", "hostile_layers", "nnUNetTrainerOfTheirs", "a/../b", 7, None, "x\ny"):
    _checkpoint(f"trainer {trainer!r}", _set("trainer_name", lambda _, trainer=trainer: trainer))
for arguments in (None, [], {}, {"configuration": 3}, {"configuration": "../../x"}, {"configuration": "2d"}):
    _checkpoint(f"arguments {arguments!r}", _set("init_args", lambda _, arguments=arguments: arguments))
_checkpoint("mirrored axes that are none", _set("inference_allowed_mirroring_axes", lambda _: [0, "x"]))


def _entries(target: Target) -> dict[str, bytes]:
    with zipfile.ZipFile(target.folder / CHECKPOINT) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(name: str, change: Callable[[dict[str, bytes]], Any], compression: int = zipfile.ZIP_STORED) -> None:
    def harm(target: Target) -> None:
        entries = _entries(target)
        change(entries)
        with zipfile.ZipFile(target.folder / CHECKPOINT, "w", compression) as archive:
            for entry, data in entries.items():
                archive.writestr(entry, data)

    CORPUS[f"checkpoint: {name}"] = harm


def _pickle(data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda entries: entries.update({n: data for n in entries if n.endswith("data.pkl")})


def _smaller(entries: dict[str, bytes]) -> None:
    entries.update({name: data[:4] for name, data in entries.items() if "/data/" in name})


_zip("compressed entries", lambda entries: None, zipfile.ZIP_DEFLATED)
_zip("storages smaller than announced", _smaller)
_zip("no storages", lambda entries: [entries.pop(name) for name in list(entries) if "/data/" in name])
_zip("no pickle", lambda entries: [entries.pop(name) for name in list(entries) if name.endswith("data.pkl")])
_zip("an empty pickle", _pickle(b""))
_zip("a pickle cut off", _pickle(b"\x80\x02}q\x00X\xff\xff\xff\x7fabc"))
_zip("a key nested 100,000 deep", _pickle(b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s."))
_zip("a pickle of protocol 5", _pickle(pickle.dumps({"a": bytearray(10)}, protocol=5)))
_zip("an array that is only announced", _pickle(b"\x80\x05\x96" + struct.pack("<Q", 3 * HUGE) + b"."))
_zip("too many marks to take back", _pickle(b"\x80\x02t."))
_zip("big-endian numbers", lambda entries: entries.update({n: b"big" for n in entries if n.endswith("byteorder")}))


def _overlapping(path: Path) -> None:
    """A zip whose entries all lie at one place, so that 1 MB is announced 4,000 times."""
    body = b"PK\x03\x04" + struct.pack("<5H3L2H", 20, 0, 0, 0, 0, 0, 1 << 20, 1 << 20, 5, 0) + b"x/a/0" + bytes(1 << 20)
    directory = b""
    names = [f"x/data/{n}" for n in range(4000)] + ["x/data.pkl"]
    for name in names:
        fixed = struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 0, 0, 1 << 20, 1 << 20, len(name), 0, 0, 0, 0, 0, 0)
        directory += b"PK\x01\x02" + fixed + name.encode()
    count = len(names)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)


_raw("checkpoint", "entries that overlap", _overlapping)
_raw("checkpoint", "missing", lambda path: None)
_raw("checkpoint", "empty", lambda path: path.write_bytes(b"") and None)
_raw("checkpoint", "a web page", lambda path: path.write_bytes(b"<html>" * 4000) and None)
_raw("checkpoint", "a folder", lambda path: path.mkdir())


def _legacy(target: Target) -> None:
    content = torch.load(target.folder / CHECKPOINT, weights_only=True)
    torch.save(content, target.folder / CHECKPOINT, _use_new_zipfile_serialization=False)


def _cut(target: Target) -> None:
    path = target.folder / CHECKPOINT
    path.write_bytes(path.read_bytes()[:5000])


def _plain_pickle(target: Target) -> None:
    (target.folder / CHECKPOINT).write_bytes(pickle.dumps({"network_weights": Calls(os.mkdir, str(target.marker))}))


def _script(target: Target) -> None:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    (target.folder / CHECKPOINT).write_bytes(file.getvalue())


CORPUS["checkpoint: the format before 1.6"] = _legacy
CORPUS["checkpoint: cut off"] = _cut
CORPUS["checkpoint: a pickle that makes a folder"] = _plain_pickle
CORPUS["checkpoint: a program of TorchScript"] = _script


def hostile(name: str, real: Path, folder: Path, marker: Path) -> Path:
    """The folder of the corpus of that name, made of a copy of the real model."""
    shutil.copytree(real, folder)
    CORPUS[name](Target(folder, marker))
    return folder
