"""A version travels as one file; whatever else such a file may hold is refused, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetuned import piece

from activeseg.core.errors import Cancelled, InputError, ModelError
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import to_json
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.shapes import UsualShape
from activeseg.learning.bundle import export_version, import_version
from activeseg.learning.project.gate import judge
from activeseg.learning.project.opening import open_version
from activeseg.learning.project.project import VERSIONS, Project
from activeseg.learning.project.version import BASE, ModelKind, Version
from activeseg.samples.phantom import PHANTOM_SCHEMA
from activeseg.segmenters.demo import demo_segmenter

DEMO = demo_segmenter().folder
MANIFEST = "activeseg-version.json"
CHECKPOINT = "model/fold_0/checkpoint_final.pth"
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))


@pytest.fixture
def source(tmp_path: Path) -> Project:
    """A project with one measured version: the demonstration model's first member."""
    project = Project.create(tmp_path / "organs", "demo")
    folder = project.folder / VERSIONS / "v0001"
    model = folder / "model"
    shutil.copytree(DEMO / "fold_0", model / "fold_0")
    for name in ("plans.json", "dataset.json"):
        shutil.copyfile(DEMO / name, model / name)
    version = Version(
        "v0001",
        BASE,
        "2026-01-01T00:00:00+00:00",
        ModelKind.NNUNET,
        "",
        {"CT_0001": "ab" * 32},
        {},
        {},
        PHANTOM_SCHEMA.to_dict(),
        {"epochs": 3},
        (5,),
        {"torch": "2"},
        12.5,
        {"liver": UsualShape(8, (7.1, 0.2), (0.7, 0.05), (7, 1))},
    )
    (folder / "version.json").write_text(json.dumps(version.to_dict()))
    verdict = judge({"CT_0002": {"liver": 0.8}}, {"CT_0002": {"liver": 0.9}}, PHANTOM_SCHEMA.names)
    (folder / "measured.json").write_text(json.dumps({"metrics": {"child": {}}, "verdict": to_json(verdict)}))
    (folder / "comparison.png").write_bytes(b"png")
    return project


@pytest.fixture
def exported(source: Project, tmp_path: Path) -> Path:
    file = tmp_path / "organs-v0001.zip"
    export_version(source, "v0001", file)
    return file


@pytest.fixture
def other(tmp_path: Path) -> Project:
    """Another installation's project."""
    return Project.create(tmp_path / "theirs" / "abdomen", "demo")


def files_of(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != MANIFEST}


def packed(path: Path, files: Mapping[str, bytes], **manifest: Any) -> Path:
    """A file whose manifest agrees with what is in it, unless told otherwise."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    content = {"format": 1, "project": "organs", "version": "v0001", "sha256": sums, **manifest}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(content))
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def edited(data: bytes, change: Callable[[Any], None]) -> bytes:
    content = json.loads(data)
    change(content)
    return json.dumps(content).encode()


def refused(project: Project, file: Path, match: str = "no version that can be imported") -> None:
    """With a sentence; nothing may be left of the file."""
    before = sorted(path for path in project.folder.rglob("*"))
    with pytest.raises(InputError, match=match) as told:
        import_version(project, file)
    folder = project.folder / VERSIONS
    assert sorted(path for path in project.folder.rglob("*") if path != folder) == [p for p in before if p != folder]
    assert not folder.exists() or not list(folder.iterdir())
    assert project.state.current == BASE
    assert "\n" not in str(told.value).strip()


# There and back


def test_an_exported_version_comes_back_as_it_was_and_segments_the_same(
    source: Project, exported: Path, other: Project
) -> None:
    imported = import_version(other, exported)
    original = source.version("v0001")
    assert imported.imported == "organs v0001"
    assert {**imported.to_dict(), "imported": ""} == original.to_dict()
    assert other.version("v0001") == imported
    assert other.state.current == BASE
    ct = {"CT": piece(1).ct}
    exact = Settings(device="cpu", mode=Mode.EXACT)
    labels = [open_version(p, "v0001").segment(ct, exact, Progress()).labels for p in (source, other)]
    assert np.array_equal(labels[0], labels[1])
    assert other.promote("v0001", "theirs").current == "v0001"


def test_an_imported_version_gets_the_next_id_and_may_be_exported_again(
    source: Project, exported: Path, tmp_path: Path
) -> None:
    assert [import_version(source, exported).id for _ in range(2)] == ["v0002", "v0003"]
    export_version(source, "v0003", tmp_path / "again.zip")
    again = import_version(source, tmp_path / "again.zip")
    assert (again.id, again.imported) == ("v0004", "organs v0003")
    assert list(source.versions()) == ["v0001", "v0002", "v0003", "v0004"]


def test_a_version_that_was_not_measured_travels_too(source: Project, other: Project, tmp_path: Path) -> None:
    (source.version_folder("v0001") / "measured.json").unlink()
    export_version(source, "v0001", tmp_path / "v.zip")
    assert import_version(other, tmp_path / "v.zip").verdict is None


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_what_only_leads_to_the_users_other_weights_is_not_exported(source: Project, tmp_path: Path) -> None:
    theirs = tmp_path / "weights" / "Dataset291_Licensed"
    theirs.mkdir(parents=True)
    (theirs / "plans.json").write_text("{}")
    (source.version_folder("v0001") / "model" / theirs.name).symlink_to(theirs, target_is_directory=True)
    export_version(source, "v0001", tmp_path / "v.zip")
    assert not any("Dataset291" in name for name in files_of(tmp_path / "v.zip"))


def test_an_export_overwrites_nothing_and_needs_a_version(source: Project, exported: Path, tmp_path: Path) -> None:
    before = exported.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        export_version(source, "v0001", exported)
    assert exported.read_bytes() == before
    for id in (BASE, "v0009"):
        with pytest.raises(ModelError):
            export_version(source, id, tmp_path / "none.zip")
    assert not (tmp_path / "none.zip").exists()


def test_a_cancelled_import_leaves_nothing(exported: Path, other: Project) -> None:
    with pytest.raises(Cancelled):
        import_version(other, exported, Progress(cancelled=lambda: True))
    assert not list((other.folder / VERSIONS).iterdir())


# What is refused


def test_a_file_that_was_tampered_with(exported: Path, other: Project, tmp_path: Path) -> None:
    files = files_of(exported)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    for name in files:
        changed = {**files, name: files[name][:-1] + bytes([files[name][-1] ^ 1])}
        refused(other, packed(tmp_path / "t.zip", changed, sha256=sums), f"'{name}' was changed")


def test_bytes_that_were_damaged_on_the_way(exported: Path, other: Project) -> None:
    data = bytearray(exported.read_bytes())
    data[len(data) // 2] ^= 255
    exported.write_bytes(data)
    refused(other, exported)


def test_a_file_that_was_cut_off(exported: Path, other: Project) -> None:
    exported.write_bytes(exported.read_bytes()[:-1000])
    refused(other, exported)


@pytest.mark.parametrize(
    "name",
    [
        "model/../../../evil.json",
        "../evil.json",
        "/tmp/evil.json",
        "model/fold_0/run.py",
        "model/.hidden.json",
        "model/fold_0/..json",
        "model\\..\\evil.json",
        "C:/evil.json",
        "comparison.png",
        "model/a b.json",
    ],
)
def test_a_name_that_has_no_place_in_a_version(exported: Path, other: Project, tmp_path: Path, name: str) -> None:
    refused(other, packed(tmp_path / "t.zip", {**files_of(exported), name: b"{}"}), "has no place")
    assert not list(tmp_path.rglob("evil.json"))


def test_a_file_that_the_list_does_not_name_or_that_is_missing(exported: Path, other: Project, tmp_path: Path) -> None:
    files = files_of(exported)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    refused(other, packed(tmp_path / "t.zip", {**files, "model/more.json": b"{}"}, sha256=sums), "other files")
    del files["model/plans.json"]
    refused(other, packed(tmp_path / "t.zip", files, sha256=sums), "other files")


class _Runs:
    """Pickled, it is a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_wants_to_run_something(exported: Path, other: Project, tmp_path: Path) -> None:
    evil, proof = tmp_path / "evil.pth", tmp_path / "it-ran"
    torch.save({"network_weights": {"a": torch.zeros(1)}, "more": _Runs(proof)}, evil)
    plain = pickle.dumps({"network_weights": _Runs(proof)}, protocol=2)
    for data in (evil.read_bytes(), plain):
        refused(
            other,
            packed(tmp_path / "t.zip", {**files_of(exported), CHECKPOINT: data}),
            "wants to run|format of PyTorch before",
        )
    assert not proof.exists()


@pytest.mark.parametrize("content", [{}, {"network_weights": {"a": 1}}, {"network_weights": [1]}, [1, 2]])
def test_a_checkpoint_that_holds_no_weights(exported: Path, other: Project, tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "c.pth")
    refused(other, packed(tmp_path / "t.zip", {**files_of(exported), CHECKPOINT: (tmp_path / "c.pth").read_bytes()}))


@pytest.mark.parametrize("name", ["version.json", "model/plans.json", "model/dataset.json", CHECKPOINT])
def test_a_file_without_something_that_a_version_needs(
    exported: Path, other: Project, tmp_path: Path, name: str
) -> None:
    files = {key: data for key, data in files_of(exported).items() if key != name}
    refused(other, packed(tmp_path / "t.zip", files))


@pytest.mark.parametrize("name", ["antigravity.anything", "subprocess.Popen", "torch.nn.modules.module.warnings.warn"])
@pytest.mark.parametrize("place", ["network_class_name", "nonlin"])
def test_plans_that_name_something_else_than_layers(
    exported: Path, other: Project, tmp_path: Path, name: str, place: str
) -> None:
    def change(plans: Any) -> None:
        architecture = plans["configurations"]["3d_fullres"]["architecture"]
        (architecture if place in architecture else architecture["arch_kwargs"])[place] = name

    files = files_of(exported)
    files["model/plans.json"] = edited(files["model/plans.json"], change)
    refused(other, packed(tmp_path / "t.zip", files), "that nnU-Net does not bring")


def test_a_version_for_other_structures(exported: Path, other: Project, tmp_path: Path) -> None:
    files = files_of(exported)
    names = ["lung", "tumour"]
    schema = LabelSchema.from_names(names).to_dict()
    files["version.json"] = edited(files["version.json"], lambda record: record.update(schema=schema))
    refused(other, packed(tmp_path / "t.zip", files), "other structures than it says")
    labels = {"background": 0, "lung": 1, "tumour": 2}
    files["model/dataset.json"] = edited(files["model/dataset.json"], lambda dataset: dataset.update(labels=labels))
    refused(other, packed(tmp_path / "t.zip", files), "none of this project's")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"id": "../../v0001"},
        {"parent": "/etc"},
        {"kind": "script"},
        {"schema": {"labels": [{"value": 7, "name": "x", "color": [0, 0, 0]}]}},
        {"schema": None},
        {"verdict": {"promoted": True}},
    ],
)
def test_a_record_that_is_none(exported: Path, other: Project, tmp_path: Path, change: dict[str, Any]) -> None:
    files = files_of(exported)
    del files["measured.json"]
    files["version.json"] = edited(files["version.json"], lambda record: record.update(change))
    refused(other, packed(tmp_path / "t.zip", files))


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "sha256": 3}', b"[" * 100_000, b'"' + b" " * (2 << 20)],
)
def test_a_list_of_files_that_is_none(exported: Path, other: Project, tmp_path: Path, manifest: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr(MANIFEST, manifest)
        for name, data in files_of(exported).items():
            archive.writestr(name, data)
    refused(other, tmp_path / "t.zip")


def test_a_list_of_names_without_sums(exported: Path, other: Project, tmp_path: Path) -> None:
    files = files_of(exported)
    refused(other, packed(tmp_path / "t.zip", files, sha256=list(files)))


@pytest.mark.parametrize("origin", [{"project": "a" * 200_000}, {"project": "\ud800"}, {"version": ["v0001"]}])
def test_an_origin_that_no_record_could_keep(
    exported: Path, other: Project, tmp_path: Path, origin: dict[str, Any]
) -> None:
    refused(other, packed(tmp_path / "theirs.zip", files_of(exported), **origin))


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_zip(other: Project, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.zip").write_bytes(content)
    refused(other, tmp_path / "t.zip")


def test_a_zip_of_something_else_and_one_that_is_not_there(other: Project, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(other, tmp_path / "t.zip")
    refused(other, tmp_path / "missing.zip", "There is no file")


def test_an_encrypted_file(exported: Path, other: Project, tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path / "t.zip", files_of(exported)).read_bytes())
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:  # every entry of the central directory says: encrypted
        flags = struct.unpack_from("<H", data, at + 8)[0]
        struct.pack_into("<H", data, at + 8, flags | 1)
        at += 4
    (tmp_path / "t.zip").write_bytes(data)
    refused(other, tmp_path / "t.zip")


def test_a_file_with_compressed_parts_is_refused_before_they_are_unpacked(
    exported: Path, other: Project, tmp_path: Path
) -> None:
    with zipfile.ZipFile(exported) as archive, zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name))
    refused(other, tmp_path / "t.zip", "is compressed")


def test_what_the_base_model_told_of_its_cases_does_not_travel(source: Project, tmp_path: Path) -> None:
    model = source.version_folder("v0001") / "model"
    for name, secret in (("dataset.json", {"dataset": {"Miller_J": {}}}), ("plans.json", {"note": "Miller_J"})):
        (model / name).write_text(json.dumps({**json.loads((model / name).read_text()), **secret}))
    export_version(source, "v0001", tmp_path / "v.zip")
    assert not any(b"Miller" in data for data in files_of(tmp_path / "v.zip").values())
